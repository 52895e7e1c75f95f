"""Building SFT data from a policy's samples: cold start from R1-Zero [V2 B.3.2], rejection sampling from the reasoning model [V2 B.3.3].

    sample several completions of each prompt        some of them with worked examples in front (few_shot)
    keep the correct, well-formed, single-language, non-repetitive ones; refine them; keep a few distinct ones of each prompt
    add general prompt-completion pairs              (rejection sampling only)

Prompts are sampled in chunks; a finished chunk is on disk and never sampled again.
"""
import time
from dataclasses import dataclass

from stages import files
from stages.config import CollectConfig
from stages.engine import init_distributed
from stages.experience import Rollout, gather
from stages.model import load_tokenizer
from stages.inputs import open_prompts
from stages.prompts import Prompt, apply_template, encode_prompt
from stages.rewards.format import is_well_formed, thought_of, without_opening
from stages.rewards.language import language_consistency
from stages.rewards.repetition import repeated_ngram_share
from stages.rewards.verifiers import grade_many
from stages.rollout import make_sampler
from stages.sampling import text_of
from stages.seeds import rng_for, seed_for
from stages.tiny_world.split import held_out_parts
from stages.worker import InputError, Interrupted, Worker, barrier

REASONS = ("kept", "truncated", "malformed", "wrong", "mixed_language", "repetitive", "too_long", "held_out", "beyond_refining")


@dataclass
class Example:
    """A kept completion."""
    prompt_id: str
    prompt: str
    completion: str
    kind: str
    language: str
    text: str = ""     # the user's words, without template
    opening: str = ""  # what this policy's template has written of the completion: another model's may write less or more


def run(worker: Worker) -> None:
    config: CollectConfig = worker.config
    init_distributed()
    collector = Collector(worker, config)
    worker.startup_done()
    chunks = range(0, config.num_prompts, config.chunk_prompts)
    examples: list[Example] = []
    counts = dict.fromkeys(REASONS, 0)
    worker.cut_logs(sum(1 for _ in (worker.dir / "state").glob("chunk_*.json")), last_sample_step=0)
    for done, first in enumerate(chunks, start=1):
        chunk = collector.chunk(first, examples)
        examples += [Example(**row) for row in chunk["examples"]]
        for reason, count in chunk["counts"].items():
            counts[reason] += count
        worker.progress("sample", done, len(chunks), f"kept {counts['kept']} of {sum(counts.values())}")
        if done < len(chunks) and worker.should_stop():
            raise Interrupted(f"stopped after {done} of {len(chunks)} chunks; run the same command to continue")
    finish(worker, config, examples, counts)


class Collector:
    """Samples and filters one chunk of prompts at a time."""

    def __init__(self, worker: Worker, config: CollectConfig):
        self.worker, self.config = worker, config
        policy_dir = worker.model_dir("policy")
        self.tokenizer = load_tokenizer(policy_dir)
        longest_prompt = config.data.max_prompt_tokens + config.few_shot * (config.data.max_prompt_tokens + config.max_kept_tokens)
        self.source = open_prompts(worker, config.data, self.tokenizer, policy_dir,
                                   longest_prompt - config.data.max_prompt_tokens + config.max_completion_tokens)
        self.sampler = make_sampler(config.rollout, policy_dir, longest_prompt, config.max_completion_tokens)

    def chunk(self, first: int, examples: list[Example]) -> dict:
        """{"examples", "counts"} of the chunk that starts at prompt `first`: from disk if an earlier attempt finished it."""
        path = self.worker.dir / "state" / f"chunk_{first:06d}.json"
        if not path.exists():
            result = self._make(first, examples)
            if self.worker.is_main:
                files.write_json(path, result)
            barrier()
        return files.read_json(path)

    def _make(self, first: int, examples: list[Example]) -> dict:
        started = time.time()
        config, worker = self.config, self.worker
        prompts = [self.source.get(i) for i in range(first, min(first + config.chunk_prompts, config.num_prompts))]
        mine = list(enumerate(prompts))[worker.rank::worker.world_size]
        prompt_ids = [self._encode(first + place, prompt, examples) for place, prompt in mine]
        seeds = [seed_for(worker.seed, worker.stage, first + place, prompt.id) for place, prompt in mine]
        groups = self.sampler.sample(prompt_ids, seeds, config.samples_per_prompt, config.rollout.temperature, config.max_completion_tokens)
        rollouts = [Rollout(prompt, place, [], c.token_ids, [], c.is_truncated, **text_of(ids, c.token_ids, self.tokenizer))
                    for (place, prompt), ids, group in zip(mine, prompt_ids, groups) for c in group]
        rollouts = gather(rollouts, worker.world_size)
        tokens, seconds = sum(len(r.completion_ids) for r in rollouts), time.time() - started
        result = self._select(rollouts)
        worker.log_step(first // config.chunk_prompts + 1, {**{f"data/{name}": value for name, value in result["counts"].items()},
                                                            "perf/tokens_per_s": tokens / seconds, "time/rollout": seconds, "tokens/sampled": tokens})
        worker.say(f"prompts {first}..{first + len(prompts) - 1}: {result['counts']} in {seconds:.1f} s")
        return result

    def _encode(self, index: int, prompt: Prompt, examples: list[Example]) -> list[int]:
        """A share of the prompts is preceded by `few_shot` examples of its language, once there are any [V1 2.3.1]."""
        text, rng = self._template(prompt.text), rng_for(self.worker.seed, self.worker.stage, "shots", index)
        fitting = [e for e in examples if e.language == prompt.language]
        if rng.random() < self.config.few_shot_share and len(fitting) >= self.config.few_shot > 0:
            gap = "" if self.config.data.template == "plain" else "\n\n"
            text = "".join(shot.prompt + shot.completion + gap for shot in rng.sample(fitting, self.config.few_shot)) + text
        return encode_prompt(text, self.config.data.template, self.tokenizer)

    def _template(self, text: str) -> str:
        return apply_template(text, self.config.data.template, self.tokenizer)

    def _select(self, rollouts: list[Rollout]) -> dict:
        counts = dict.fromkeys(REASONS, 0)
        kept: dict[str, list[Example]] = {}
        for rollout, reason in zip(rollouts, rejections(rollouts, self.config)):
            completion = rollout.completion
            if reason is None and self.config.refine == "rules":
                from stages.tiny_world.refine import refine
                completion = refine(rollout.prompt, completion)
                reason = None if completion else "beyond_refining"
            counts[reason or "kept"] += 1
            completion = without_opening(completion, rollout.opening)
            mine = kept.setdefault(rollout.prompt.id, [])
            if reason is None and len(mine) < self.config.keep_per_prompt and all(e.completion != completion for e in mine):
                mine.append(Example(rollout.prompt.id, self._template(rollout.prompt.text), completion, rollout.prompt.kind, rollout.prompt.language,
                                    rollout.prompt.text, rollout.opening))
        return {"examples": [vars(e) for group in kept.values() for e in group], "counts": counts}


