"""The evaluation's results as a table: models down, sets and metrics across. Pure functions of results.json."""

import math
import re
from dataclasses import dataclass

from pipeline.report.figures import figure, number, share_axis
from pipeline.report.names import metric_label, metric_order, set_label, stage_name, stage_order

NO_SHARES = ("tokens", "thinking_tokens", "helpfulness", "rating")
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
    """A metric of an evaluation set. `is_share`: shown in percent."""

    set_name: str
    metric: str
    is_share: bool
    cells: dict[str, Cell]

    @property
    def label(self) -> str:
        return metric_label(self.metric)

    def text(self, value: float) -> str:
        """93.8 for the share 0.938; 1.23, 24.6 or 1,204 for other numbers."""
        value = (
            100 * min(max(value, 0), 1) if self.is_share else value
        )  # a normal interval may reach beyond what a share can be
        decimals = 0 if abs(value) >= 1000 else 1 if self.is_share or abs(value) >= 10 else 2
        return f"{value:,.{decimals}f}"


def columns(results: list[dict]) -> list[Column]:
    """All columns, sets in the order of the file, metrics in the report's order. A mean of nothing (n = 0) is no
    result; grader errors are shown where there are any.
    """
    cells: dict[str, dict[str, dict[str, Cell]]] = {}
    for row in (row for row in results if row.get("n") != 0 and not _OF_LEVEL.fullmatch(row["metric"])):
        low, high, n = (number(row.get(key)) for key in ("low", "high", "n"))
        cell = Cell(float(row["value"]), low, high, None if n is None else int(n))
        cells.setdefault(row["set"], {}).setdefault(row["metric"], {})[row["model"]] = cell
    return [
        Column(set_name, metric, _is_share(metric, by_model), by_model)
        for set_name, metrics in cells.items()
        for metric, by_model in sorted(metrics.items(), key=lambda item: metric_order(item[0]))
        if metric != "grader_errors" or any(cell.value for cell in by_model.values())
    ]


def notes(results: list[dict]) -> list[str]:
    """What must be said beside the tables: samples that no grader could judge."""
    return [f"{row['model']} on {row['set']}: {row['note']}" for row in results if isinstance(row.get("note"), str)]


def _is_share(metric: str, cells: dict[str, Cell]) -> bool:
    return metric not in NO_SHARES and all(0 <= cell.value <= 1 for cell in cells.values())


def by_level(results: list[dict]) -> list[dict]:
    """Accuracy and thinking tokens by difficulty: {"set", "model", "level", "pass@1", "thinking_tokens" (or None),
    "n"}, in the order of the file.
    """
    found: dict[tuple, dict] = {}
    for row in results:
        match = _OF_LEVEL.fullmatch(row["metric"])
        if match and row.get("n") != 0:
            key = (row["set"], row["model"], match[2])
            one = found.setdefault(
                key,
                {
                    "set": row["set"],
                    "model": row["model"],
                    "level": match[2],
                    "pass@1": None,
                    "thinking_tokens": None,
                    "n": row.get("n"),
                },
            )
            one[match[1]] = row["value"]
    return [row for row in found.values() if row["pass@1"] is not None]


def models(found: list[Column]) -> list[str]:
    """The evaluated models, in the recipe's order."""
    return sorted({model for column in found for model in column.cells}, key=stage_order)


def by_set(found: list[Column]) -> list[dict]:
    """The table's header groups: each set with its columns and the number of measurements behind them."""
    groups: list[dict] = []
    for column in found:
        if not groups or groups[-1]["name"] != column.set_name:
            groups.append({"name": column.set_name, "label": set_label(column.set_name), "columns": []})
        groups[-1]["columns"].append(column)
    for group in groups:
        counts = {cell.n for column in group["columns"] for cell in column.cells.values() if cell.n}
        group["counts"] = f"n = {min(counts):,}" + (f" to {max(counts):,}" if len(counts) > 1 else "") if counts else ""
    return groups


def changes(found: list[Column], model: str, parent: str, limit: int = 4) -> list[dict]:
    """What a stage changed against the model it started from: the largest changes first, beyond both intervals before
    the others.

    Each is {"label", "set", "before", "after", "change", "is_clear"}; `is_clear` where the two 95% intervals do not
    overlap.
    """
    rows = []
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
                "change": ("+" if difference >= 0 else "−") + column.text(abs(difference)),
                "unit": " points" if column.is_share else "",
                "is_clear": _apart(before, after),
                "size": size,
            }
        )
    main = [row for row in rows if row["label"] == "pass@1"][:1]
    rest = sorted((row for row in rows if row not in main), key=lambda row: (-row["is_clear"], -row["size"]))
    return (main + rest)[:limit]


def _apart(one: Cell, other: Cell) -> bool:
    if None in (one.low, one.high, other.low, other.high):
        return False
    return one.high < other.low or other.high < one.low


def result_figures(found: list[Column]) -> list[dict]:
    """One bar chart a column: every model, with its 95% interval. Columns of zeros are left to the table."""
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
                "color": "#111827",
                "thickness": 1.2,
                "width": 3,
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
