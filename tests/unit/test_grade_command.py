"""`r1 grade`: the verdict of each row, what was read, and why; rows and files that cannot be graded say so."""

import csv
import json

import pyarrow
import pyarrow.parquet
import pytest

from stages.config import SandboxConfig
from stages.data.grade_report import as_json, print_row, print_summary, summary
from stages.data.graded_rows import graded_rows, pair_of
from stages.data.malformed import RowError
from stages.rewards.grading import grade_many
from tests.support.command_line import r1
from tests.support.data_rows import write_lines

ROWS = [
    {"verifier": "integer", "reference": "42", "answer": "42", "right": 1, "kind": "plain"},
    {"verifier": "integer", "reference": "42", "answer": "43", "right": 0, "kind": "plain"},
    {"verifier": "integer", "reference": 42, "answer": 42, "right": True, "kind": "numbers"},
    {"verifier": "exact", "reference": "Paris", "answer": "paris", "right": "1", "kind": "words"},
    {"verifier": "exact", "reference": "Paris", "answer": "London", "right": "1", "kind": "words"},
    {"verifier": "choice", "reference": "B", "answer": "(B)", "options": ["three", "four"]},
    {"verifier": "choice", "reference": "B", "answer": "four", "options": '["three", "four"]'},
    {"verifier": "integer", "reference": "7", "answer": "<think>6+1</think><answer>7</answer>"},
    {"verifier": "integer", "reference": "7", "completion": "<think>6+1</think><answer>7</answer>"},
    {"verifier": "integer", "reference": "7", "completion": "I think it is 7"},
    {"verifier": "integer", "reference": "7", "answer": ""},
    {"verifier": "instructions", "checks": [{"id": "punctuation:no_comma"}], "answer": "no comma"},
]
VERDICTS = [1, 0, 1, 1, 0, 1, 1, 1, 1, 0, 0, 1]


def graded(tmp_path, rows, name="rows.jsonl"):
    return list(graded_rows(tmp_path / name if rows is None else write_lines(tmp_path / name, rows), SandboxConfig()))


def test_every_row_gets_its_verdict_in_order(tmp_path):
    rows = graded(tmp_path, ROWS)
    assert [row.verdict for row in rows] == VERDICTS
    assert [row.where for row in rows] == [f"line {number}" for number in range(1, len(ROWS) + 1)]
    assert all(row.why for row in rows) and (rows[0].reference, rows[0].answer) == ("42", "42")


def test_the_verdict_is_that_of_training(tmp_path):
    rows = graded(tmp_path, ROWS)
    pairs = [pair_of(raw, "line 1") for raw in ROWS]
    assert [row.verdict for row in rows] == [grade.value for grade in grade_many(pairs)]
    assert pairs[0][0] == "<think></think><answer>42</answer>" and pairs[7][0] == ROWS[7]["answer"]


def test_columns_of_their_own_are_part_of_the_checks():
    def checks_of(**row):
        return json.loads(pair_of({"verifier": "code", "answer": "x", **row}, "")[1].checks)

    tests = [{"input": "1", "output": "2"}]
    assert checks_of(tests=tests) == checks_of(tests=json.dumps(tests)) == {"type": "stdin", "tests": tests}
    assert checks_of(tests={"type": "stdin", "tests": tests}) == {"type": "stdin", "tests": tests}
    assert checks_of(inputs=["1"], outputs=["2"]) == {"inputs": ["1"], "outputs": ["2"]}
    assert checks_of(tests=[{"args": [1], "expected": 1}], fn_name="f")["type"] == "call"
    assert checks_of(checks='{"type": "stdin"}', tests=tests) == {"type": "stdin", "tests": tests}
    row = {"verifier": "math", "reference": "2", "answer": "2", "tolerance": 0.01}
    assert json.loads(pair_of(row, "")[1].checks) == {"tolerance": 0.01}


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ({"verifier": "maths", "reference": "1", "answer": "1"}, "unknown verifier 'maths'"),
        ({"reference": "1", "answer": "1"}, "names no verifier"),
        ({"verifier": "integer", "answer": "1"}, "no reference: the column reference is not there; there are verifier"),
        ({"verifier": "integer", "reference": "", "answer": "1"}, "the column reference is empty"),
        ({"verifier": "integer", "reference": None, "answer": "1"}, "the column reference is empty"),
        ({"verifier": "integer", "reference": "NaN", "answer": "1"}, "reference is missing"),
        ({"verifier": "integer", "reference": ["1"], "answer": "1"}, "reference is a list"),
        ({"verifier": "integer", "reference": "1"}, "no answer"),
        ({"verifier": "integer", "reference": "1", "answer": None}, "no answer"),
        ({"verifier": "code", "answer": "print(1)"}, "no reference"),
        ({"verifier": "judge", "reference": "1", "answer": "1"}, "a judge is asked by stages only"),
        ({"verifier": "integer", "reference": "1", "answer": "1", "right": "maybe"}, "right must be 1 or 0"),
        ({"verifier": "math", "reference": "1", "answer": "1", "checks": "[]", "tolerance": 1}, "checks is no object"),
        ("{broken", "not JSON"),
        ("[1]", "expected an object"),
    ],
)
def test_a_row_that_cannot_be_graded_says_so_and_others_are_graded(tmp_path, row, why):
    rows = graded(tmp_path, [ROWS[0], row, ROWS[1]])
    assert [one.verdict for one in rows] == [1, None, 0] and why in rows[1].why, rows[1].why
    shown = json.loads(as_json(rows))["rows"][1]
    assert shown["verdict"] is None and shown["read"] == [None, None]
    if isinstance(row, dict) and "right" not in row:
        with pytest.raises(RowError):
            pair_of(row, "")


