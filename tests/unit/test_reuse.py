"""Stages that another run has made are taken over, and neither run needs the other afterwards."""

import io
import shutil

import pytest
from rich.console import Console

from pipeline.commands import run_state
from pipeline.commands.clean import clean_run
from pipeline.execution import reuse
from pipeline.execution.run import run_stages
from pipeline.execution.tracking import cursor
from pipeline.report import cost
from stages.contract.inputs import read_inputs
from stages.contract.manifest import verify
from stages.contract.reused import Reused
from tests.support.runs import finish, step
from tests.support.runs import shared_config as config
from tests.support.runs import shared_plan as plan

CHAIN = ("base", "r1_zero", "cold_start_data")
SELECTED = f"+stage=[{','.join(CHAIN)}]"


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """The argument that names the directory of runs; in it the run `tiny` has finished the chain."""
    monkeypatch.chdir(tmp_path)
    finish(plan(SELECTED, "runs_dir=runs"), *CHAIN)
    return "runs_dir=runs"


def carry_out(*overrides: str) -> str:
    console = Console(file=io.StringIO(), width=200)
    run_stages(config(*overrides, "orchestrator=none"), console)
    return console.file.getvalue()


def test_a_tracker_is_sent_what_was_taken_over_as_a_run_of_its_own(runs, tmp_path):
    first = step(plan(SELECTED, runs), "base").dir
    cursor.write(first, "wandb", cursor.Cursor(id="first", sent=3, is_finished=True))
    carry_out(SELECTED, runs, "run=second")
    assert cursor.find(first, "wandb") is not None
    assert cursor.find(step(plan(SELECTED, runs, "run=second"), "base").dir, "wandb") is None


def test_another_run_takes_over_what_has_the_same_fingerprint(runs, tmp_path):
    made = plan(SELECTED, runs, "run=second")
    assert [one.action for one in made.steps] == ["reuse"] * 3 and not made.errors
    assert made.steps[0].reason == "reused from run tiny, verified" and made.steps[0].seconds == 0
    said = carry_out(SELECTED, runs, "run=second")
    assert "reused from run tiny" in said
    first, second = tmp_path / "runs" / "tiny", tmp_path / "runs" / "second"
    for one in plan(SELECTED, runs, "run=second").steps:
        assert one.action == "skip" and Reused.read(one.dir).run == "tiny"
        theirs = first / one.stage / one.dir.name / "manifest.json"
        assert theirs.samefile(one.dir / "manifest.json")  # a further name of the same file
        assert all(
            second in map(type(second), [source.path]) or str(second) in source.path
            for source in read_inputs(one.dir).values()
        )
    state = run_state.read_run(second)
    assert [one["reused_from"] for one in state["stages"]] == ["tiny"] * 3 and state["flaws"] == []
    assert {line.reused_from for line in cost.read(second)} == {"tiny"}


def test_neither_run_needs_the_other(runs, tmp_path):
    carry_out(SELECTED, runs, "run=second")
    clean_run(tmp_path / "runs" / "tiny", Console(file=io.StringIO()), True, True, True)
    shutil.rmtree(tmp_path / "runs" / "tiny")
    made = plan(SELECTED, runs, "run=second")
    assert [one.action for one in made.steps] == ["skip"] * 3
    (tmp_path / "runs" / "second").rename(tmp_path / "runs" / "third")
    assert plan(SELECTED, runs, "run=fourth").steps[0].reason == "reused from run third, verified"
    carry_out(SELECTED, runs, "run=fourth")
    assert Reused.read(step(plan(SELECTED, runs, "run=fourth"), "base").dir).run == "tiny"  # who made it


def test_a_stage_brings_along_what_it_is_made_from(runs):
    carry_out("+stage=cold_start_data", runs, "run=second")
    assert [one.action for one in plan(SELECTED, runs, "run=second").steps] == ["skip"] * 3


def test_what_is_damaged_unfinished_or_not_wanted_is_made_here(runs):
    base, r1_zero = (step(plan(SELECTED, runs), name).dir for name in ("base", "r1_zero"))

    def actions(*overrides: str) -> list[str]:
        return [one.action for one in plan(SELECTED, runs, "run=second", *overrides).steps]

    assert actions("reuse=false") == actions("force=true") == actions("seed=3") == ["run"] * 3
    (base / "model" / "model.safetensors").write_text("edited")
    assert actions() == ["run", "reuse", "reuse"]
    (r1_zero / "manifest.json").unlink()
    assert actions() == ["run", "run", "reuse"]


def test_an_evaluation_takes_no_models_that_the_run_does_not_have(runs):
    made = plan("+stage=[base,evaluate]", runs, "run=second")
    assert set(step(made, "evaluate").inputs) == {"base"}


def test_what_was_begun_here_is_kept_aside(runs):
    made = plan(SELECTED, runs, "run=second")
    directory = step(made, "base").dir
    directory.mkdir(parents=True)
    (directory / "config.json").write_text("{}")
    assert reuse.take_over(step(plan(SELECTED, runs, "run=second"), "base"))
    assert verify(directory).manifest is not None
    assert directory.with_name(f"{directory.name}.old-1").is_dir()


def test_what_goes_while_it_is_taken_over_leaves_nothing_half(runs, monkeypatch):
    made = plan(SELECTED, runs, "run=second")
    directory = step(made, "base").dir
    half = directory.with_name(f".{directory.name}.1.tmp")
    half.mkdir(parents=True)
    (half / "config.json").write_text("of a driver that was killed")
    (step(made, "base").source / "model" / "model.safetensors").unlink()
    taken = reuse.with_reused(made)
    assert [one.action for one in taken.steps] == ["run", "skip", "skip"]
    assert taken.steps[0].reason == reuse.GONE and list(directory.parent.iterdir()) == []


def test_copies_serve_where_links_cannot_be_made(runs, monkeypatch):
    def refuse(source: str, target: str) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(reuse.os, "link", refuse)
    made = step(plan(SELECTED, runs, "run=second"), "base")
    assert reuse.take_over(made) and verify(made.dir).manifest is not None
    assert not (made.source / "manifest.json").samefile(made.dir / "manifest.json")
