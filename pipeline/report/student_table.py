"""The distilled students beside the paper's Table 15 [V2; V1 Table 5], and where the shape of the two agrees. Pure
functions of what `read` found.
"""

from dataclasses import dataclass
from pathlib import Path

from pipeline.configuration.graph import family_of
from pipeline.report import stage_table
from pipeline.report.names import stage_name
from pipeline.report.read import StageRecord
from pipeline.report.results import Cell, Column
from pipeline.report.stage_table import Benchmark, claim

# name -> its base, by the last part of the hub's name; R1 is what they were taught by [V2 Table 8]
PUBLISHED = {
    "Distill-Qwen-1.5B": "Qwen2.5-Math-1.5B",
    "Distill-Qwen-7B": "Qwen2.5-Math-7B",
    "Distill-Qwen-14B": "Qwen2.5-14B",
    "Distill-Qwen-32B": "Qwen2.5-32B",
    "Distill-Llama-8B": "Llama-3.1-8B",
    "Distill-Llama-70B": "Llama-3.3-70B-Instruct",
    "Qwen2.5-32B-Zero, by RL alone": "Qwen2.5-32B",
    "R1": "",
}
SMALLEST, LARGEST, BY_RL, TEACHER = "Distill-Qwen-1.5B", "Distill-Qwen-32B", "Qwen2.5-32B-Zero, by RL alone", "R1"
_OURS = {benchmark.name: benchmark.ours for benchmark in stage_table.PAPER}
PAPER = (  # in percent, but for the rating; in the order of PUBLISHED
    Benchmark("AIME 2024, pass@1", (28.9, 55.5, 69.7, 72.6, 50.4, 70.0, 47.0, 79.8), _OURS["AIME 2024, pass@1"]),
    Benchmark(
        "AIME 2024, cons@64",
        (52.7, 83.3, 80.0, 83.3, 80.0, 86.7, 60.0, 86.7),
        tuple((name, "cons@k") for name, _ in _OURS["AIME 2024, pass@1"]),
    ),
    Benchmark("MATH-500, pass@1", (83.9, 92.8, 93.9, 94.3, 89.1, 94.5, 91.6, 97.3), _OURS["MATH-500, pass@1"]),
    Benchmark("GPQA Diamond, pass@1", (33.8, 49.1, 59.1, 62.1, 49.0, 65.2, 55.0, 71.5), _OURS["GPQA Diamond, pass@1"]),
    Benchmark(
        "LiveCodeBench, pass@1", (16.9, 37.6, 53.1, 57.2, 39.6, 57.5, 40.2, 65.9), _OURS["LiveCodeBench, pass@1"]
    ),
    Benchmark("Codeforces, rating", (954, 1189, 1481, 1691, 1205, 1633, None, 2029), _OURS["Codeforces, rating"]),
)


@dataclass(frozen=True)
class Student:
    """A model of the run that stands in the table: distilled, its base by RL instead, or the teacher R1."""

    stage: str
    published: str | None  # the paper's model of the same base and the same training, where there is one
    num_bytes: int  # of its weights; 0: unknown

    @property
    def is_distilled(self) -> bool:
        return family_of(self.stage) == "distill"


def students(found: list[Column], config: dict, stages: dict[str, StageRecord]) -> list[Student]:
    """Those that were evaluated, by size; nothing where no student is distilled."""
    names = {model for column in found for model in column.cells}
    made = [
        Student(name, _published(name, config), _num_bytes(stages.get(name)))
        for name in names
        if family_of(name) in ("distill", "student_rl") or name == "preference_rl"
    ]
    return (
        sorted(made, key=lambda one: (one.stage == "preference_rl", one.num_bytes, one.stage))
        if any(one.is_distilled for one in made)
        else []
    )


def _published(stage: str, config: dict) -> str | None:
    if stage == "preference_rl":
        return TEACHER
    name = stage.removeprefix(family_of(stage)).removeprefix("_")
    named = config.get("students") if isinstance(config.get("students"), dict) else {}
    student = named.get(name) if name else config.get("student")
    base = Path(str(student.get("path") or "")).name if isinstance(student, dict) else ""
    return next(
        (
            model
            for model, of in PUBLISHED.items()
            if base and of == base and (model == BY_RL) == (family_of(stage) == "student_rl")
        ),
        None,
    )