def test_a_reference_that_training_refuses_is_wrong_and_says_why(tmp_path):
    (row,) = graded(tmp_path, [{"verifier": "integer", "reference": "three", "answer": "3"}])
    assert row.verdict == 0 and "training refuses the row" in row.why


def test_csv_and_parquet_say_the_same(tmp_path):
    rows = [{key: str(value) for key, value in row.items()} for row in ROWS[:5]]
    with open(tmp_path / "rows.csv", "w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "rows.parquet")
    expected = [row.verdict for row in graded(tmp_path, rows)]
    assert expected == VERDICTS[:5]
    for name in ("rows.csv", "rows.parquet"):
        assert [row.verdict for row in graded(tmp_path, None, name)] == expected


def test_agreement_by_kind(tmp_path):
    rows = graded(tmp_path, [*ROWS[:5], {**ROWS[0], "right": 0}])
    found = summary(rows)
    assert (found["rows"], found["right"], found["wrong"], found["not_graded"]) == (6, 4, 2, 0)
    agreement = found["agreement"]
    assert (agreement["agree"], agreement["false_positives"], agreement["false_negatives"]) == (
        4,
        ["line 6"],
        ["line 5"],
    )
    assert agreement["by_kind"]["plain"] == {
        "rows": 3,
        "agree": 2,
        "false_positives": ["line 6"],
        "false_negatives": [],
    }
    lines: list[str] = []
    print_summary(rows, lines.append)
    assert lines[0] == "6 rows: 4 right, 2 wrong, 0 partly right, 0 not graded"
    assert "false positives: line 6" in lines and "agreement" not in summary(rows[:0])
    print_row(rows[4], lines.append)
    assert "line 5: wrong (exact), but it should be right" in lines


def test_an_answer_of_half_a_character_is_printed(tmp_path):
    (row,) = graded(tmp_path, [r'{"verifier": "exact", "reference": "a", "answer": "\ud800"}'])
    assert row.verdict == 0 and json.loads(as_json([row]))
    print_row(row, lambda line: line.encode())


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("rows.txt", b"{}", "unknown file type"),
        ("rows.jsonl", b"", "is empty"),
        ("rows.parquet", b"no", "is not a readable Parquet file"),
    ],
)
def test_a_file_that_cannot_be_read_is_an_error(tmp_path, name, content, why):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=why) as error:
        list(graded_rows(tmp_path / name, SandboxConfig()))
    assert "grade.path" not in str(error.value)


@pytest.mark.slow
def test_the_command_line(tmp_path):
    path = write_lines(tmp_path / "cases (1).jsonl", ROWS)
    shown = r1("grade", path)
    assert shown.returncode == 0 and "line 2: wrong (integer)" in shown.stdout, shown.stdout + shown.stderr
    assert "false negatives: line 5" in shown.stdout
    found = r1("grade", path, "--json")
    assert found.returncode == 0 and [row["verdict"] for row in json.loads(found.stdout)["rows"]] == VERDICTS
    partly = r1("grade", write_lines(tmp_path / "x.jsonl", [ROWS[0], {"verifier": "none"}]), "--json")
    assert partly.returncode == 3 and [row["verdict"] for row in json.loads(partly.stdout)["rows"]] == [1, None]
    missing = r1("grade", str(tmp_path / "none.jsonl"))
    assert missing.returncode == 3 and "none.jsonl" in missing.stdout and "Traceback" not in missing.stderr
    assert r1("grade").returncode == 2
