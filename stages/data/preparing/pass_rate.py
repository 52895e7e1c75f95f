"""How often the current policy solves each prompt: `samples` completions by the real engine, graded by the prompt's
verifier.

Finished batches are on disk: a killed `data prepare` with the same settings does not sample them again. Draws are a
function of (seed, prompt).
"""

import dataclasses
import hashlib
import json
from collections import Counter
from pathlib import Path

from stages.config import DataConfig, PrepareConfig, RolloutConfig, output_fields
from stages.contract import files
from stages.prompting.prompt import Prompt

BATCH_PROMPTS = 64
NUM_SHOWN = 3  # reasons of a batch why completions could not be graded


class PassRates:
    """The engine starts with the first batch that is not on disk."""

    def __init__(
        self,
        data: DataConfig,
        prepare: PrepareConfig,
        rollout: RolloutConfig,
        seed: int,
        model_dir: Path,
        directory: Path,
        say,
    ):
        self.data, self.prepare, self.rollout, self.seed, self.model_dir, self.directory, self.say = (
            data,
            prepare,
            rollout,
            seed,
            model_dir,
            directory,
            say,
        )
        self._sampler = self._tokenizer = None
        self._num_done = 0

    def of(self, prompts: list[Prompt]) -> list[float | None]:
        """The share of completions that pass, None for prompts without a right answer."""
        rates: dict[int, float] = {}
        asked = [place for place, prompt in enumerate(prompts) if prompt.domain == "reasoning"]
        for start in range(0, len(asked), BATCH_PROMPTS):
            places = asked[start : start + BATCH_PROMPTS]
            rates |= dict(zip(places, self._batch([prompts[place] for place in places])))
        return [rates.get(place) for place in range(len(prompts))]

    def close(self) -> None:
        if self._sampler is not None:
            self._sampler.close()

    def _batch(self, prompts: list[Prompt]) -> list[float]:
        path = self.directory / f"{self._key(prompts)}.json"
        if not path.exists():
            self.directory.mkdir(parents=True, exist_ok=True)
            files.write_json(path, self._measure(prompts))
        self._num_done += len(prompts)
        self.say(f"pass rates of {self._num_done:,} prompts")
        return files.read_json(path)

    def _key(self, prompts: list[Prompt]) -> str:
        settings = [
            self.seed,
            self.prepare.samples,
            self.prepare.max_completion_tokens,
            self.data.template,
            output_fields(self.rollout),
            _identity(self.model_dir),
            [dataclasses.astuple(prompt) for prompt in prompts],
        ]
        return hashlib.sha256(json.dumps(settings, ensure_ascii=False).encode()).hexdigest()[:24]

    def _measure(self, prompts: list[Prompt]) -> list[float]:
        from stages.prompting.templates import apply_template, encode_prompt, text_of
        from stages.rewards.grading import grade_many
        from stages.runtime.seeds import seed_for

        if self._sampler is None:
            self._open()
        k = self.prepare.samples
        template = self.data.template
        prompt_ids = [
            encode_prompt(apply_template(prompt.text, template, self._tokenizer), template, self._tokenizer)
            for prompt in prompts
        ]
        for prompt, ids in zip(prompts, prompt_ids):
            if len(ids) > self.data.max_prompt_tokens:
                raise ValueError(
                    f"{prompt.id} has {len(ids)} tokens, more than "
                    f"data.max_prompt_tokens={self.data.max_prompt_tokens}: raise it, or drop "
                    "longer prompts with prepare.max_prompt (which does not count the template)"
                )
        seeds = [seed_for(self.seed, "pass_rate", prompt.id) for prompt in prompts]
        groups = self._sampler.sample(
            prompt_ids, seeds, k, self.rollout.temperature, self.prepare.max_completion_tokens
        )
        pairs = [
            (text_of(ids, completion.token_ids, self._tokenizer)["completion"], prompt)
            for prompt, ids, group in zip(prompts, prompt_ids, groups)
            for completion in group
        ]
        grades = grade_many(pairs)
        if failed := Counter(grade.error for grade in grades if grade.error):
            self.say(
                f"{failed.total()} of {len(grades)} completions could not be graded and count as not passed: "
                + "; ".join(f"{reason} ({count})" for reason, count in failed.most_common(NUM_SHOWN))
            )
        passed = [grade.value >= 1 for grade in grades]
        return [sum(passed[place * k : (place + 1) * k]) / k for place in range(len(prompts))]

    def _open(self) -> None:
        from stages.engines.sampling import make_sampler
        from stages.engines.training import init_distributed
        from stages.modeling.model import load_tokenizer

        if self.rollout.engine == "vllm":
            init_distributed()  # vLLM takes part in the process group that is there
        self._tokenizer = load_tokenizer(self.model_dir)
        self._sampler = make_sampler(
            self.rollout, self.model_dir, self.data.max_prompt_tokens, self.prepare.max_completion_tokens
        )


def _identity(directory: Path) -> list:
    """Names, sizes and times of a model's files."""
    return [
        [path.name, path.stat().st_size, path.stat().st_mtime_ns]
        for path in sorted(directory.iterdir())
        if path.is_file()
    ]
