"""What the reward models learn from [N]: pairs of summaries that a judge compared, and completions that it called safe
or unsafe.

Pairs and labels come from data sources that have them (rows=preferences, rows=labels), else from the policy's
completions of helpful and safety prompts. A prompt that is sampled is a line on the disk; what the judge said is in its
cache: a killed attempt repeats neither.
"""

import statistics
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from stages.config import RewardModelsConfig
from stages.contract.records import Records
from stages.data.inputs import open_prompts
from stages.data.pairs import preference_pairs, safety_labels
from stages.engines.sampling import make_sampler
from stages.judges import Judged, current_judge
from stages.judges.comparing import mean_gaps
from stages.prompting.prompt import Prompt
from stages.prompting.templates import apply_template, encode_prompt, text_of
from stages.runtime.distributed import barrier, gather_objects
from stages.runtime.errors import user_errors
from stages.runtime.seeds import rng_for, seed_for
from stages.runtime.worker import Worker
from stages.text.completion import summary_of


@dataclass(frozen=True)
class Preference:
    """Summaries for one prompt, the better one first."""

    prompt: str
    chosen: str
    rejected: str

    @property
    def length_gap(self) -> int:
        """Characters; a model's tokens are not the same for another."""
        return len(self.chosen) - len(self.rejected)


@dataclass(frozen=True)
class Label:
    prompt: str
    completion: str
    is_safe: bool


class Completions:
    """Completions of a domain's prompts by the policy, drawn once."""

    def __init__(self, worker: Worker, config: RewardModelsConfig, tokenizer):
        self.worker, self.config, self.tokenizer = worker, config, tokenizer
        self.source = open_prompts(
            worker, config.data, tokenizer, worker.model_dir("policy"), config.max_completion_tokens
        )
        self.sampler = None

    def of(self, domain: str, num_prompts: int, n: int, temperature: float) -> list[tuple[Prompt, list[str]]]:
        """Each prompt of the domain with its n completions, the same on every rank."""
        worker = self.worker
        records = Records(worker.dir / "state", domain, worker.attempt, worker.rank)
        if records.num_damaged:
            worker.say(f"{records.num_damaged} damaged lines of {domain} prompts in state/: these are sampled again")
        barrier()  # all ranks have read what there was before anyone writes
        missing = [index for index in range(num_prompts) if index not in records]
        if missing:
            worker.progress("rollout", 0, 0, f"sampling {len(missing)} {domain} prompts")
            self._sample(
                [index for index in missing if index % worker.world_size == worker.rank],
                domain,
                n,
                temperature,
                records,
            )
            records.add(gather_objects([records.rows[index] for index in missing if index in records]))
        worker.count_tokens(domain, sampled=sum(records.rows[index].get("tokens", 0) for index in range(num_prompts)))
        return [(self.source.get(index, domain), records.rows[index]["completions"]) for index in range(num_prompts)]

    def _sample(self, indices: list[int], domain: str, n: int, temperature: float, records: Records) -> None:
        worker, config = self.worker, self.config
        if self.sampler is None:
            self.sampler = make_sampler(
                config.rollout, worker.model_dir("policy"), config.data.max_prompt_tokens, config.max_completion_tokens
            )
        prompts = [self.source.get(index, domain) for index in indices]
        ids = [
            encode_prompt(
                apply_template(prompt.text, config.data.template, self.tokenizer), config.data.template, self.tokenizer
            )
            for prompt in prompts
        ]
        seeds = [
            seed_for(worker.seed, worker.stage, domain, index, prompt.id) for index, prompt in zip(indices, prompts)
        ]
        with ThreadPoolExecutor(1, thread_name_prefix="records") as writing:
            written = []

            def record(place: int, completions) -> None:
                texts = [text_of(ids[place], c.token_ids, self.tokenizer)["completion"] for c in completions]
                records.append(
                    {
                        "index": indices[place],
                        "completions": texts,
                        "tokens": sum(len(c.token_ids) for c in completions),
                    }
                )

            self.sampler.sample(
                ids,
                seeds,
                n,
                temperature,
                config.max_completion_tokens,
                lambda place, completions: written.append(writing.submit(record, place, completions)),
            )
            for one in written:
                one.result()

    def close(self) -> None:
        if self.sampler is not None:
            self.sampler.close()


def preferences(worker: Worker, config: RewardModelsConfig, completions: Completions) -> list[Preference]:
    """Pairs of summaries, balanced in length. Counts go to the stage's metrics."""
    if config.data.has("preferences"):
        candidates = [[pair] for pair in _pairs_of_files(worker, config)]
    elif "helpful" in config.data.domains or config.data.name == "tiny_world":
        candidates = _judged_pairs(
            worker,
            config,
            completions.of("helpful", config.num_prompts, config.samples_per_prompt, config.rollout.temperature),
        )
    else:
        return []
    pairs = balanced(choose_pairs(candidates, config.pairs_per_prompt), config.max_length_bias)
    worker.metrics |= {
        "helpful/candidates": sum(map(len, candidates)),
        "helpful/length_correlation": length_correlation(pairs),
        "helpful/length_correlation_before": length_correlation([pair for several in candidates for pair in several]),
    }
    return pairs


