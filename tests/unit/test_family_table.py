"""The table of model families: what a row's answers come to, and how the page keeps what is around the table."""

from scripts.family_tools.families import FAMILIES
from scripts.family_tools.table import BEGIN, END, is_sound, page_with, verdict

GOOD = {
    "architecture": "XForCausalLM",
    "padded": 5e-7,
    "packed": 0.0,
    "export": 0.0,
    "reward": 0.0,
    "transformers": 1e-6,
    "vllm": 1e-6,
    "sft": "works",
    "grpo": "works",
}
REFUSED = "refused: the model in DIR has attention heads of 48: use rollout=transformers"


def test_a_row_comes_to_one_of_three_things():
    assert verdict(GOOD) == "works"
    other = {**GOOD, "grpo": REFUSED, "vllm": None, "grpo_transformers": "works", "packed": "refused: packing=on"}
    assert verdict(other) == "works with `rollout=transformers`" and is_sound(other)
    assert verdict({**other, "grpo_transformers": REFUSED}) == REFUSED
    assert verdict({**GOOD, "sft": "refused: no"}) == "refused: no"


def test_a_difference_or_a_failure_is_wrong_and_named():
    for name, answer in (("padded", 0.1), ("export", float("nan")), ("grpo", "failed: exit code 1")):
        row = {**GOOD, name: answer}
        assert not is_sound(row) and verdict(row).startswith(f"**wrong**: {name} ")


def test_the_page_keeps_what_is_around_the_table():
    page = f"# Models\n\n{BEGIN}old\n{END}after\n"
    rows = {"A": GOOD, "B": {**GOOD, "grpo": REFUSED, "grpo_transformers": "works"}, "C": {**GOOD, "packed": None}}
    written = page_with(page, rows)
    assert written.startswith(f"# Models\n\n{BEGIN}| family |") and written.endswith(f"{END}after\n")
    lines = [line for line in written.splitlines() if line.startswith("| ")]
    assert len({line.count("|") for line in lines[:2]}) == 1 and "old" not in written
    assert written.count("attention heads of 48") == 1
    assert "refused (1)" in written and "\n1. the model in DIR" in written
    assert page_with(written, rows) == written
    unpacked = page_with(page, {"A": {**GOOD, "packed": "refused: its attention has a window"}})
    assert "| no (1) |" in unpacked and unpacked.count("works |") == 3  # a family can do without packed rows


def test_there_are_enough_families():
    assert len(FAMILIES) >= 21
