"""The distilled students beside the paper's Table 15 [V2; V1 Table 5], and where the shape of the two agrees.

Pure functions of what `read` found.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.configuration.graph import family_of
from pipeline.report import stage_table
from pipeline.report.names import stage_name
from pipeline.report.read import StageRecord, mapping
from pipeline.report.results import Cell, Column
from pipeline.report.stage_table import Benchmark, claim
from stages.contract.results import Comparison

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
SMALLEST, LARGEST = "Distill-Qwen-1.5B", "Distill-Qwen-32B"
BY_RL = "Qwen2.5-32B-Zero, by RL alone"
TEACHER = "R1"
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
    """A model of the run in the table: a distilled student, the same base trained by RL instead, or the teacher R1."""

    stage: str
    published: str | None  # the paper's model of the same base and the same training, where there is one
    num_bytes: int  # of its weights; 0: unknown

    @property
    def is_distilled(self) -> bool:
        """Whether it learned from the teacher's completions."""
        return family_of(self.stage) == "distill"


def students(found: list[Column], config: dict, stages: dict[str, StageRecord]) -> list[Student]:
    """The models that were evaluated, by size, the teacher last; none where no student was distilled.

    Args:
        found: The columns of the results.
        config: The run's resolved configuration, for the students' bases.
        stages: The run's stages, for the sizes.
    """
    names = {model for column in found for model in column.cells}
    made = [
        Student(name, _published(name, config), _num_bytes(stages.get(name)))
        for name in names
        if family_of(name) in ("distill", "student_rl") or name == "preference_rl"
    ]
    if not any(one.is_distilled for one in made):
        return []
    return sorted(made, key=lambda one: (one.stage == "preference_rl", one.num_bytes, one.stage))


def _published(stage: str, config: dict) -> str | None:
    """The paper's model of the same base and the same training as this stage's, if there is one."""
    if stage == "preference_rl":
        return TEACHER
    name = stage.removeprefix(family_of(stage)).removeprefix("_")
    student = mapping(config.get("students")).get(name) if name else config.get("student")
    base = Path(str(mapping(student).get("path") or "")).name
    is_by_rl = family_of(stage) == "student_rl"
    for model, base_of_model in PUBLISHED.items():
        if base and base_of_model == base and (model == BY_RL) == is_by_rl:
            return model
    return None


def _num_bytes(stage: StageRecord | None) -> int:
    """Size of a stage's weights, as its manifest says it; 0 where it has none."""
    return stage.manifest.bytes_of(".safetensors") if stage and stage.manifest else 0


def columns(found: list[Column], ours: list[Student]) -> list[tuple[Benchmark, Column]]:
    """The columns of the paper's table that the run has something beside, each with ours."""
    names = {one.stage for one in ours if one.is_distilled}
    of_students = [column for column in found if names & set(column.cells)]
    chosen = []
    for benchmark in PAPER:
        fitting = [
            column for set_name, metric in benchmark.ours for column in of_students if _shows(column, set_name, metric)
        ]
        if fitting:
            chosen.append((benchmark, fitting[0]))
    return chosen


def _shows(column: Column, set_name: str, metric: str) -> bool:
    """Whether the column is of this set and metric; cons@k stands for any k."""
    is_metric = column.metric == metric or (metric == "cons@k" and column.metric.startswith("cons@"))
    return column.set_name == set_name and is_metric


def rows(chosen: list[tuple[Benchmark, Column]], ours: list[Student]) -> list[dict]:
    """The paper's models, below each ours of the same base; ours of other bases stand before R1.

    Returns:
        [{"name", "note", "cells": [{"text", "interval"}]}].
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
    interval = ""
    if cell.low is not None and cell.high is not None:
        interval = f"{column.text(cell.low)}–{column.text(cell.high)}"
    return {
        "text": column.text(cell.value),
        "interval": interval,
    }


@dataclass(frozen=True)
class Pair:
    """Two models of the run to compare, and the two of the paper that they are held against."""

    model: Student
    against: Student
    published: str
    published_against: str


def shape(chosen: list[tuple[Benchmark, Column]], ours: list[Student], comparisons: Sequence[Comparison]) -> list[dict]:
    """What `stage_table.claim` says of each pair of models in each column.

    The pairs are each student and the next smaller one, each student and the same base trained by RL, the largest
    student and R1.
    """
    pairs = _pairs_by_size(ours) + _pairs_with_rl(ours) + _pairs_with_teacher(ours)
    models = list(PUBLISHED)
    found = []
    for benchmark, column in chosen:
        for pair in pairs:
            value = benchmark.paper[models.index(pair.published)]
            other = benchmark.paper[models.index(pair.published_against)]
            if value is None or other is None:
                continue
            where = f"the paper ({pair.published} against {pair.published_against.split(',')[0]})"
            stages = pair.model.stage, pair.against.stage
            found.append(claim(benchmark.name, value - other, column, *stages, comparisons, where))
    return [one for one in found if one]


def _pairs_by_size(ours: list[Student]) -> list[Pair]:
    """Each student with the next smaller one; where ours are of other bases, the paper's largest and smallest Qwen."""
    by_size = [one for one in ours if one.is_distilled and one.num_bytes]
    pairs = []
    for small, large in itertools.pairwise(by_size):
        if large.num_bytes > small.num_bytes:
            if large.published and small.published:
                pairs.append(Pair(large, small, large.published, small.published))
            else:
                pairs.append(Pair(large, small, LARGEST, SMALLEST))
    return pairs


def _pairs_with_rl(ours: list[Student]) -> list[Pair]:
    """Each student with the same base trained by RL instead; the paper has such a pair at 32B."""
    by_rl = {one.stage.removeprefix("student_rl"): one for one in ours if family_of(one.stage) == "student_rl"}
    distilled = {one.stage.removeprefix("distill"): one for one in ours if one.is_distilled}
    return [Pair(one, by_rl[name], LARGEST, BY_RL) for name, one in distilled.items() if name in by_rl]


def _pairs_with_teacher(ours: list[Student]) -> list[Pair]:
    """The largest student with the teacher that it learned from."""
    distilled = [one for one in ours if one.is_distilled]
    teachers = [one for one in ours if one.published == TEACHER]
    return [Pair(one, teacher, one.published or LARGEST, TEACHER) for teacher in teachers for one in distilled[-1:]]
