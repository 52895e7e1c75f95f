"""Tables on narrow and wide terminals: what matters least goes first, and nothing that stays is cut."""

import io

import pytest
from rich.console import Console

from pipeline.view.tables import Column, print_table, table_lines

COLUMNS = (
    Column("stage"),
    Column("reason", is_sentence=True),
    Column("inputs", goes=1),
    Column("ranks", is_number=True, goes=2),
    Column("time", is_number=True),
)
LONG = "stages.reasoning_rl.optim.lr 0.001 -> 0.0003; base changed"
ROWS = [("base", "not made yet", "", "2", "~2 min"), ("reasoning_rl", LONG, "cold_start, base", "2", "~30 s")]


def lines(width: int, rows=ROWS) -> list[str]:
    return [line.plain for line in table_lines(COLUMNS, rows, width)]


def test_a_wide_table_has_every_column_and_a_long_sentence_stands_below_its_row():
    assert lines(100) == [
        "stage         reason        inputs            ranks    time",
        "─" * 59,
        "base          not made yet                        2  ~2 min",
        "reasoning_rl                cold_start, base      2   ~30 s",
        f"    {LONG}",
    ]


def test_a_narrow_table_leaves_out_inputs_then_ranks_and_folds_sentences():
    assert lines(50)[0].split() == ["stage", "reason", "ranks", "time"]
    assert lines(38)[0].split() == ["stage", "reason", "time"]
    assert lines(38)[-2:] == ["    stages.reasoning_rl.optim.lr 0.001", "    -> 0.0003; base changed"]


@pytest.mark.parametrize("width", [10, 20, 40, 60, 80, 200])
def test_no_width_cuts_a_value_that_stays(width):
    words = " ".join(" ".join(lines(width)).split())
    assert all(value in words for value in ("reasoning_rl", "~30 s", *LONG.split())) and "…" not in words


def test_an_empty_column_is_left_out_and_markup_takes_no_room():
    rows = [("[green]base[/]", "", "", "", "1 s")]
    assert lines(80, rows) == ["stage  time", "───────────", "base    1 s"]


def test_the_console_wraps_no_line():
    console = Console(file=io.StringIO(), width=30)
    print_table(console, "run [tiny] of a very long name indeed", COLUMNS, ROWS)
    assert console.file.getvalue().splitlines()[0] == "run [tiny] of a very long name indeed"


def test_sentences_go_below_their_rows_before_a_column_that_matters_more_is_left_out():
    columns = (Column("stage"), Column("numbers", is_sentence=True, goes=1), Column("time", goes=2))
    rows = [("base", "loss 0.25", "10 min"), ("r1_zero", "reward 1.37 and accuracy 0.88", "2 min")]
    narrow = [line.plain for line in table_lines(columns, rows, 30)]
    assert narrow[0].split() == ["stage", "numbers", "time"]
    assert narrow[2:] == [
        "base     loss 0.25  10 min",
        "r1_zero             2 min",
        "    reward 1.37 and accuracy",
        "    0.88",
    ]
    assert [line.plain for line in table_lines(columns, rows, 18)][0].split() == ["stage", "numbers"]
