"""The results, a table for each evaluation set: how it was sampled, the scores, and which changes are real.

Pure functions of what `read` found.
"""

from collections.abc import Callable, Sequence
from typing import Any

from pipeline.configuration.graph import FAMILIES, family_of
from pipeline.report.figures import number
from pipeline.report.names import set_label, stage_name, stage_order
from pipeline.report.read import StageRecord, mapping
from pipeline.report.results import MAX_COLUMNS, Column, models, paired, result_figures
from stages.contract.results import Comparison

BASE = "base"
JUDGED = (
    "_general",
    "_safety",
)  # ends of the names of a world's sets that are judged, with samples of their own number


def set_tables(found: list[Column], evaluation: StageRecord, parent: Callable[[str], str | None]) -> list[dict]:
    """The tables of all sets, in the order of the file.

    Returns:
        [{"name", "label", "sampling", "blocks", "figures", "tests", "more_tests"}]: a block is {"columns", "rows"} with
        at most MAX_COLUMNS columns, so that it fits a page; a row is {"shown", "name", "cells": [(column, cell)]}; a
        test is what `_test` makes; "tests" are each model against the one it started from, "more_tests" all others.
    """
    tables = []
    for name in dict.fromkeys(column.set_name for column in found):
        columns = [column for column in found if column.set_name == name]
        shown = models(columns)
        tests, more_tests = _tests(_compared(name, columns, evaluation.comparisons), evaluation.comparisons, parent)
        tables.append(
            {
                "name": name,
                "label": set_label(name),
                "sampling": sampling(name, columns, evaluation),
                "blocks": [
                    {"columns": block, "rows": [_row(model, block) for model in shown]} for block in _blocks(columns)
                ],
                "figures": result_figures(columns),
                "tests": tests,
                "more_tests": more_tests,
            }
        )
    return tables


def _blocks(columns: list[Column]) -> list[list[Column]]:
    """The columns in parts of about the same size, none with more than MAX_COLUMNS."""
    count = -(-len(columns) // MAX_COLUMNS)
    size = -(-len(columns) // count)
    return [columns[start : start + size] for start in range(0, len(columns), size)]


def _row(model: str, columns: list[Column]) -> dict[str, Any]:
    return {
        "name": model,
        "shown": stage_name(model),
        "cells": [(column, column.cells.get(model), model in column.best) for column in columns],
    }


def sampling(name: str, columns: list[Column], evaluation: StageRecord) -> list[tuple[str, str]]:
    """How the set was sampled: [(word of the glossary, value)], as far as the files say it."""
    counts = {cell.n for column in columns for cell in column.cells.values() if cell.n}
    most = f" to {max(counts):,}" if len(counts) > 1 else ""
    found = [("n", f"{min(counts):,}{most}")] if counts else []
    config = evaluation.description.config if evaluation.description else {}
    suites = mapping(config.get("settings"))
    suite = mapping(suites.get(name) or suites.get(name.partition("_")[0]))  # tiny_math is a set of the suite tiny
    drawn = suite or mapping(config.get("rollout"))
    key = "general_samples_per_prompt" if name.endswith(JUDGED) else "samples_per_prompt"
    samples = config.get(key) if name.endswith(JUDGED) or not suite else suite.get(key)
    values = (("samples", samples), ("temperature", drawn.get("temperature")), ("top-p", drawn.get("top_p")))
    return found + [(word, f"{value:g}") for word, value in values if number(value) is not None]


def _compared(name: str, columns: list[Column], comparisons: Sequence[Comparison]) -> list[Column]:
    """The numbers of a set that models were compared by; of those without a column in the table only the name."""
    by_metric = {column.metric: column for column in columns}
    metrics = dict.fromkeys(row["metric"] for row in comparisons if row["set"] == name)
    return [by_metric.get(metric) or Column(name, metric, is_share=True, cells={}) for metric in metrics]


def _tests(
    columns: list[Column], comparisons: Sequence[Comparison], parent: Callable[[str], str | None]
) -> tuple[list[dict], list[dict]]:
    """(each model against the one that it started from, and the recipe's against the base; all other pairs)."""
    first: list[dict] = []
    more: list[dict] = []
    for column in columns:
        rows = [row for row in comparisons if (row["set"], row["metric"]) == (column.set_name, column.metric)]
        shown = sorted({name for row in rows for name in (row["model"], row["against"])}, key=stage_order)
        wanted = [(model, parent(model)) for model in shown]
        teachers = [model for model in shown if model != BASE and family_of(model) not in FAMILIES]
        wanted += [(model, BASE) for model in teachers if (model, BASE) not in wanted]
        found = {pair: test for pair in wanted if (test := _test(column, *pair, rows))}
        first += found.values()
        seen = {frozenset(pair) for pair in found}
        others = [(row["model"], row["against"]) for row in rows]
        more += [test for pair in others if frozenset(pair) not in seen and (test := _test(column, *pair, rows))]
    return (first, more) if first else (more, [])


def _test(column: Column, model: str, against: str | None, comparisons: Sequence[Comparison]) -> dict[str, Any] | None:
    """A pair of models as people read it; None where the two were not compared."""
    row = paired(column, model, against, comparisons) if against else None
    if row is None:
        return None
    return {
        "metric": column.label,
        "key": column.metric,
        "model": stage_name(model),
        "against": stage_name(row["against"]),
        "change": column.change(row["difference"]),
        "interval": f"{column.signed(row['low'])} to {column.signed(row['high'])}",
        "p": f"{row['p']:.4f}" if row["p"] >= 0.001 else "< 0.001",
        "is_clear": row["low"] > 0 or row["high"] < 0,
    }