def _num_bytes(stage: StageRecord | None) -> int:
    return stage.manifest.bytes_of(".safetensors") if stage and stage.manifest else 0


def columns(found: list[Column], ours: list[Student]) -> list[tuple[Benchmark, Column]]:
    """The paper's columns that the run has something beside, each with ours."""
    names, chosen = {one.stage for one in ours if one.is_distilled}, []
    for benchmark in PAPER:
        fitting = [
            column
            for set_name, metric in benchmark.ours
            for column in found
            if column.set_name == set_name
            and names & set(column.cells)
            and (column.metric == metric or (metric == "cons@k" and column.metric.startswith("cons@")))
        ]
        chosen += [(benchmark, fitting[0])] if fitting else []
    return chosen


def rows(chosen: list[tuple[Benchmark, Column]], ours: list[Student]) -> list[dict]:
    """[{"name", "note", "cells": [{"text", "interval"}]}]: the paper's models, below each ours of the same base, ours
    of other bases before R1.
    """
    found = []
    for place, name in enumerate(PUBLISHED):
        if name == TEACHER:
            found += [_row(chosen, one) for one in ours if one.published is None]
        cells = [
            {"text": "" if benchmark.paper[place] is None else str(benchmark.paper[place]), "interval": ""}
            for benchmark, _ in chosen
        ]
        found.append({"name": name, "note": "the paper", "cells": cells})
        found += [_row(chosen, one) for one in ours if one.published == name]
    return found


def _row(chosen: list[tuple[Benchmark, Column]], one: Student) -> dict:
    size = f", weights of {one.num_bytes / 2**20:,.1f} MiB" if one.num_bytes and one.published != TEACHER else ""
    return {
        "name": stage_name(one.stage).label,
        "note": f"this run{size}",
        "cells": [_cell(column, column.cells.get(one.stage)) for _, column in chosen],
    }


def _cell(column: Column, cell: Cell | None) -> dict:
    if cell is None:
        return {"text": "", "interval": ""}
    return {
        "text": column.text(cell.value),
        "interval": "" if None in (cell.low, cell.high) else f"{column.text(cell.low)}–{column.text(cell.high)}",
    }


def shape(chosen: list[tuple[Benchmark, Column]], ours: list[Student], comparisons: list[dict]) -> list[dict]:
    """Claims as `stage_table.claim` makes them: each student against the next smaller one, distilled against RL of the
    same base, the largest against R1. Where ours are not of the paper's bases, the paper's own pair is its largest and
    smallest Qwen student, or its largest and the other.
    """
    distilled = [one for one in ours if one.is_distilled]
    by_size = [one for one in distilled if one.num_bytes]
    pairs = [
        (
            large,
            small,
            *((large.published, small.published) if large.published and small.published else (LARGEST, SMALLEST)),
        )
        for small, large in zip(by_size, by_size[1:])
        if large.num_bytes > small.num_bytes
    ]
    by_rl = {one.stage.removeprefix("student_rl"): one for one in ours if family_of(one.stage) == "student_rl"}
    pairs += [
        (one, by_rl[name], LARGEST, BY_RL) for one in distilled if (name := one.stage.removeprefix("distill")) in by_rl
    ]
    pairs += [
        (one, teacher, one.published or LARGEST, TEACHER)
        for teacher in ours
        if teacher.published == TEACHER
        for one in distilled[-1:]
    ]
    models, found = list(PUBLISHED), []
    for benchmark, column in chosen:
        for model, against, theirs, other in pairs:
            values = benchmark.paper[models.index(theirs)], benchmark.paper[models.index(other)]
            if None not in values:
                found.append(
                    claim(
                        benchmark.name,
                        values[0] - values[1],
                        column,
                        model.stage,
                        against.stage,
                        comparisons,
                        f"the paper ({theirs} against {other.split(',')[0]})",
                    )
                )
    return [one for one in found if one]
