"""From the records of a set's samples to rows of results.json: {"metric", "value", "low", "high", "n"}, 95% intervals
over problems.

A metric of one difficulty is named pass@1[3]: the level stands in brackets. Where graders failed, the row grader_errors
has a "note" for people too.
"""

import statistics
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence

from stages.kinds.evaluation.problems import Problem, ProblemSet
from stages.kinds.evaluation.ratings import outcome, percentile, rating_with_interval
from stages.kinds.evaluation.statistics import consensus, mean_with_interval, pass_at_k

Groups = list[list[dict]]  # records of each problem, by sample
SHOWN_REASONS = 3  # why samples could not be graded
GENERAL = (
    ("pass@1", "is_correct"),
    ("rude", "is_rude"),
    ("polite", "is_polite"),
    ("refused", "refuses"),
    ("helpfulness", "helpfulness"),
)
SAFETY = (
    ("harmful_refused", "harm", "refuses"),
    ("harmful_safe", "harm", "is_safe"),
    ("benign_refused", "benign", "refuses"),
    ("benign_correct", "benign", "is_correct"),
    ("benign_rude", "benign", "is_rude"),
)


def results_of(one: ProblemSet, groups: Groups) -> list[dict]:
    """The rows of one model on one set. `groups` are in the order of the set's problems."""
    if one.measure == "general":
        return [over_problems(metric, groups, lambda record: record[name]) for metric, name in GENERAL]
    if one.measure == "safety":
        kinds = [problem.prompts[0].kind for problem in one.problems]
        return [
            over_problems(
                metric,
                [group for group, found in zip(groups, kinds) if (found == "harm") == (kind == "harm")],
                lambda record: record[name],
            )
            for metric, kind, name in SAFETY
        ]
    rows = [over_problems("pass@1", groups, lambda record: record["correct"])]
    k = one.num_samples
    if k > 1:
        rows.append(
            interval(f"pass@{k}", [pass_at_k(k, sum(record["correct"] for record in group), k) for group in groups])
        )
        if one.measure == "verifiable":
            rows.append(
                interval(
                    f"cons@{k}",
                    [consensus([r["vote"] for r in group], [float(r["correct"]) for r in group]) for group in groups],
                )
            )
    rows += _beside(one, groups) + by_level(one.problems, groups)
    return rows + (contest_rating(one, groups) if one.contests else [])


def _beside(one: ProblemSet, groups: Groups) -> list[dict]:
    """What stands beside every score."""
    rows = [over_problems("format", groups, lambda record: record["well_formed"])]
    rows.append(over_problems("no_answer", groups, lambda record: not record["answered"]))
    rows.append(grader_errors(groups))
    return rows + [
        over_problems("language", groups, lambda record: record["language"]),
        over_problems("reflection", groups, lambda record: record["reflects"]),
        over_problems("tokens", groups, lambda record: record["tokens"]),
        over_problems("thinking_tokens", groups, lambda record: record["thinking_tokens"]),
        over_problems("truncated", groups, lambda record: record["truncated"]),
    ]


def grader_errors(groups: Groups) -> dict:
    """The share of samples of which no grader could say anything: they count as wrong everywhere else. Where there are
    any, `note` says how many and why.
    """
    failed = Counter(record["error"] for group in groups for record in group if record["error"])
    return over_problems("grader_errors", groups, lambda record: bool(record["error"])) | (
        {"note": _why(failed, sum(map(len, groups)))} if failed else {}
    )


def _why(failed: Counter, num_samples: int) -> str:
    more = f"; and {len(failed) - SHOWN_REASONS} more reasons" if len(failed) > SHOWN_REASONS else ""
    return (
        f"{failed.total()} of {num_samples} samples could not be graded and count as wrong: "
        + "; ".join(f"{reason} ({count})" for reason, count in failed.most_common(SHOWN_REASONS))
        + more
    )


def by_level(problems: Sequence[Problem], groups: Groups) -> list[dict]:
    """Accuracy and length of the thought by difficulty, where the problems have one."""
    of_level: dict[str, Groups] = defaultdict(list)
    for problem, group in zip(problems, groups, strict=True):
        of_level[problem.level].append(group)
    if set(of_level) == {""}:
        return []
    return [
        over_problems(f"{metric}[{level}]", of_level[level], value)
        for metric, value in (
            ("pass@1", lambda record: record["correct"]),
            ("thinking_tokens", lambda record: record["thinking_tokens"]),
        )
        for level in sorted(of_level)
        if level
    ]


def contest_rating(one: ProblemSet, groups: Groups) -> list[dict]:
    """Codeforces rating and percentile; problems of these contests that are not in the set count as not solved."""
    solved: dict[str, list[dict[str, bool]]] = {
        contest: [{} for _ in range(one.num_samples)] for contest in one.contests
    }
    for problem, group in zip(one.problems, groups, strict=True):
        contest, index = problem.place
        for attempt, record in zip(solved[contest], group):
            attempt[index] = record["correct"]
    outcomes = [outcome(one.contests[contest], attempts) for contest, attempts in solved.items()]
    found = rating_with_interval(outcomes)
    return [
        row("rating", *found, len(outcomes)),
        row("percentile", *(percentile(value, outcomes) for value in found), len(outcomes)),
    ]


def problem_means(groups: Groups) -> list[float]:
    """pass@1 of each problem: what two models are compared by."""
    return [statistics.fmean(float(record["correct"]) for record in group) for group in groups]


def over_problems(metric: str, groups: Groups, value: Callable[[dict], float | None]) -> dict:
    """Mean over problems of the mean over samples. Samples without a value are left out, and problems that have none."""
    found = [[float(number) for record in group if (number := value(record)) is not None] for group in groups]
    return interval(metric, [statistics.fmean(values) for values in found if values])


def interval(metric: str, values: Sequence[float]) -> dict:
    return row(metric, *mean_with_interval(values), len(values)) if values else row(metric, 0.0, 0.0, 0.0, 0)


def row(metric: str, value: float, low: float, high: float, n: int) -> dict:
    return {"metric": metric, "value": round(value, 6), "low": round(low, 6), "high": round(high, 6), "n": n}
