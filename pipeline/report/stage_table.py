"""The recipe stage by stage beside the paper's Table 2 [N], and where the shape of the two agrees.

Pure functions of results and comparisons.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.report.names import set_label, stage_name
from pipeline.report.results import Column, are_apart, paired
from stages.contract.results import Comparison

STAGES = ("r1_zero", "cold_start", "reasoning_rl", "rejection_sft", "preference_rl")  # R1-Zero, Dev1, Dev2, Dev3, R1


@dataclass(frozen=True)
class Benchmark:
    """A row of a table of the paper, and what of ours stands beside it."""

    name: str
    paper: tuple[float | None, ...]  # a value for each model of the paper, None where it gives none
    ours: tuple[tuple[str, str], ...]  # (set, metric) that show the same; the first that was measured is shown


PAPER = (  # Nature 645 (2025), Table 2; in percent, but for the rating
    Benchmark(
        "AIME 2024, pass@1",
        (77.9, 59.0, 74.0, 78.1, 79.8),
        (("aime24", "pass@1"), ("tiny_math", "pass@1"), ("file", "pass@1"), ("reasoning_gym", "pass@1")),
    ),
    Benchmark("MATH-500, pass@1", (95.9, 94.2, 95.9, 95.4, 97.3), (("math500", "pass@1"),)),
    Benchmark("GPQA Diamond, pass@1", (75.8, 66.1, 70.7, 71.2, 71.5), (("gpqa", "pass@1"),)),
    Benchmark("LiveCodeBench, pass@1", (50.0, 57.5, 63.5, 64.6, 65.9), (("livecodebench", "pass@1"),)),
    Benchmark("Codeforces, percentile", (80.4, 84.5, 90.5, 92.1, 96.3), (("codeforces", "percentile"),)),
    Benchmark("Codeforces, rating", (1444, 1534, 1687, 1746, 2029), (("codeforces", "rating"),)),
    Benchmark("MMLU, exact match", (88.8, 89.1, 91.2, 91.0, 90.8), (("mmlu", "pass@1"),)),
    Benchmark("MMLU-Pro, exact match", (68.9, 74.1, 83.8, 83.1, 84.0), (("mmlu_pro", "pass@1"),)),
    Benchmark(
        "IF-Eval, prompt strict",
        (46.6, 71.7, 72.0, 78.1, 83.3),
        (("ifeval", "pass@1"), ("tiny_general", "pass@1"), ("english_general", "pass@1")),
    ),
    Benchmark(
        "AlpacaEval 2.0, LC win rate",
        (24.7, 50.1, 55.8, 62.1, 87.6),
        (("tiny_general", "helpfulness"), ("english_general", "helpfulness")),
    ),
)
STEPS = (
    ("cold_start", "r1_zero"),
    ("reasoning_rl", "cold_start"),
    ("rejection_sft", "reasoning_rl"),
    ("preference_rl", "rejection_sft"),
)


def rows(found: list[Column]) -> list[dict]:
    """The rows of the paper's table that we have something beside, for two stages or more.

    Returns:
        [{"paper": name, "values": the paper's, "ours": label of our column, "is_same": whether ours is the same set,
        "cells": ours by stage, or None, "column"}].
    """
    by_key = {(column.set_name, column.metric): column for column in found}
    table = []
    for benchmark in PAPER:
        measured = [key for key in benchmark.ours if key in by_key and len(set(by_key[key].cells) & set(STAGES)) > 1]
        if measured:
            key = measured[0]
            column = by_key[key]
            table.append(
                {
                    "paper": benchmark.name,
                    "values": benchmark.paper,
                    "ours": label_of(column),
                    "is_same": key == benchmark.ours[0] and not key[0].startswith("tiny"),
                    "cells": [column.cells.get(stage) for stage in STAGES],
                    "column": column,
                }
            )
    return table


def shape(table: list[dict], comparisons: Sequence[Comparison]) -> list[dict]:
    """What `claim` says of each row and each step of the recipe that was measured."""
    found = []
    for row in table:
        for model, against in STEPS:
            published = row["values"][STAGES.index(model)] - row["values"][STAGES.index(against)]
            found.append(claim(row["paper"], published, row["column"], model, against, comparisons))
    return [one for one in found if one]


def claim(
    paper: str,
    published: float,
    column: Column,
    model: str,
    against: str,
    comparisons: Sequence[Comparison],
    where: str = "the paper",
) -> dict | None:
    """Whether our numbers move from one model to the other as the paper's do.

    A change of ours is clear where the interval of the paired difference leaves 0 out, or, where the two were not
    compared in pairs, where their own intervals do not overlap.

    Args:
        paper: Name of the paper's benchmark.
        published: By how much the paper's number moves.
        column: Our numbers.
        model: The later of our two models.
        against: The earlier one.
        comparisons: The rows of comparisons.json.
        where: What to call the paper in the text.

    Returns:
        {"verdict", "model", "against", "text"}, the verdict one of agrees, differs, unclear; None where one of the two
        models was not measured.
    """
    before, after = column.cells.get(against), column.cells.get(model)
    if before is None or after is None:
        return None
    difference = after.value - before.value
    pair = paired(column, model, against, comparisons)
    is_clear = (pair["low"] > 0 or pair["high"] < 0) if pair else are_apart(before, after)
    verdict = "unclear"
    if is_clear:
        verdict = "agrees" if difference * published > 0 else "differs"
    return {
        "verdict": verdict,
        "model": model,
        "against": against,
        "text": f"{stage_name(model).label} against {stage_name(against).label}: "
        f"{paper} {_moves(published, f'{abs(published):.4g}')} in {where}; "
        f"{label_of(column)} {_moves(difference, column.text(abs(difference)))} here"
        + ("" if is_clear else ", within the noise"),
    }


def label_of(column: Column) -> str:
    """Set and metric as people read them."""
    return f"{set_label(column.set_name)}, {column.label}"


def summary(claims: list[dict], what: str = "changes from stage to stage") -> str:
    """One sentence on all claims; `what` says what they are about."""
    if not claims:
        return ""
    counts = Counter(claim["verdict"] for claim in claims)
    return (
        f"Of {len(claims)} {what}, {counts['agrees']} go the paper's way beyond the noise, "
        f"{counts['differs']} go the other way, and "
        f"{counts['unclear']} cannot be told from noise with these samples."
    )


def _moves(difference: float, size: str) -> str:
    if difference == 0:
        return "stays"
    return f"rises by {size}" if difference > 0 else f"falls by {size}"
