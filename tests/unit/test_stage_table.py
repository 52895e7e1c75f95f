"""The stage table beside the paper's, and what it says of the shape, on results made up by hand."""

from pipeline.report import results, stage_table
from tests.support.synthetic_run import a_row, write, write_run

MATH = dict(zip(stage_table.STAGES, (0.93, 0.79, 0.91, 0.88, 0.92)))


def table_of(rows: list[dict]) -> list[dict]:
    return stage_table.rows(results.columns(rows))


def test_a_set_of_ours_stands_for_a_benchmark_that_was_not_evaluated():
    (row,) = table_of([a_row(model, "tiny_math", "pass@1", value) for model, value in MATH.items()])
    assert (
        row["paper"] == "AIME 2024, pass@1"
        and row["values"] == (77.9, 59.0, 74.0, 78.1, 79.8)
        and row["ours"] == "Reasoning (tiny_math), pass@1"
    )
    assert [cell.value for cell in row["cells"]] == list(MATH.values())


def test_the_benchmark_itself_comes_first():
    rows = [
        a_row(model, set_name, "pass@1", 0.5)
        for model in stage_table.STAGES
        for set_name in ("tiny_math", "aime24", "math500")
    ]
    assert [row["ours"] for row in table_of(rows)] == ["AIME 2024 (aime24), pass@1", "MATH-500 (math500), pass@1"]


def test_the_shape_is_computed():
    table = table_of([a_row(model, "tiny_math", "pass@1", value) for model, value in MATH.items()])
    claims = stage_table.shape(table, [])
    assert [claim["verdict"] for claim in claims] == ["agrees", "agrees", "unclear", "unclear"]
    assert claims[0]["text"] == (
        "Dev1 against R1-Zero: AIME 2024, pass@1 falls by 18.9 in the paper; Reasoning (tiny_math), "
        "pass@1 falls by 14.0 here"
    )
    assert stage_table.summary(claims) == (
        "Of 4 changes from stage to stage, 2 go the paper's way beyond the noise, 0 go the other way, "
        "and 2 cannot be told from "
        "noise with these samples."
    )


def test_the_paired_test_decides_where_there_is_one():
    table = table_of([a_row(model, "tiny_math", "pass@1", value) for model, value in MATH.items()])
    pair = {
        "set": "tiny_math",
        "metric": "pass@1",
        "model": "rejection_sft",
        "against": "reasoning_rl",
        "difference": -0.03,
        "low": -0.05,
        "high": -0.01,
        "p": 0.01,
    }
    claims = stage_table.shape(table, [pair])
    assert claims[2]["verdict"] == "differs" and "within the noise" not in claims[2]["text"]  # the paper's Dev3 rises


def test_what_was_not_made_is_left_out():
    table = table_of([a_row(model, "tiny_math", "pass@1", MATH[model]) for model in ("r1_zero", "cold_start")])
    assert len(stage_table.shape(table, [])) == 1 and table[0]["cells"][4] is None
    assert table_of([a_row("r1_zero", "tiny_math", "pass@1", 0.9)]) == [] and stage_table.summary([]) == ""


def test_the_report_shows_it(tmp_path):
    from pipeline.report import write_report

    run = write_run(tmp_path / "demo")
    (directory,) = (run / "evaluate").glob("[0-9a-f]*")
    write(directory / "comparisons.json", [{"set": "tiny_math"}, "no row"])  # damaged rows are left out
    rows = [
        a_row(model, "tiny_math", metric, value)
        for model, value in MATH.items()
        for metric in ("pass@1", "pass@1[4]", "thinking_tokens[4]")
    ]
    write(directory / "results.json", rows)
    text = write_report(run, tmp_path / "report.html").read_text()
    assert (
        "The stages beside the paper" in text
        and "falls by 18.9 in the paper" in text
        and "By difficulty: Reasoning (tiny_math)" in text
    )
