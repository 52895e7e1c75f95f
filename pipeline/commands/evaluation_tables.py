"""The tables of an evaluation on the terminal: scores by set, accuracy by difficulty, paired comparisons."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pipeline.report import results as reading
from pipeline.report.names import set_label
from stages.contract.results import Comparison, Result

MAX_SHOWN_PAIRS = 12  # more models make more pairs than anyone reads: comparisons.json has all


def print_results(console: Console, results: Sequence[Result]) -> None:
    """Prints a table for each set, with 95% intervals, then accuracy by difficulty and notes where there are any.

    Args:
        console: where to print.
        results: the rows of results.json.
    """
    for group in reading.by_set(reading.columns(results)):
        models = reading.models(group["columns"])
        table = _table(f"{escape(set_label(group['name']))}  {group['counts']}")
        table.add_column("")
        for model in models:
            table.add_column(escape(model), justify="right")
        for column in group["columns"]:
            table.add_row(escape(column.label), *(_cell(column, model) for model in models))
        console.print(table)
        of_set = [row for row in results if row["set"] == group["name"]]
        _print_levels(console, of_set)
        for note in reading.notes(of_set):
            console.print(note, style="yellow", markup=False, highlight=False)
        console.print()


def _table(title: str) -> Table:
    return Table(title=title, title_justify="left", show_edge=False, pad_edge=False)


def _cell(column: reading.Column, model: str) -> str:
    cell = column.cells.get(model)
    if cell is None:
        return ""
    if cell.low is None or cell.high is None:
        return column.text(cell.value)
    return escape(f"{column.text(cell.value)} [{column.text(cell.low)}, {column.text(cell.high)}]")


def _print_levels(console: Console, results: Sequence[Result]) -> None:
    rows = reading.by_level(results)
    if not rows:
        return
    levels = list(dict.fromkeys(row["level"] for row in rows))
    table = _table("by difficulty")
    table.add_column("model")
    for level in levels:
        table.add_column(escape(level), justify="right")
    for model in dict.fromkeys(row["model"] for row in rows):
        of_model = {row["level"]: row for row in rows if row["model"] == model}
        table.add_row(escape(model), *(_level_cell(of_model.get(level)) for level in levels))
    console.print(table)


def _level_cell(row: Mapping[str, Any] | None) -> str:
    if row is None:
        return ""
    tokens = row["thinking_tokens"]
    return f"{100 * row['pass@1']:.1f}" + (f" ({tokens:,.0f} tokens)" if tokens is not None else "")


def print_comparisons(console: Console, comparisons: Sequence[Comparison]) -> None:
    """Prints each pair of models on each set: the difference of pass@1 in points, its interval, and p.

    Args:
        console: where to print.
        comparisons: the rows of comparisons.json, each from a paired permutation test on the same problems.
    """
    if not comparisons:
        return
    table = _table("the same problems, pair by pair: difference of pass@1 in points")
    table.add_column("set")
    table.add_column("")
    table.add_column("difference", justify="right")
    table.add_column("p", justify="right")
    table.add_column("n", justify="right")
    for row in comparisons[:MAX_SHOWN_PAIRS]:
        table.add_row(
            escape(row["set"]),
            escape(f"{row['model']} − {row['against']}"),
            escape(f"{100 * row['difference']:+.1f} [{100 * row['low']:+.1f}, {100 * row['high']:+.1f}]"),
            f"{row['p']:.4f}",
            f"{row['n']:,}",
        )
    console.print(table)
    if len(comparisons) > MAX_SHOWN_PAIRS:
        more = len(comparisons) - MAX_SHOWN_PAIRS
        console.print(f"... and {more} more pairs in comparisons.json", highlight=False)
