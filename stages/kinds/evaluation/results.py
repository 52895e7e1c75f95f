"""Turns the records of a set's samples into rows of results.json: {"metric", "value", "low", "high", "n"}.

The intervals are 95% intervals over problems. A metric of one difficulty has the level in brackets: pass@1[3]. Where
graders failed, the row grader_errors also has a "note" for people.
"""

import statistics
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from operator import itemgetter

from stages.kinds.evaluation.problems import Problem, ProblemSet
from stages.kinds.evaluation.ratings import outcome, percentile, rating_with_interval
from stages.kinds.evaluation.statistics import consensus, mean_with_interval, pass_at_k
from stages.rewards.grading import merge_votes

Groups = list[list[dict]]  # the records of each problem, in the order of its samples
SHOWN_REASONS = 3  # how many reasons a note names why samples could not be graded
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
    """The rows of one model on one set; `groups` stand in the order of the set's problems.

    A mean of nothing has no row, such as the language of thoughts without words.
    """
    return [row for row in _rows_of(one, groups) if row["n"]]


def _rows_of(one: ProblemSet, groups: Groups) -> list[dict]:
    if one.measure == "general":
        return [over_problems(metric, groups, itemgetter(name)) for metric, name in GENERAL]
    if one.measure == "safety":
        kinds = [problem.prompts[0].kind for problem in one.problems]
        of_kind = {
            wanted: [group for group, kind in zip(groups, kinds) if (kind == "harm") == (wanted == "harm")]
            for wanted in ("harm", "benign")
        }
        return [over_problems(metric, of_kind[kind], itemgetter(name)) for metric, kind, name in SAFETY]
    rows = [over_problems("pass@1", groups, itemgetter("correct"))]
    k = one.num_samples
    if k > 1:
        num_correct = [sum(record["correct"] for record in group) for group in groups]
        rows.append(interval(f"pass@{k}", [pass_at_k(k, correct, k) for correct in num_correct]))
        if one.measure == "verifiable":
            rows.append(interval(f"cons@{k}", [group_consensus(group) for group in groups]))
    rows += _side_metrics(groups) + by_level(one.problems, groups)
    return rows + (contest_rating(one, groups) if one.contests else [])


def with_merged_votes(one: ProblemSet, groups: Groups) -> Groups:
    """Returns the records with one vote for answers that the grader calls the same; a single sample has no majority."""
    if one.measure != "verifiable" or one.num_samples == 1:
        return groups
    votes = [([record["vote"] for record in group], problem.prompts[0]) for problem, group in zip(one.problems, groups)]
    return [
        [record | {"vote": vote} for record, vote in zip(group, merged)]
        for group, merged in zip(groups, merge_votes(votes))
    ]


def group_consensus(group: list[dict]) -> float:
    """cons@k of one problem, from the records of its samples."""
    return consensus([record["vote"] for record in group], [float(record["correct"]) for record in group])


def _side_metrics(groups: Groups) -> list[dict]:
    """The rows that stand beside every score: form, missing answers, failed graders, language, length."""
    return [
        over_problems("format", groups, itemgetter("well_formed")),
        over_problems("no_answer", groups, lambda record: not record["answered"]),
        grader_errors(groups),
        over_problems("language", groups, itemgetter("language")),
        over_problems("reflection", groups, itemgetter("reflects")),
        over_problems("tokens", groups, itemgetter("tokens")),
        over_problems("thinking_tokens", groups, itemgetter("thinking_tokens")),
        over_problems("truncated", groups, itemgetter("truncated")),
    ]


def grader_errors(groups: Groups) -> dict:
    """The share of samples that no grader could grade; everywhere else they count as wrong.

    Where there are any, `note` says how many and why.
    """
    failed = Counter(record["error"] for group in groups for record in group if record["error"])
    row = over_problems("grader_errors", groups, lambda record: bool(record["error"]))
    return row | {"note": _why(failed, sum(map(len, groups)))} if failed else row


def _why(failed: Counter[str], num_samples: int) -> str:
    """One line on the samples that could not be graded, with the most frequent reasons."""
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
    levels = [level for level in sorted(of_level) if level]
    accuracy = [over_problems(f"pass@1[{level}]", of_level[level], itemgetter("correct")) for level in levels]
    lengths = [
        over_problems(f"thinking_tokens[{level}]", of_level[level], itemgetter("thinking_tokens")) for level in levels
    ]
    return accuracy + lengths


def contest_rating(one: ProblemSet, groups: Groups) -> list[dict]:
    """Codeforces rating and percentile; problems of a contest that are not in the set count as not solved."""
    solved: dict[str, list[dict[str, bool]]] = {
        contest: [{} for _ in range(one.num_samples)] for contest in one.contests
    }
    for problem, group in zip(one.problems, groups, strict=True):
        contest, index = problem.place
        for attempt, record in zip(solved[contest], group):
            attempt[index] = record["correct"]
    outcomes = [outcome(one.contests[contest], attempts) for contest, attempts in solved.items()]
    value, low, high = rating_with_interval(outcomes)
    shares = [percentile(number, outcomes) for number in (value, low, high)]
    return [
        result_row("rating", value, low, high, len(outcomes)),
        result_row("percentile", shares[0], shares[1], shares[2], len(outcomes)),
    ]


def problem_means(groups: Groups) -> list[float]:
    """pass@1 of each problem, by which two models are compared."""
    return [statistics.fmean(float(record["correct"]) for record in group) for group in groups]


def over_problems(metric: str, groups: Groups, value: Callable[[dict], float | None]) -> dict:
    """The mean over problems of the mean over samples; samples and problems without a value are left out."""
    found = [[float(number) for record in group if (number := value(record)) is not None] for group in groups]
    return interval(metric, [statistics.fmean(values) for values in found if values])


def interval(metric: str, values: Sequence[float]) -> dict:
    """A row with the mean of one number a problem and its interval; zeros where there is none."""
    mean, low, high = mean_with_interval(values) if values else (0.0, 0.0, 0.0)
    return result_row(metric, mean, low, high, len(values))


def result_row(metric: str, value: float, low: float, high: float, n: int) -> dict:
    """A row of results.json, rounded to six digits; `n` problems or contests."""
    return {"metric": metric, "value": round(value, 6), "low": round(low, 6), "high": round(high, 6), "n": n}