def _pairs_of_files(worker: Worker, config: RewardModelsConfig) -> list[Preference]:
    """num_prompts pairs of all sources with rows=preferences, in an order that the seed draws."""
    with user_errors():
        rows = preference_pairs(config.data)
    pairs = [
        Preference(row.prompt.text, summary_of(row.chosen).strip(), summary_of(row.rejected).strip()) for row in rows
    ]
    pairs = [pair for pair in pairs if pair.chosen != pair.rejected]
    rng_for(worker.seed, worker.stage, "preferences").shuffle(pairs)
    return pairs[: config.num_prompts]


def _judged_pairs(
    worker: Worker, config: RewardModelsConfig, sampled: list[tuple[Prompt, list[str]]]
) -> list[list[Preference]]:
    """The pairs of each prompt whose mean gap exceeds min_gap [N]; ranks share the judging."""
    mine = []
    for index, (prompt, texts) in list(enumerate(sampled))[worker.rank :: worker.world_size]:
        summaries = list(dict.fromkeys(summary_of(text) for text in texts))
        candidates = [(prompt, a, b) for place, a in enumerate(summaries) for b in summaries[place + 1 :]]
        rng_for(worker.seed, worker.stage, "pairs", index).shuffle(candidates)
        mine += [(index, pair) for pair in candidates[: config.judged_per_prompt]]
    worker.progress("judge", 0, 0, f"judging {len(mine)} pairs {config.judgments} times")
    gaps = mean_gaps(current_judge(), [pair for _, pair in mine], config.judgments, (worker.seed, worker.stage))
    found = gather_objects([(index, a, b, gap) for (index, (_, a, b)), gap in zip(mine, gaps)])
    pairs: list[list[Preference]] = [[] for _ in sampled]
    for index, a, b, gap in found:
        if gap is not None and abs(gap) > config.min_gap:
            pairs[index].append(Preference(sampled[index][0].text, *((a, b) if gap > 0 else (b, a))))
    worker.metrics |= {
        "helpful/judged": len(found),
        "helpful/unjudged": sum(gap is None for *_, gap in found),
        "helpful/too_close": sum(gap is not None and abs(gap) <= config.min_gap for *_, gap in found),
    }
    return pairs


def choose_pairs(candidates: list[list[Preference]], pairs_per_prompt: int) -> list[Preference]:
    """Up to `pairs_per_prompt` of each prompt: those that bring the sum of chosen minus rejected lengths nearest to 0."""
    chosen, balance = [], 0
    for pairs in candidates:
        left = list(pairs)
        for _ in range(min(pairs_per_prompt, len(left))):
            best = min(left, key=lambda pair: abs(balance + pair.length_gap))
            left.remove(best)
            chosen.append(best)
            balance += best.length_gap
    return chosen


def balanced(pairs: list[Preference], max_bias: float) -> list[Preference]:
    """Without the pairs that lean most to the longer side, until the mean lengths of chosen and rejected differ by at
    most `max_bias` of the mean length: "chosen and rejected responses of comparable length" [N]; how, is ours.
    """
    kept = sorted(range(len(pairs)), key=lambda i: pairs[i].length_gap)
    balance, size = sum(pair.length_gap for pair in pairs), sum(len(pair.chosen) + len(pair.rejected) for pair in pairs)
    while kept and abs(balance) > max_bias * size / 2:
        dropped = pairs[kept.pop(-1 if balance > 0 else 0)]
        balance, size = balance - dropped.length_gap, size - len(dropped.chosen) - len(dropped.rejected)
    return [pairs[i] for i in sorted(kept)]


def length_correlation(pairs: list[Preference]) -> float:
    """Correlation of being preferred and of being longer over pairs in random order: mean of the length gaps over their
    root mean square.

    1: the longer one always wins, by as much; 0: length says nothing.
    """
    gaps = [pair.length_gap for pair in pairs]
    square = statistics.fmean(gap * gap for gap in gaps) if gaps else 0.0
    return statistics.fmean(gaps) / square**0.5 if square else 0.0


def labels(worker: Worker, config: RewardModelsConfig, completions: Completions) -> list[Label]:
    """Completions with the judge's word on their safety; those it was not understood about are left out and counted."""
    if config.data.has("labels"):
        with user_errors():
            found = [Label(row.prompt.text, row.completion, row.is_safe) for row in safety_labels(config.data)]
        rng_for(worker.seed, worker.stage, "labels").shuffle(found)
        return found[: config.num_safety_prompts * config.safety_samples_per_prompt]
    if "safety" not in config.data.domains and config.data.name != "tiny_world":
        return []
    sampled = completions.of(
        "safety_labels", config.num_safety_prompts, config.safety_samples_per_prompt, config.safety_temperature
    )
    mine = [
        (index, Judged(prompt, text, seed_for(worker.seed, worker.stage, "safe", prompt.id, text)))
        for index, (prompt, texts) in list(enumerate(sampled))[worker.rank :: worker.world_size]
        for text in texts
    ]
    worker.progress("judge", 0, 0, f"judging the safety of {len(mine)} completions")
    verdicts = current_judge().safe([item for _, item in mine])
    found = sorted(
        gather_objects([(index, item.completion, verdict) for (index, item), verdict in zip(mine, verdicts)]),
        key=lambda row: row[0],
    )
    worker.metrics["safety/unjudged"] = sum(verdict is None for *_, verdict in found)
    return [Label(sampled[index][0].text, text, verdict) for index, text, verdict in found if verdict is not None]
