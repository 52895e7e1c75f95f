"""The evaluation's results as a table: models down, sets and metrics across. Pure functions of results.json."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.report.figures import figure, number, share_axis
from pipeline.report.glossary import term_of
from pipeline.report.names import metric_label, metric_order, set_label, stage_name, stage_order
from stages.contract.results import Comparison, Result

MAX_COLUMNS = 10  # of one table: so many fit a page
NO_SHARES = ("tokens", "thinking_tokens", "helpfulness", "rating")
NUM_CHANGES = 4  # shown on the card of a stage
_OF_LEVEL = re.compile(r"(.+)\[(.+)\]")  # pass@1[3]: of the problems of level 3


@dataclass(frozen=True)
class Cell:
    """One result with its 95% interval, where there is one."""

    value: float
    low: float | None
    high: float | None
    n: int | None


@dataclass(frozen=True)
class Column:
    """A metric of an evaluation set, with a cell for each model. A share is shown in percent."""

    set_name: str
    metric: str
    is_share: bool
    cells: dict[str, Cell]

    @property
    def label(self) -> str:
        """The name of the metric as people read it."""
        return metric_label(self.metric)

    def text(self, value: float) -> str:
        """93.8 for the share 0.938; 1.23, 24.6 or 1,204 for other numbers."""
        if self.is_share:
            value = 100 * min(max(value, 0), 1)  # a normal interval may reach beyond what a share can be
        if abs(value) >= 1000:
            return f"{value:,.0f}"
        return f"{value:,.1f}" if self.is_share or abs(value) >= 10 else f"{value:,.2f}"

    def change(self, difference: float) -> str:
        """A difference with its sign: +66.1 for 0.661 of a share, −3.0 for fewer tokens."""
        return ("+" if difference >= 0 else "−") + self.text(abs(difference))

    def signed(self, difference: float) -> str:
        """An end of the interval of a difference: 62.6 or −3.0."""
        return ("" if difference >= 0 else "−") + self.text(abs(difference))

    @property
    def best(self) -> set[str]:
        """The models with the best value; none where there is no better and worse, or all are the same."""
        found = term_of(self.metric)
        better = found[1].better if found else ""
        values = {cell.value for cell in self.cells.values()}
        if not better or len(values) < 2:
            return set()
        best = max(values) if better == "higher" else min(values)
        return {model for model, cell in self.cells.items() if cell.value == best}


def columns(results: Sequence[Result]) -> list[Column]:
    """All columns: sets in the order of the file, metrics in the report's order.

    Grader errors have a column only where there are any.
    """
    cells: dict[str, dict[str, dict[str, Cell]]] = {}
    for row in results:
        if _OF_LEVEL.fullmatch(row["metric"]):
            continue
        low, high, n = number(row["low"]), number(row["high"]), number(row["n"])
        cell = Cell(float(row["value"]), low, high, None if n is None else int(n))
        cells.setdefault(row["set"], {}).setdefault(row["metric"], {})[row["model"]] = cell
    found = []
    for set_name, metrics in cells.items():
        for metric in sorted(metrics, key=metric_order):
            by_model = metrics[metric]
            if metric != "grader_errors" or any(cell.value for cell in by_model.values()):
                found.append(Column(set_name, metric, _is_share(metric, by_model), by_model))
    return found


def notes(results: Sequence[Result]) -> list[str]:
    """What must be said below the tables, such as how many samples could not be graded."""
    return [f"{row['model']} on {row['set']}: {row['note']}" for row in results if "note" in row]


def _is_share(metric: str, cells: dict[str, Cell]) -> bool:
    return metric not in NO_SHARES and all(0 <= cell.value <= 1 for cell in cells.values())


def by_level(results: Sequence[Result]) -> list[dict]:
    """Accuracy and thinking tokens by difficulty, in the order of the file.

    Returns:
        [{"set", "model", "level", "pass@1", "thinking_tokens" (or None), "n"}], without levels that have no accuracy.
    """
    found: dict[tuple, dict] = {}
    for row in results:
        match = _OF_LEVEL.fullmatch(row["metric"])
        if match is None or row["n"] == 0:
            continue
        metric, level = match[1], match[2]
        entry = {"set": row["set"], "model": row["model"], "level": level, "n": row["n"]}
        entry |= {"pass@1": None, "thinking_tokens": None}
        found.setdefault((row["set"], row["model"], level), entry)[metric] = row["value"]
    return [row for row in found.values() if row["pass@1"] is not None]


def models(found: list[Column]) -> list[str]:
    """The evaluated models, in the recipe's order."""
    return sorted({model for column in found for model in column.cells}, key=stage_order)


