"""The students beside the paper's Table 15, and what the report says of the shape, on results made up by hand."""

import pytest

from pipeline.report import results, stage_table, student_table
from pipeline.report.read import StageRecord
from stages.contract.files import FileEntry
from stages.contract.manifest import Manifest
from tests.support.synthetic_run import a_row, write, write_run

MIB = 2**20


def students_of(rows: list[dict], sizes: dict[str, float] | None = None, **config) -> tuple:
    """(columns, students) of these results; `sizes` of the weights in MiB."""
    stages = {
        name: StageRecord(
            name,
            None,
            manifest=Manifest(
                files={
                    "model/model.safetensors": FileEntry(sha256="", bytes=int(size * MIB)),
                    "model/config.json": FileEntry(sha256="", bytes=7),
                }
            ),
        )
        for name, size in (sizes or {}).items()
    }
    found = results.columns(rows)
    ours = student_table.students(found, config, stages)
    return student_table.columns(found, ours), ours


def made(pass_at_1: dict[str, float], set_name: str = "tiny_math") -> list[dict]:
    return [
        a_row(model, set_name, metric, value) for model, value in pass_at_1.items() for metric in ("pass@1", "cons@16")
    ]


OURS = {
    "preference_rl": 0.92,
    "distill_big": 0.80,
    "distill_small": 0.60,
    "student_rl_big": 0.40,
    "student_base_big": 0.10,
    "base": 0.2,
}
SIZES = {"distill_big": 1.5, "distill_small": 0.5, "student_rl_big": 1.5, "preference_rl": 2.5}


def test_the_papers_numbers_are_those_of_table_15():
    columns = {
        benchmark.name: dict(zip(student_table.PUBLISHED, benchmark.paper, strict=True))
        for benchmark in student_table.PAPER
    }
    assert [of["Distill-Qwen-7B"] for of in columns.values()] == [55.5, 83.3, 92.8, 49.1, 37.6, 1189]
    assert [of["Distill-Llama-70B"] for of in columns.values()] == [70.0, 86.7, 94.5, 65.2, 57.5, 1633]
    assert [of[student_table.BY_RL] for of in columns.values()] == [47.0, 60.0, 91.6, 55.0, 40.2, None]
    for name, of in columns.items():  # what the claims rest on
        assert (
            of[student_table.LARGEST] > of[student_table.SMALLEST]
            and of[student_table.TEACHER] > of[student_table.LARGEST]
        ), name


def test_students_of_other_bases_stand_below_the_papers_by_size():
    columns, ours = students_of(made(OURS), SIZES)
    assert [(benchmark.name, column.metric) for benchmark, column in columns] == [
        ("AIME 2024, pass@1", "pass@1"),
        ("AIME 2024, cons@64", "cons@16"),
    ]
    rows = student_table.rows(columns, ours)
    assert [row["name"] for row in rows] == [
        *list(student_table.PUBLISHED)[:-1],
        "Student small",
        "Student big",
        "Student by RL big",
        "R1",
        "R1",
    ]
    assert [row["note"] for row in rows[-5:]] == [
        "this run, weights of 0.5 MiB",
        "this run, weights of 1.5 MiB",
        "this run, weights of 1.5 MiB",
        "the paper",
        "this run",
    ]
    assert rows[0]["cells"] == [{"text": "28.9", "interval": ""}, {"text": "52.7", "interval": ""}]
    assert rows[-5]["cells"][0] == {"text": "60.0", "interval": "58.0–62.0"} and rows[-1]["cells"][0]["text"] == "92.0"


def test_a_student_of_the_papers_base_stands_below_the_papers():
    config = {
        "students": {"a": {"path": "Qwen/Qwen2.5-Math-7B"}, "b": {"path": "/models/Qwen2.5-32B"}, "c": {"path": None}}
    }
    rows = made({"distill_a": 0.5, "distill_b": 0.7, "student_rl_b": 0.4, "distill_c": 0.1}, "math500") + [
        a_row("distill_a", "codeforces", "rating", 1100.0)
    ]
    columns, ours = students_of(rows, **config)
    names = [(row["name"], row["note"]) for row in student_table.rows(columns, ours)]
    assert names[1:3] == [("Distill-Qwen-7B", "the paper"), ("Student a", "this run")]
    assert names[4:7] == [
        ("Distill-Qwen-32B", "the paper"),
        ("Student b", "this run"),
        ("Distill-Llama-8B", "the paper"),
    ]
    assert names[8:11] == [
        ("Qwen2.5-32B-Zero, by RL alone", "the paper"),
        ("Student by RL b", "this run"),
        ("Student c", "this run"),
    ]
    assert [benchmark.name for benchmark, _ in columns] == ["MATH-500, pass@1", "Codeforces, rating"]
    (one,) = students_of(made({"distill": 0.5}), student={"path": "meta-llama/Llama-3.1-8B"})[1]
    assert one.published == "Distill-Llama-8B"


