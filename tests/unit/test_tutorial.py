"""docs/tutorial.md: its blocks run in order, and each of its commands is one that the program takes.

scripts/check_tutorial.py runs the page with the model; here `r1` only writes down how it was called.
"""

import importlib.util
import json
import subprocess
import sys

import pytest

from pipeline.configuration import compose, keys, spelling
from stages.config import DataConfig, from_dict
from stages.data.prompt_sources import make_source
from stages.rewards.grading import grade_many
from tests.support.paths import REPOSITORY

pytestmark = pytest.mark.slow  # composes a configuration for each command

PAGE = REPOSITORY / "docs" / "tutorial.md"
RECORDER = f"""#!{sys.executable}
import json, sys
open("called.jsonl", "a").write(json.dumps(sys.argv[1:]) + "\\n")
"""


@pytest.fixture(scope="module")
def check_tutorial():
    path = REPOSITORY / "scripts" / "check_tutorial.py"
    spec = importlib.util.spec_from_file_location("check_tutorial", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def followed(tmp_path_factory, check_tutorial):
    """The directory in which the page was followed, with every call of r1 in called.jsonl."""
    directory = tmp_path_factory.mktemp("tutorial")
    tools = directory / "tools"
    tools.mkdir()
    for name, text in (("r1", RECORDER), ("python", f'#!/bin/sh\nexec {sys.executable} "$@"\n')):
        (tools / name).write_text(text)
        (tools / name).chmod(0o755)
    script = check_tutorial.script_of(PAGE.read_text(encoding="utf-8"), has_model=False, is_short=False)
    environment = {"PATH": f"{tools}:/usr/bin:/bin"}
    done = subprocess.run(["bash", "-c", script], cwd=directory, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return directory


def calls(followed) -> list[list[str]]:
    return [json.loads(line) for line in (followed / "called.jsonl").read_text().splitlines()]


def test_its_commands_are_those_of_a_whole_way(followed):
    names = [call[0] for call in calls(followed)]
    assert names[:2] == ["models", "chat"] and names.count("evaluate") == 2
    assert names.index("evaluate") < names.index("run") < len(names) - 1 - names[::-1].index("evaluate")


def test_every_setting_of_it_is_one_that_there_is(followed, monkeypatch):
    monkeypatch.chdir(followed)
    composed = 0
    for call in calls(followed):
        if call[0] in ("run", "plan", "evaluate"):
            made = compose.compose_config(spelling.rewrite(call[1:]))
            assert made.data.examples and made.stages.r1_zero.num_steps == 20
            assert made.data.general == "none" and made.data.verifier == "integer"
            composed += 1
    assert composed >= 6


def test_its_problems_can_be_graded_and_split(followed):
    for split, least in (("train", 120), ("test", 40)):
        data = from_dict(
            DataConfig,
            {"name": "file", "path": str(followed / "problems.jsonl"), "verifier": "integer", "eval_fraction": 0.3},
        )
        source = make_source(data, 0, "r1_zero", split)
        assert source.count() >= least
        prompt = source.get(0)
        right, wrong = f"<think>x</think><answer>{prompt.answer}</answer>", "<think>x</think><answer>-1</answer>"
        assert [grade.value for grade in grade_many([(right, prompt), (wrong, prompt)])] == [1, 0]


def test_short_runs_shorten_the_settings(check_tutorial):
    page = PAGE.read_text(encoding="utf-8")
    short = check_tutorial.script_of(page, has_model=True, is_short=True)
    assert "stages.r1_zero.num_steps=2 " in short and "r1 models get" not in short
    assert len(check_tutorial.blocks_of(page)) == page.count("```bash\n")


def test_the_recipe_that_it_names_is_there():
    assert "smollm2" in keys.groups()["recipe"]


def test_a_finished_block_is_not_run_again_but_its_variables_are_set(check_tutorial, tmp_path):
    page = "```bash\necho one >> log\n```\n\n```bash\nNAME=two\n```\n\n```bash\necho $NAME >> log\n[ -e go ]\n```\n"
    script = check_tutorial.script_of(page, has_model=False, is_short=False)
    for _ in range(2):
        assert "block 03" in check_tutorial.run(script, tmp_path)
    (tmp_path / "go").touch()
    assert check_tutorial.run(script, tmp_path) == ""
    assert (tmp_path / "log").read_text().split() == ["one", "two", "two", "two"]


def test_what_a_block_printed_at_first_is_kept_where_it_is_done_again(check_tutorial, tmp_path):
    page = "```bash\nNAME=two\n[ -e .done_01 ] && echo again || echo first\n```\n"
    script = check_tutorial.script_of(page, has_model=False, is_short=False)
    for _ in range(2):
        assert check_tutorial.run(script, tmp_path) == ""
    assert (tmp_path / "block_01.txt").read_text() == "first\n"
    assert (tmp_path / "block_01_again.txt").read_text() == "again\n"


def test_what_was_printed_goes_into_the_page_where_a_text_follows(check_tutorial, tmp_path):
    blocks = ["```bash\ntrue\n```", "```bash\necho 1\n```\n\n```text\nold\n```", "```bash\necho 2\n```"]
    page = "\n\n".join(["# A", *blocks, "Words.", "```text\nkept\n```\n"])
    assert check_tutorial.run(check_tutorial.script_of(page, False, False), tmp_path) == ""
    assert check_tutorial.with_outputs(page, tmp_path) == page.replace("old", "1")


def test_the_same_block_twice_shows_what_each_of_them_has_printed(check_tutorial, tmp_path):
    """`r1 evaluate` stands before and after the training, with other numbers."""
    block = "```bash\necho x >> log\nwc -l < log\n```\n\n```text\n...\n```\n"
    page = f"{block}\nWords.\n\n{block}"
    assert check_tutorial.run(check_tutorial.script_of(page, False, False), tmp_path) == ""
    assert check_tutorial.with_outputs(page, tmp_path) == page.replace("...", "1", 1).replace("...", "2", 1)


def test_a_model_elsewhere_is_shown_where_the_page_has_it(check_tutorial, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    directory = tmp_path / "directory"
    (directory / "models").mkdir(parents=True)
    (directory / check_tutorial.MODEL).symlink_to(elsewhere)
    page = "```bash\nrealpath models/smollm2-135m\n```\n\n```text\n...\n```\n"
    assert check_tutorial.run(check_tutorial.script_of(page, False, False), directory) == ""
    assert check_tutorial.with_outputs(page, directory) == page.replace("...", check_tutorial.MODEL)
