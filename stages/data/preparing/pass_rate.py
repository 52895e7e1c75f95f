"""Measures how often the current policy solves each prompt.

The engine draws `prepare.samples` completions of each prompt, and the prompt's verifier grades them. Finished batches
are kept on disk, so that a killed `data prepare` with the same settings does not sample them again. Draws are a
function of (seed, prompt).
"""

import dataclasses
import hashlib
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from stages.config import DataConfig, PrepareConfig, RolloutConfig, output_fields
from stages.contract import files
from stages.prompting.encoding import Encoder, encode_prompts
from stages.prompting.prompt import Prompt
from stages.rewards.grading import grade_many
from stages.runtime.seeds import seed_for

if TYPE_CHECKING:
    from stages.engines.sampling import Sampler

BATCH_PROMPTS = 64
NUM_SHOWN = 3  # reasons of a batch why completions could not be graded


class PassRates:
    """Measures pass rates; the engine starts with the first batch that is not on disk."""

    def __init__(
        self,
        data: DataConfig,
        prepare: PrepareConfig,
        rollout: RolloutConfig,
        seed: int,
        model_dir: Path,
        directory: Path,
        say: Callable[[str], None],
    ):
        """Takes the settings; starts nothing.

        Args:
            data: the template and the longest prompt.
            prepare: number of samples and longest completion.
            rollout: the engine and its temperature.
            seed: seed of the draws.
            model_dir: directory of the policy.
            directory: where the rates of finished batches are kept.
            say: prints a line for people.
        """
        self.data, self.prepare, self.rollout = data, prepare, rollout
        self.seed, self.model_dir, self.directory = seed, model_dir, directory
        self.say = say
        self._sampler: Sampler | None = None
        self._encoder: Encoder | None = None
        self._num_done = 0

    def of(self, prompts: list[Prompt]) -> list[float | None]:
        """Returns the share of completions that pass for each prompt, and None for prompts without a right answer.

        Raises:
            ValueError: a templated prompt is longer than `data.max_prompt_tokens`.
            GraderAway: a verifier can grade nothing any more.
        """
        rates: dict[int, float] = {}
        asked = [place for place, prompt in enumerate(prompts) if prompt.domain == "reasoning"]
        for start in range(0, len(asked), BATCH_PROMPTS):
            places = asked[start : start + BATCH_PROMPTS]
            rates |= dict(zip(places, self._batch([prompts[place] for place in places])))
        return [rates.get(place) for place in range(len(prompts))]

    def close(self) -> None:
        """Ends the engine."""
        if self._sampler is not None:
            self._sampler.close()

    def _batch(self, prompts: list[Prompt]) -> list[float]:
        """Returns the pass rates of a batch, from disk where it was measured before."""
        path = self.directory / f"{self._key(prompts)}.json"
        if not path.exists():
            self.directory.mkdir(parents=True, exist_ok=True)
            files.write_json(path, self._measure(prompts))
        self._num_done += len(prompts)
        self.say(f"pass rates of {self._num_done:,} prompts")
        return files.read_json(path)

    def _key(self, prompts: list[Prompt]) -> str:
        """Returns a hash of all that the pass rates of a batch depend on."""
        settings = [
            self.seed,
            self.prepare.samples,
            self.prepare.max_completion_tokens,
            self.prepare.precision,
            self.data.template,
            self.data.system,
            self.data.examples,
            output_fields(self.rollout),
            _identity(self.model_dir),
            [dataclasses.astuple(prompt) for prompt in prompts],
        ]
        return hashlib.sha256(json.dumps(settings, ensure_ascii=False).encode()).hexdigest()[:24]

    def _measure(self, prompts: list[Prompt]) -> list[float]:
        """Samples and grades a batch; prints how many completions could not be graded, and why."""
        pairs = self._samples(prompts)
        grades = grade_many(pairs)
        if failed := Counter(grade.error for grade in grades if grade.error):
            self.say(
                f"{failed.total()} of {len(grades)} completions could not be graded and count as not passed: "
                + "; ".join(f"{reason} ({count})" for reason, count in failed.most_common(NUM_SHOWN))
            )
        k = self.prepare.samples
        passed = [grade.value >= 1 for grade in grades]
        return [sum(passed[place * k : (place + 1) * k]) / k for place in range(len(prompts))]

    def _samples(self, prompts: list[Prompt]) -> list[tuple[str, Prompt]]:
        """Draws the completions; returns (completion, prompt) of each, those of one prompt together."""
        if self._sampler is None:
            self._open()
        assert self._sampler is not None and self._encoder is not None
        prompt_ids = encode_prompts(self._encoder, prompts)
        for prompt, ids in zip(prompts, prompt_ids):
            if len(ids) > self.data.max_prompt_tokens:
                raise ValueError(
                    f"{prompt.id} has {len(ids)} tokens, more than "
                    f"data.max_prompt_tokens={self.data.max_prompt_tokens}: raise it, or drop "
                    "longer prompts with prepare.max_prompt (which does not count the template)"
                )
        seeds = [seed_for(self.seed, "pass_rate", prompt.id) for prompt in prompts]
        groups = self._sampler.sample(
            prompt_ids, seeds, self.prepare.samples, self.rollout.temperature, self.prepare.max_completion_tokens
        )
        pairs = []
        for prompt, group in zip(prompts, groups):
            for completion in group:
                (text,) = self._encoder.decode([completion.token_ids])
                pairs.append((self._encoder.opening + text, prompt))
        return pairs

    def _open(self) -> None:
        """Starts the engine."""
        from stages.engines.sampling.check import make_checked_sampler
        from stages.engines.training import init_distributed
        from stages.modeling.model import load_tokenizer

        if self.rollout.is_vllm:
            init_distributed()  # vLLM takes part in the process group that is there
        self._encoder = Encoder.of(self.data, load_tokenizer(self.model_dir))
        self._sampler = make_checked_sampler(
            self.rollout,
            self.model_dir,
            self.data.max_prompt_tokens,
            self.prepare.max_completion_tokens,
            self.prepare.precision,
            stop_ids=self._encoder.stop_ids,
        )


def _identity(directory: Path) -> list[list]:
    """Returns names, sizes and times of a model's files, which stand for its weights."""
    return [
        [path.name, path.stat().st_size, path.stat().st_mtime_ns]
        for path in sorted(directory.iterdir())
        if path.is_file()
    ]