def test_the_shape_is_computed():
    columns, ours = students_of([row for row in made(OURS) if row["metric"] == "pass@1"], SIZES)
    claims = student_table.shape(columns, ours, [])
    assert [(claim["verdict"], claim["model"], claim["against"]) for claim in claims] == [
        ("agrees", "distill_big", "distill_small"),
        ("agrees", "distill_big", "student_rl_big"),
        ("agrees", "distill_big", "preference_rl"),
    ]
    assert claims[0]["text"] == (
        "Student big against Student small: AIME 2024, pass@1 rises by 43.7 in the paper (Distill-Qwen-32B against "
        "Distill-Qwen-1.5B); "
        "Reasoning (tiny_math), pass@1 rises by 20.0 here"
    )
    assert claims[1]["text"].endswith(
        "(Distill-Qwen-32B against Qwen2.5-32B-Zero); Reasoning (tiny_math), pass@1 rises by 40.0 here"
    )
    assert stage_table.summary(claims, "comparisons of students") == (
        "Of 3 comparisons of students, 3 go the paper's way beyond the noise, 0 go the other way, "
        "and 0 cannot be told from noise with these samples."
    )


def test_where_the_shape_differs_or_cannot_be_told():
    worse = OURS | {"distill_big": 0.50, "student_rl_big": 0.51}
    columns, ours = students_of([row for row in made(worse) if row["metric"] == "pass@1"], SIZES)
    assert [claim["verdict"] for claim in student_table.shape(columns, ours, [])] == ["differs", "unclear", "agrees"]
    pair = {
        "set": "tiny_math",
        "metric": "pass@1",
        "model": "student_rl_big",
        "against": "distill_big",
        "difference": 0.01,
        "low": 0.005,
        "high": 0.015,
        "p": 0.01,
    }
    assert [claim["verdict"] for claim in student_table.shape(columns, ours, [pair])] == [
        "differs",
        "differs",
        "agrees",
    ]  # the paired test decides, either way round


def test_students_of_the_papers_bases_are_compared_with_their_own():
    config = {"students": {"a": {"path": "Qwen/Qwen2.5-Math-1.5B"}, "b": {"path": "Qwen/Qwen2.5-Math-7B"}}}
    columns, ours = students_of(
        [row for row in made({"distill_a": 0.8, "distill_b": 0.9}, "math500") if row["metric"] == "pass@1"],
        {"distill_a": 3, "distill_b": 14},
        **config,
    )
    (claim,) = student_table.shape(columns, ours, [])
    assert claim["text"].startswith(
        "Student b against Student a: MATH-500, pass@1 rises by 8.9 in the paper (Distill-Qwen-7B against "
        "Distill-Qwen-1.5B)"
    )


@pytest.mark.parametrize(
    "rows", [[], made({"base": 0.1, "preference_rl": 0.9}), made({"student_rl": 0.5, "preference_rl": 0.9})]
)
def test_without_a_distilled_student_there_is_no_table(rows):
    columns, ours = students_of(rows)
    assert columns == [] and ours == []


def test_sizes_that_are_not_known_make_no_claim():
    columns, ours = students_of(made({"distill_a": 0.5, "distill_b": 0.9}))
    assert (
        student_table.shape(columns, ours, []) == []
        and len(student_table.rows(columns, ours)) == len(student_table.PUBLISHED) + 2
    )


def test_the_report_shows_it(tmp_path):
    from pipeline.report import write_report

    run = write_run(tmp_path / "demo")
    text = write_report(run, tmp_path / "one.html").read_text()
    assert (
        "The students beside the paper" in text
        and "Distill-Llama-70B" in text
        and "Student against R1: AIME 2024, pass@1 falls by 7.2 in the paper" in text
    )
    (directory,) = (run / "evaluate").glob("[0-9a-f]*")
    write(directory / "results.json", [])
    assert "The students beside the paper" not in write_report(run, tmp_path / "two.html").read_text()
