"""Two evaluations, each of another run, on the problems that both have asked."""

from collections import defaultdict
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipeline.view.words import amount
from stages.contract.files import read_jsonl
from stages.contract.manifest import verify
from stages.contract.results import Result, find_results
from stages.kinds.evaluation.statistics import paired_difference

SCORES = "data/scores.parquet"
Means = dict[tuple[str, str], dict[str, float]]  # (set, model) -> problem -> share of its samples that are right


@dataclass(frozen=True)
class Compared:
    """pass@1 of one model on one set in two runs; None where a run has not measured it, or the problems differ."""

    set: str
    model: str
    a: float | None
    b: float | None
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    n: int | None = None

    def as_dict(self) -> dict[str, Any]:
        """The same as plain data."""
        return asdict(self)


def compare_results(first: Path, second: Path) -> tuple[list[Compared], list[str]]:
    """(pass@1 of every model on every set, notes) of two evaluations' directories, by the names of the models."""
    notes = []
    for directory in (first, second):
        if not (directory / "manifest.json").exists():
            return [], [f"{directory.parents[1]} has no finished evaluation, so results are not compared"]
        notes += [f"damaged: {problem}" for problem in verify(directory).problems]
    values, means = [_values(path) for path in (first, second)], [_means(path) for path in (first, second)]
    prompts = [_prompts(path) for path in (first, second)]
    rows, unequal = [], {}
    for place in dict.fromkeys((*values[0], *values[1])):
        set_name, model = place
        row = Compared(set_name, model, values[0].get(place), values[1].get(place))
        if row.a is not None and row.b is not None:
            why = _why_not_the_same(set_name, place, means, prompts)
            if why:
                unequal[set_name] = why
            else:
                row = _paired(row, means[0][place], means[1][place])
        rows.append(row)
    return rows, notes + [f"{name}: no paired test, for {why}" for name, why in unequal.items()]


def _values(directory: Path) -> dict[tuple[str, str], float]:
    rows: list[Result] = find_results(directory)
    return {(row["set"], row["model"]): row["value"] for row in rows if row["metric"] == "pass@1"}


def _means(directory: Path) -> Means:
    """pass@1 of each problem, of the measures of every sample."""
    import pyarrow.parquet

    path = directory / SCORES
    if not path.is_file():
        return {}
    found: dict[tuple[str, str], dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    table = pyarrow.parquet.read_table(path, columns=["set", "model", "problem", "correct"])
    for row in table.to_pylist():
        found[row["set"], row["model"]][row["problem"]].append(float(row["correct"]))
    return {
        place: {name: sum(samples) / len(samples) for name, samples in problems.items()}
        for place, problems in found.items()
    }


def _prompts(directory: Path) -> dict[tuple[str, str], str]:
    """The text of the problems that are shown to people, by set and problem."""
    rows = read_jsonl(directory / "samples.jsonl")
    return {(row["set"], row["prompt_id"]): row["prompt"] for row in rows}


def _why_not_the_same(
    set_name: str, place: tuple[str, str], means: list[Means], prompts: list[dict[tuple[str, str], str]]
) -> str:
    """Why the two were not asked the same problems; "" where they were."""
    first, second = (found.get(place) for found in means)
    if first is None or second is None:
        return f"{SCORES} is not there in both"
    num_shared = len(first.keys() & second.keys())
    if num_shared < max(len(first), len(second)):
        sizes = f"{amount(len(first))} and {amount(len(second))}"
        return f"the two have {sizes} problems, of which {amount(num_shared)} have the same name"
    shared = [key for key in prompts[0] if key[0] == set_name and key in prompts[1]]
    if any(prompts[0][key] != prompts[1][key] for key in shared):
        return "problems of the same name have another text"
    return ""


def _paired(row: Compared, first: dict[str, float], second: dict[str, float]) -> Compared:
    names = sorted(first)
    found = paired_difference([first[name] for name in names], [second[name] for name in names])
    return Compared(
        row.set,
        row.model,
        row.a,
        row.b,
        **{name: round(value, 6) for name, value in found.items()},
        n=len(names),
    )