def by_set(found: list[Column]) -> list[dict]:
    """The header groups of the table: each set with its columns and the number of measurements behind them."""
    groups: list[dict] = []
    for column in found:
        if not groups or groups[-1]["name"] != column.set_name:
            groups.append({"name": column.set_name, "label": set_label(column.set_name), "columns": []})
        groups[-1]["columns"].append(column)
    for group in groups:
        counts = {cell.n for column in group["columns"] for cell in column.cells.values() if cell.n}
        most = f" to {max(counts):,}" if len(counts) > 1 else ""
        group["counts"] = f"n = {min(counts):,}{most}" if counts else ""
    return groups


def changes(found: list[Column], model: str, parent: str, limit: int = NUM_CHANGES) -> list[dict]:
    """What a stage changed against the model that it started from, the largest changes first.

    The first pass@1 comes before all others; clear changes, whose 95% intervals do not overlap, before unclear ones.

    Returns:
        At most `limit` of {"label", "set", "before", "after", "change", "unit", "is_clear", "size"}.
    """
    rows: list[dict[str, Any]] = []
    for column in found:
        before, after = column.cells.get(parent), column.cells.get(model)
        if before is None or after is None:
            continue
        difference = after.value - before.value
        size = abs(difference) if column.is_share else abs(difference) / max(abs(before.value), abs(after.value), 1e-9)
        rows.append(
            {
                "label": column.label,
                "set": set_label(column.set_name).split(" (")[0],
                "before": column.text(before.value),
                "after": column.text(after.value),
                "change": column.change(difference),
                "unit": " points" if column.is_share else "",
                "is_clear": are_apart(before, after),
                "size": size,
            }
        )
    main = [row for row in rows if row["label"] == "pass@1"][:1]
    others = [row for row in rows if row not in main]
    others.sort(key=lambda row: (not row["is_clear"], -row["size"]))
    return (main + others)[:limit]


def are_apart(one: Cell, other: Cell) -> bool:
    """Whether the two 95% intervals do not overlap; no where one of them is unknown."""
    if one.low is None or one.high is None or other.low is None or other.high is None:
        return False
    return one.high < other.low or other.high < one.low


def paired(column: Column, model: str, against: str, comparisons: Sequence[Comparison]) -> Comparison | None:
    """The comparison of two models on the same problems, turned so that it is `model` minus `against`."""
    for row in comparisons:
        if (row["set"], row["metric"]) != (column.set_name, column.metric):
            continue
        if (row["model"], row["against"]) == (model, against):
            return row
        if (row["model"], row["against"]) == (against, model):
            turned = {"difference": -row["difference"], "low": -row["high"], "high": -row["low"]}
            return row | {"model": model, "against": against} | turned  # type: ignore[return-value]
    return None


def result_figures(found: list[Column]) -> list[dict]:
    """A bar chart for each column: every model with its 95% interval. Columns of zeros are in the table only."""
    figures = []
    for column in found:
        if not any(cell.value for cell in column.cells.values()):
            continue
        shown = [model for model in models(found) if model in column.cells]
        cells = [column.cells[model] for model in shown]
        least, most = (0, 1) if column.is_share else (-math.inf, math.inf)
        above = [min(cell.high, most) - cell.value if cell.high is not None else 0 for cell in cells]
        below = [cell.value - max(cell.low, least) if cell.low is not None else 0 for cell in cells]
        form = ".1%" if column.is_share else ",.1f"
        trace = {
            "type": "bar",
            "x": [stage_name(model).label for model in shown],
            "y": [cell.value for cell in cells],
            "width": 0.7,
            "marker": {"color": [stage_name(model).color for model in shown]},
            "showlegend": False,
            "error_y": {
                "type": "data",
                "array": above,
                "arrayminus": below,
                "symmetric": False,
            },
            "hovertemplate": f"%{{x}}: %{{y:{form}}}<extra></extra>",
        }
        yaxis = (
            share_axis([cell.value + up for cell, up in zip(cells, above)])
            if column.is_share
            else {"rangemode": "tozero"}
        )
        axes = {"xaxis": {"tickangle": -40, "type": "category"}, "yaxis": yaxis}
        figures.append(
            figure(
                f"result-{column.set_name}-{column.metric}",
                f"{column.label}",
                set_label(column.set_name),
                [trace],
                axes,
            )
        )
    return figures
