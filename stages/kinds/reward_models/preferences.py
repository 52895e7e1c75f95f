"""What the helpful model learns from: pairs of summaries of which one is preferred, balanced in length [N].

Pairs come from data sources that have them (rows=preferences), else a judge compares the policy's completions of
helpful prompts. What it said is in its cache: a killed attempt does not ask again.
"""

import statistics
from dataclasses import dataclass

from stages.config import RewardModelsConfig
from stages.data.pairs import preference_pairs
from stages.judges import current_judge
from stages.judges.comparing import mean_gaps
from stages.kinds.reward_models.completions import Completions
from stages.prompting.prompt import Prompt
from stages.runtime.distributed import gather_objects
from stages.runtime.errors import user_errors
from stages.runtime.seeds import rng_for
from stages.runtime.worker import Worker
from stages.text.completion import summary_of


@dataclass(frozen=True)
class Preference:
    """Two summaries for one prompt, the better one as `chosen`."""

    prompt: str
    chosen: str
    rejected: str

    @property
    def length_gap(self) -> int:
        """By how many characters the chosen one is longer; tokens would depend on the tokenizer."""
        return len(self.chosen) - len(self.rejected)


def preferences(worker: Worker, config: RewardModelsConfig, completions: Completions) -> list[Preference]:
    """Pairs of summaries, balanced in length, the same on every rank. Collective.

    Args:
        worker: the stage; counts go to its metrics.
        config: how many, of what data, how balanced.
        completions: the policy's; not used where sources have pairs.

    Returns:
        The pairs; none where the data has no helpful prompts.
    """
    if config.data.has("preferences"):
        candidates = [[pair] for pair in _pairs_of_files(worker, config)]
    elif "helpful" in config.data.domains or config.data.name == "tiny_world":
        sampled = completions.of("helpful", config.num_prompts, config.samples_per_prompt, config.rollout.temperature)
        candidates = judged_pairs(worker, config, sampled)
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


def judged_pairs(
    worker: Worker, config: RewardModelsConfig, sampled: list[tuple[Prompt, list[str]]]
) -> list[list[Preference]]:
    """For each prompt, the pairs whose mean gap exceeds min_gap [N]. Collective: ranks share the judging.

    Args:
        worker: the stage; counts go to its metrics.
        config: how many pairs of a prompt are judged, and how often.
        sampled: each prompt with its completions, the same on every rank.
    """
    mine: list[tuple[int, tuple[Prompt, str, str]]] = []
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
            chosen, rejected = (a, b) if gap > 0 else (b, a)
            pairs[index].append(Preference(sampled[index][0].text, chosen, rejected))
    worker.metrics |= {
        "helpful/judged": len(found),
        "helpful/unjudged": sum(gap is None for *_, gap in found),
        "helpful/too_close": sum(gap is not None and abs(gap) <= config.min_gap for *_, gap in found),
    }
    return pairs


def choose_pairs(candidates: list[list[Preference]], pairs_per_prompt: int) -> list[Preference]:
    """Chooses pairs of each prompt so that chosen summaries are in sum as long as rejected ones.

    Args:
        candidates: the pairs of each prompt.
        pairs_per_prompt: most pairs that are taken of one prompt.

    Returns:
        In order of the prompts, those that bring the sum of all length gaps nearest to 0, one after the other.
    """
    chosen: list[Preference] = []
    balance = 0
    for pairs in candidates:
        left = list(pairs)
        for _ in range(min(pairs_per_prompt, len(left))):
            best = min(left, key=lambda pair: abs(balance + pair.length_gap))
            left.remove(best)
            chosen.append(best)
            balance += best.length_gap
    return chosen


def balanced(pairs: list[Preference], max_bias: float) -> list[Preference]:
    """Drops the pairs that lean most to the longer side, until lengths are comparable.

    "chosen and rejected responses of comparable length" [N]; how, is ours.

    Args:
        pairs: in any order.
        max_bias: most difference of the mean lengths of chosen and rejected, as a share of the mean length.

    Returns:
        What is left, in the same order.
    """
    kept = sorted(range(len(pairs)), key=lambda i: pairs[i].length_gap)
    balance = sum(pair.length_gap for pair in pairs)
    size = sum(len(pair.chosen) + len(pair.rejected) for pair in pairs)
    while kept and abs(balance) > max_bias * size / 2:
        dropped = pairs[kept.pop(-1 if balance > 0 else 0)]
        balance -= dropped.length_gap
        size -= len(dropped.chosen) + len(dropped.rejected)
    return [pairs[i] for i in sorted(kept)]


def length_correlation(pairs: list[Preference]) -> float:
    """The correlation of being preferred and of being longer, over pairs in random order.

    It is the mean of the length gaps over their root mean square. 1: the longer one always wins, by as much; 0: length
    says nothing.
    """
    gaps = [pair.length_gap for pair in pairs]
    square = statistics.fmean(gap * gap for gap in gaps) if gaps else 0.0
    return statistics.fmean(gaps) / square**0.5 if square else 0.0
