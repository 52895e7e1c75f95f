"""The tables of an evaluation on the terminal: scores by set, accuracy by difficulty, paired comparisons."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape

from pipeline.report import results as reading
from pipeline.report.names import set_label
from pipeline.view.tables import Column, print_table, print_wide_table
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
        title = f"{set_label(group['name'])}  {group['counts']}"
        heads = [Column(""), *(Column(model, is_number=True) for model in models)]
        rows = [(escape(column.label), *(_cell(column, model) for model in models)) for column in group["columns"]]
        print_wide_table(console, title, heads, rows)
        of_set = [row for row in results if row["set"] == group["name"]]
        _print_levels(console, of_set)
        for note in reading.notes(of_set):
            console.print(note, style="yellow", markup=False, highlight=False)
        console.print()


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
    shown = []
    for model in dict.fromkeys(row["model"] for row in rows):
        of_model = {row["level"]: row for row in rows if row["model"] == model}
        shown.append((escape(model), *(_level_cell(of_model.get(level)) for level in levels)))
    heads = [Column("model"), *(Column(level, is_number=True) for level in levels)]
    print_wide_table(console, "by difficulty", heads, shown)


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
    heads = (
        Column("set", goes=1),
        Column("pair"),
        Column("difference", is_number=True),
        Column("p", is_number=True),
        Column("n", is_number=True, goes=2),
    )
    rows = [
        (
            escape(row["set"]),
            escape(f"{row['model']} − {row['against']}"),
            escape(f"{100 * row['difference']:+.1f} [{100 * row['low']:+.1f}, {100 * row['high']:+.1f}]"),
            f"{row['p']:.4f}",
            f"{row['n']:,}",
        )
        for row in comparisons[:MAX_SHOWN_PAIRS]
    ]
    print_table(console, "the same problems, pair by pair: difference of pass@1 in points", heads, rows)
    if len(comparisons) > MAX_SHOWN_PAIRS:
        more = len(comparisons) - MAX_SHOWN_PAIRS
        console.print(f"... and {more} more pairs in comparisons.json", highlight=False)
