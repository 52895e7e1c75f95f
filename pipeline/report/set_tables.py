"""The results, a table for each evaluation set: how it was sampled, the scores, and which changes are real.

Pure functions of what `read` found.
"""

from collections.abc import Callable, Sequence
from typing import Any

from pipeline.report.figures import number
from pipeline.report.names import set_label, stage_name
from pipeline.report.read import StageRecord, mapping
from pipeline.report.results import MAX_COLUMNS, Column, models, paired, result_figures
from stages.contract.results import Comparison

TINY = "tiny"  # the suite whose sets are tiny_math, tiny_general and tiny_safety
SINGLE = ("tiny_general", "tiny_safety")  # sets with samples of their own number, where no suite says it


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
        tests, more_tests = _tests(columns, evaluation.comparisons, parent)
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
    suite = mapping(suites.get(name) or (suites.get(TINY) if name.startswith(f"{TINY}_") else None))
    drawn = suite or mapping(config.get("rollout"))
    key = "general_samples_per_prompt" if name in SINGLE else "samples_per_prompt"
    samples = config.get(key) if name in SINGLE or not suite else suite.get(key)
    values = (("samples", samples), ("temperature", drawn.get("temperature")), ("top-p", drawn.get("top_p")))
    return found + [(word, f"{value:g}") for word, value in values if number(value) is not None]


def _tests(
    columns: list[Column], comparisons: Sequence[Comparison], parent: Callable[[str], str | None]
) -> tuple[list[dict], list[dict]]:
    """(each model against the one that it started from, and the last against the first; all other pairs)."""
    first: list[dict] = []
    more: list[dict] = []
    for column in columns:
        shown = models([column])
        pairs = [(model, before) for model in shown if (before := parent(model)) in column.cells]
        pairs += [(model, "base") for model in shown if model != "base" and (model, "base") not in pairs]
        pairs = [pair for pair in pairs if pair[1] in column.cells]
        found = {pair: test for pair in pairs if (test := _test(column, *pair, comparisons))}
        first += found.values()
        seen = {frozenset(pair) for pair in found}
        for row in comparisons:
            pair = (row["model"], row["against"])
            test = _test(column, *pair, comparisons) if frozenset(pair) not in seen else None
            if test and (row["set"], row["metric"]) == (column.set_name, column.metric):
                more.append(test)
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
