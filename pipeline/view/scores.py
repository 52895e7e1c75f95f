"""What an evaluation has measured, as a small table: a row for each model, a column for each set."""

from collections.abc import Mapping

from rich.console import Console
from rich.markup import escape

from pipeline.view.tables import Column, print_table
from pipeline.view.words import amount

FIRST = "pass@1"
BESIDES = ("language", "tokens")  # of the first set
PARTS = 3  # MODEL/SET/METRIC


def is_of_evaluation(metrics: Mapping[str, float]) -> bool:
    """Whether these are the numbers of a stage that evaluates models: MODEL/SET/pass@1 is among them."""
    return any(name.count("/") == PARTS - 1 and name.endswith(f"/{FIRST}") for name in metrics)


def print_scores(console: Console, metrics: Mapping[str, float]) -> None:
    """Prints the main number of each model on each set, in percent where it is a share.

    That is pass@1; of a set without one, its first metric. Of the first set there are language and tokens too.

    Args:
        console: where it goes.
        metrics: MODEL/SET/METRIC -> value, in the order of the evaluation.
    """
    cells = {tuple(name.split("/", PARTS - 1)): value for name, value in metrics.items() if name.count("/") >= 2}
    models = list(dict.fromkeys(key[0] for key in cells))
    columns = _columns(list(cells))
    heads = [
        Column("model"),
        *(
            Column(f"{set_name} {metric}", is_number=True, goes=0 if metric == FIRST else 1)
            for set_name, metric in columns
        ),
    ]
    rows = [(escape(model), *(_cell(cells.get((model, *column)), column[1]) for column in columns)) for model in models]
    print_table(console, "", heads, rows)


def _columns(keys: list[tuple[str, ...]]) -> list[tuple[str, str]]:
    """(set, metric) of each column."""
    metrics_of: dict[str, list[str]] = {}
    for _, set_name, metric in keys:
        if metric not in metrics_of.setdefault(set_name, []):
            metrics_of[set_name].append(metric)
    found = []
    for number, (set_name, metrics) in enumerate(metrics_of.items()):
        found.append((set_name, FIRST if FIRST in metrics else metrics[0]))
        found += [(set_name, metric) for metric in BESIDES if number == 0 and metric in metrics]
    return found


def _cell(value: float | None, metric: str) -> str:
    if value is None:
        return ""
    is_share = 0 <= value <= 1 and metric not in ("tokens", "rating")
    if is_share or 10 <= abs(value) < 1000:
        return f"{100 * value if is_share else value:.1f}"
    return amount(value)
