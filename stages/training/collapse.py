"""The collapse of a policy: nothing is right any more soon after the start, because the learning rate is too high.

Two things tell it apart from bad luck: the accuracy is gone for two rollouts in a row after it was at least LEAST, or
it is gone while nearly all completions run into the length limit, which they did not before. Where general prompts are
in the mix a rollout may have a single problem, and a hard one: then it takes more rollouts, until bad luck is unlikely.
In supervised training the loss has risen far over what it was, for two steps in a row. Going back would not help: the
rate stays.
"""

import math
import statistics

LEAST = 0.2  # accuracy that cannot be lost by chance, twice in a row, even of 16 completions
FEWEST_PROMPTS = 4  # in all of those rollouts: one prompt's completions are right or wrong together
CHANCE = 1e-3  # of so many problems all wrong, if each were wrong as often as those before: bad luck is less likely
MANY_PROMPTS = 16  # of a rollout without general prompts
GONE = 0.1  # of the accuracy before, what is left where it is gone
NEARLY_ALL, NOT_BEFORE = 0.9, 0.5  # shares of completions that are cut
RISEN, MARGIN = 1.5, 1.0  # the loss before so many times, and so many nats on top
FEWEST_LOSSES = 3  # steps before a rise of the loss is one


def what_collapsed(history: list[dict]) -> str | None:
    """Says what has collapsed at the last of these rows, with the rate that is likely to blame; None where nothing has.

    Args:
        history: rows of metrics.jsonl in order of steps.

    >>> rows = [{"reward/accuracy": value, "reward/mean": mean, "train/lr": 1e-3}
    ...         for value, mean in ((0.44, 0.6), (0.0, 0.1), (0.0, 0.0))]
    >>> what_collapsed(rows).split(":")[0]
    'reward/accuracy fell from 0.44 to 0 within 2 rollouts'
    """
    seen = _of_policy(history) or _of_loss(history)
    if seen is None:
        return None
    rate = history[-1].get("train/lr", math.nan)
    return (
        f"{seen}: the policy has collapsed, and the learning rate {rate:g} is likely too high for this model; "
        f"try stages.NAME.optim.lr={rate / 10:g} or less"
    )


def _of_policy(history: list[dict]) -> str | None:
    """What RL has lost, in words."""
    rows = _of_rollouts([row for row in history if "reward/accuracy" in row])
    if len(rows) < 2 or rows[-1] is not history[-1]:
        return None
    last, count = rows[-1], _num_rollouts(rows)
    if count:
        return _lost(last, rows[:-count], count)
    before = rows[:-1]
    is_cut = last.get("completion/truncated_frac", 0.0) >= NEARLY_ALL
    if is_cut and _median(before, "completion/truncated_frac") <= NOT_BEFORE and _is_gone(last, before):
        return _lost(last, before, 1)
    return None


def _num_rollouts(rows: list[dict]) -> int:
    """In how many of the last rollouts, two at least, the accuracy is gone, and not by chance; 0 where it is not so.

    It is not by chance where they have FEWEST_PROMPTS problems, and would all be wrong with a probability of at most
    CHANCE: (1 - accuracy before) ** problems, since those of a sure policy are right or wrong as a whole.
    """
    num_prompts = 0.0
    for count, row in enumerate(reversed(rows[1:]), 1):
        if row["reward/accuracy"] > GONE:
            break
        num_prompts += _num_prompts(row)
        before = rows[:-count]
        if count < 2 or num_prompts < FEWEST_PROMPTS or not all(_is_gone(row, before) for row in rows[-count:]):
            continue
        right = sum(_num_prompts(row) * row["reward/accuracy"] for row in before)
        if (1 - right / sum(map(_num_prompts, before))) ** num_prompts <= CHANCE:
            return count
    return 0


def _num_prompts(row: dict) -> float:
    """The problems of a rollout; logs that do not say it are of rollouts with many."""
    return float(row.get("reward/reasoning_prompts", MANY_PROMPTS))


def _of_rollouts(rows: list[dict]) -> list[dict]:
    """The last row of each rollout: several steps on one have the same rewards."""
    names = ("reward/accuracy", "reward/mean", "completion/mean_tokens")
    seen = [tuple(row.get(name) for name in names) for row in rows]
    return [row for row, now, after in zip(rows, seen, [*seen[1:], None]) if now != after]


def _is_gone(row: dict, before: list[dict]) -> bool:
    """Whether nearly nothing is left at a row of the accuracy that there was."""
    usual = _median(before, "reward/accuracy")
    return usual >= LEAST and row["reward/accuracy"] <= GONE * usual


def _lost(row: dict, before: list[dict], num_rollouts: int) -> str:
    """What was lost, with whatever else has changed much."""
    usual = _median(before, "reward/accuracy")
    within = "in one rollout" if num_rollouts == 1 else f"within {num_rollouts} rollouts"
    text = f"reward/accuracy fell from {usual:.2g} to {row['reward/accuracy']:.2g} {within}"
    others = []
    for name, words in (
        ("completion/truncated_frac", "share of cut completions"),
        ("policy/entropy", "entropy"),
        ("policy/kl", "KL"),
    ):
        if name in row and row[name] > 2 * _median(before, name) + 0.1:
            others.append(f"{words} {_median(before, name):.2g} to {row[name]:.2g}")
    return text + (f" ({', '.join(others)})" if others else "")


def _of_loss(history: list[dict]) -> str | None:
    """What supervised training has lost, in words."""
    rows = [row for row in history if "train/loss" in row]
    if any("reward/mean" in row for row in rows) or len(rows) < FEWEST_LOSSES + 2:
        return None
    usual = _median(rows[:-2], "train/loss")
    if all(row["train/loss"] > RISEN * usual + MARGIN for row in rows[-2:]):
        return f"train/loss rose from {usual:.2g} to {rows[-1]['train/loss']:.2g}"
    return None


def _median(rows: list[dict], name: str) -> float:
    """The median of a metric over the rows that have it; 0 where none has."""
    values = [row[name] for row in rows if name in row and math.isfinite(row[name])]
    return statistics.median(values) if values else 0.0
