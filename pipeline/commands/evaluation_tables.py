"""Evaluation results on the terminal: a table a set, with 95% intervals; the paired comparisons; accuracy by
difficulty.
"""

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pipeline.report import results as reading
from pipeline.report.names import set_label

SHOWN_PAIRS = 12  # more models make more pairs than anyone reads: comparisons.json has all


def print_results(console: Console, results: list[dict]) -> None:
    for group in reading.by_set(reading.columns(results)):
        columns, models = group["columns"], reading.models(group["columns"])
        table = Table(
            title=f"{escape(set_label(group['name']))}  {group['counts']}",
            title_justify="left",
            show_edge=False,
            pad_edge=False,
        )
        for name in ("", *models):
            table.add_column(escape(name), justify="right" if name else "left")
        for column in columns:
            table.add_row(escape(column.label), *(_cell(column, model) for model in models))
        console.print(table)
        _print_levels(console, group["name"], results)
        for note in reading.notes([row for row in results if row["set"] == group["name"]]):
            console.print(note, style="yellow", markup=False, highlight=False)
        console.print()


def _cell(column: reading.Column, model: str) -> str:
    cell = column.cells.get(model)
    if cell is None:
        return ""
    if cell.low is None or cell.high is None:
        return column.text(cell.value)
    return escape(f"{column.text(cell.value)} [{column.text(cell.low)}, {column.text(cell.high)}]")


def _print_levels(console: Console, set_name: str, results: list[dict]) -> None:
    levels = reading.by_level([row for row in results if row["set"] == set_name])
    if not levels:
        return
    table = Table(title="by difficulty", title_justify="left", show_edge=False, pad_edge=False)
    for name in ("model", *dict.fromkeys(row["level"] for row in levels)):
        table.add_column(escape(name), justify="left" if name == "model" else "right")
    for model in dict.fromkeys(row["model"] for row in levels):
        mine = {row["level"]: row for row in levels if row["model"] == model}
        table.add_row(
            escape(model), *(_level_cell(mine.get(level)) for level in dict.fromkeys(row["level"] for row in levels))
        )
    console.print(table)


def _level_cell(row: dict | None) -> str:
    if row is None:
        return ""
    return f"{100 * row['pass@1']:.1f}" + (
        f" ({row['thinking_tokens']:,.0f} tokens)" if row["thinking_tokens"] is not None else ""
    )


def print_comparisons(console: Console, comparisons: list[dict]) -> None:
    """Each pair on each set: the difference of pass@1 in points, its interval, and p of the paired permutation test."""
    if not comparisons:
        return
    table = Table(
        title="the same problems, pair by pair: difference of pass@1 in points",
        title_justify="left",
        show_edge=False,
        pad_edge=False,
    )
    for name, justify in (("set", "left"), ("", "left"), ("difference", "right"), ("p", "right"), ("n", "right")):
        table.add_column(name, justify=justify)
    for row in comparisons[:SHOWN_PAIRS]:
        table.add_row(
            escape(row["set"]),
            escape(f"{row['model']} − {row['against']}"),
            escape(f"{100 * row['difference']:+.1f} [{100 * row['low']:+.1f}, {100 * row['high']:+.1f}]"),
            f"{row['p']:.4f}",
            f"{row['n']:,}",
        )
    console.print(table)
    if len(comparisons) > SHOWN_PAIRS:
        console.print(f"... and {len(comparisons) - SHOWN_PAIRS} more pairs in comparisons.json", highlight=False)