def rejections(rollouts: list[Rollout], config: CollectConfig) -> list[str | None]:
    """Why each completion is not kept, or None: the paper's filters in its order (correct and readable, then language and repetition)."""
    readable = [i for i, r in enumerate(rollouts) if not r.is_truncated and is_well_formed(r.completion)]
    grades = dict(zip(readable, grade_many([(rollouts[i].completion, rollouts[i].prompt) for i in readable])))
    return [rejection(rollout, grades[i].value if i in grades else 0.0, config) for i, rollout in enumerate(rollouts)]


def rejection(rollout: Rollout, accuracy: float, config: CollectConfig) -> str | None:
    if rollout.is_truncated:
        return "truncated"
    if not is_well_formed(rollout.completion):
        return "malformed"
    if accuracy < 1:
        return "wrong"
    language = language_consistency(thought_of(rollout.completion), rollout.prompt.language)
    if language is None or language < config.min_language:
        return "mixed_language"
    if repeated_ngram_share(rollout.completion) > config.max_repetition:
        return "repetitive"
    if len(rollout.completion_ids) > config.max_kept_tokens:
        return "too_long"
    if config.data.name == "tiny_world" and held_out_parts(rollout.completion):
        return "held_out"  # a wrong jump can lead to an expression of the test set, which no training document may hold
    return None


def finish(worker: Worker, config: CollectConfig, examples: list[Example], counts: dict[str, int]) -> None:
    """Draws keep_total of the kept, adds the general pairs and writes data/train.parquet."""
    if not examples:
        raise InputError(f"none of {sum(counts.values())} completions passed the filters ({counts}): loosen stages.{worker.stage}.min_language or "
                         "max_repetition, raise num_prompts, or train the policy longer")
    rng = rng_for(worker.seed, worker.stage, "draw")
    rng.shuffle(examples)
    if config.keep_total:
        examples = examples[:config.keep_total]
    rows = [{**vars(e), "source": "sampled"} for e in examples]
    if config.num_general:
        from stages.tiny_world.corpus import general_sft_pairs
        rows += [{"prompt_id": p.id, "prompt": apply_template(p.text, config.data.template), "completion": completion, "kind": p.kind,
                  "language": p.language, "text": p.text, "source": "general"} for p, completion in general_sft_pairs(config.num_general, worker.seed, worker.stage)]
    if worker.is_main:
        from datasets import Dataset
        (worker.dir / "data").mkdir(exist_ok=True)
        Dataset.from_list(rows).to_parquet(str(worker.dir / "data" / "train.parquet"))
        worker.log_samples([{"step": 1, "prompt_id": r["prompt_id"], "kind": r["kind"], "language": r["language"], "prompt": r["prompt"],
                             "completion": r["completion"]} for r in rows[:8] + rows[-8:]])
    total = sum(counts.values())
    worker.metrics |= {**{f"data/{name}": value for name, value in counts.items()}, "data/samples": len(rows), "data/reasoning": len(examples),
                       "data/general": len(rows) - len(examples), "data/kept_frac": counts["kept"] / total}
    worker.say(f"{len(examples)} reasoning and {len(rows) - len(examples)} general samples from {total} completions: {counts}")
