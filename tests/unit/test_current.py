"""What is current of a run: `latest` after sweeps, variants and skips, in every order, and what is said of the rest."""

import dataclasses
import io
import json
import shutil
from pathlib import Path

import pytest
from rich.console import Console

from pipeline.commands import run_state, unneeded, use
from pipeline.commands.evaluate import has_models, is_on_the_side, of_run
from pipeline.execution import current
from pipeline.execution.run import run_stages
from pipeline.planning import command_line
from pipeline.planning.whole import flaws
from tests.support.runs import finish, step
from tests.support.runs import shared_config as config
from tests.support.runs import shared_plan as plan

VARIANT = "stages.r1_zero.optim.lr=3e-6"
pytestmark = pytest.mark.slow  # plans many times

CHAIN = ("base", "r1_zero", "cold_start_data")
SELECTED = f"+stage=[{','.join(CHAIN)}]"


@pytest.fixture
def runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    yield "runs_dir=made"
    command_line.remember_overrides([])
    command_line.remember_typed("", [])


@pytest.fixture
def run(runs):
    """Carries out a command line all of whose stages are done; returns what it says."""

    def carry_out(*overrides: str, is_aside: bool = False, keeps_command: bool = False) -> str:
        command_line.remember_overrides([*overrides, runs])
        console = Console(file=io.StringIO(), width=200)
        chosen = config(*overrides, runs, "orchestrator=none")
        run_stages(chosen, console, is_aside=is_aside, keeps_command=keeps_command)
        return console.file.getvalue()

    return carry_out


def latest(runs: str) -> dict[str, str]:
    run_dir = config(runs).run_dir
    return {path.parent.name: path.resolve().name for path in run_dir.glob("*/latest")}


def made(runs: str, *overrides: str) -> dict[str, str]:
    """The directories of a chain by stage."""
    return {one.stage: one.dir.name for one in plan(SELECTED, runs, *overrides).steps}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The chain of the recipe and that of a variant, both finished: (directory of runs, directories by stage of each).

    The variant was made last.
    """
    place = tmp_path_factory.mktemp("finished") / "made"
    found = []
    for overrides in ((), (VARIANT,)):
        command_line.remember_overrides(overrides)
        chain = plan(SELECTED, f"runs_dir={place}", *overrides)
        finish(chain, *CHAIN)
        found.append({one.stage: one.dir.name for one in chain.steps})
    return place, found


@pytest.fixture
def both(finished, runs, tmp_path):
    """A copy of those runs: the directories of the recipe and of the variant, by stage."""
    place, found = finished
    shutil.copytree(place, tmp_path / "made", symlinks=True)
    return found


def test_a_skip_makes_the_stages_of_its_configuration_current(runs, run, both):
    recipe, variant = both
    assert latest(runs) == variant
    said = run(SELECTED)
    assert latest(runs) == recipe and "everything is done" in said and not flaws(config(runs).run_dir)
    assert f"r1_zero {recipe['r1_zero']} (was {variant['r1_zero']})" in said
    assert "note" not in run(SELECTED)  # nothing moves
    run(SELECTED, VARIANT)
    assert latest(runs) == variant and "lr: 3.0e-06" in (config(runs).run_dir / "config.yaml").read_text()


def test_one_stage_of_a_variant_takes_what_it_was_made_from_along(runs, run, both):
    recipe, variant = both
    run(SELECTED)
    run("+stage=cold_start_data", VARIANT)  # r1_zero is not selected, but this is made from it
    assert latest(runs) == variant


def test_a_variant_of_one_stage_breaks_the_chain_and_is_said_with_both_ways_out(runs, run, both):
    recipe, variant = both
    run(SELECTED)
    said = run("+stage=r1_zero", VARIANT)
    assert f"use r1_zero {recipe['r1_zero']} run=tiny" in said
    assert latest(runs) == recipe | {"r1_zero": variant["r1_zero"]}
    (flaw,) = flaws(config(runs).run_dir)
    assert flaw.stage == "cold_start_data" and "optim.lr 0.001 -> 3e-06" in flaw.message
    anew, back = flaw.mends
    assert "+stage=all" in anew and anew.endswith(VARIANT) and "+stage=all" in back and VARIANT not in back
    run(SELECTED)  # the way back
    assert latest(runs) == recipe and not flaws(config(runs).run_dir)
    run("+stage=r1_zero", VARIANT)
    run(SELECTED, VARIANT)  # the other one
    assert latest(runs) == variant and not flaws(config(runs).run_dir)


def test_jobs_of_a_sweep_leave_current_what_is_current(runs, run, both):
    recipe, _ = both
    run(SELECTED)
    path = config(runs).run_dir / "config.yaml"
    before = path.read_text(), (path.parent / "command.json").read_text()
    assert "note" not in run(SELECTED, VARIANT, is_aside=True)
    assert latest(runs) == recipe and not flaws(path.parent)
    assert (path.read_text(), (path.parent / "command.json").read_text()) == before


def test_a_sweep_in_a_new_run_shows_its_first_job(runs, run):
    for overrides in ((), (VARIANT,)):
        aside = dataclasses.replace(plan(SELECTED, runs, *overrides), is_aside=True)
        current.write_configuration(aside)
        finish(aside, *CHAIN)
    assert latest(runs) == made(runs)
    assert "3.0e-06" not in (config(runs).run_dir / "config.yaml").read_text()


def test_a_stage_of_another_configuration_is_said(runs, run, both):
    run(SELECTED)
    run("+stage=base", VARIANT)  # r1_zero stays as it is, but the last command was for another one
    (flaw,) = flaws(config(runs).run_dir)
    assert flaw.message.startswith("r1_zero was made with another configuration") and "optim.lr" in flaw.message


def test_a_seed_of_its_own_is_another_configuration(runs, run, both):
    run(SELECTED)
    finish(plan("+stage=base", runs, "seed=7"), "base")
    run("+stage=base", "seed=7")
    assert [flaw.stage for flaw in flaws(config(runs).run_dir)] == ["r1_zero", "cold_start_data"]
    assert "seed 0 -> 7" in flaws(config(runs).run_dir)[0].message


def test_use_takes_the_chain_along_and_its_command_with_it(runs, run, both, capsys):
    recipe, variant = both
    run(SELECTED)
    assert use.use("r1_zero", variant["r1_zero"][:5], runs) == 0
    assert latest(runs) == recipe | {"r1_zero": variant["r1_zero"]}
    assert "cold_start_data was made from r1_zero@" in capsys.readouterr().out
    assert use.use("cold_start_data", variant["cold_start_data"], runs) == 0
    assert latest(runs) == variant and not flaws(config(runs).run_dir)
    assert VARIANT in json.loads((config(runs).run_dir / "command.json").read_text())["overrides"]
    with pytest.raises(Exception, match=f"there are: {'.*'.join(sorted((recipe['r1_zero'], variant['r1_zero'])))}"):
        use.use("r1_zero", "zz", runs)


def test_status_lists_variants_and_continues_with_the_whole_command(runs, run, both):
    recipe, variant = both
    run(SELECTED)
    state = run_state.read_run(config(runs).run_dir)
    (other,) = state["stages"][1]["variants"]
    assert other["fingerprint"] == variant["r1_zero"] and other["state"] == "done" and "3e-06" in other["changes"]
    assert state["continue"] is None and state["flaws"] == []
    (step(plan(SELECTED, runs), "cold_start_data").dir / "manifest.json").unlink()
    assert "'+stage=[base,r1_zero,cold_start_data]'" in run_state.read_run(config(runs).run_dir)["continue"]


def test_an_evaluation_of_the_runs_models_keeps_the_runs_command(runs, run):
    chosen = "+stage=[base,r1_zero,evaluate]"
    finish(plan(chosen, runs, VARIANT), "base", "r1_zero", "evaluate")
    run(chosen, VARIANT)
    files = [config(runs).run_dir / name for name in ("config.yaml", "command.json")]
    before = [path.read_text() for path in files]
    assert has_models(config(runs).run_dir) and not has_models(config(runs, "run=evaluate").run_dir)
    run("+stage=evaluate", *of_run([runs]), keeps_command=has_models(config(runs).run_dir))
    assert [path.read_text() for path in files] == before


def test_use_of_a_students_variant_is_its_whole_configuration(runs, run, capsys):
    student = ("student@students.small=tiny", "stages.distill.traces.path=traces.jsonl")
    Path("traces.jsonl").write_text('{"prompt": "1+1?", "completion": "2"}\n' * 20)
    chosen, variant = "+stage=[student_base_small,distill_small]", "students.small.distill.num_epochs=1"
    for words in ((variant,), ()):
        command_line.remember_overrides([chosen, *student, *words, runs])
        finish(plan(chosen, *student, *words, runs), "student_base_small", "distill_small")
        run(chosen, *student, *words)
    directory = step(plan(chosen, *student, variant, runs), "distill_small").dir
    assert latest(runs)["distill_small"] != directory.name
    assert use.use("distill_small", directory.name, runs) == 0
    assert "not of one piece" not in capsys.readouterr().out and latest(runs)["distill_small"] == directory.name


def test_an_evaluation_on_other_suites_stands_beside_the_recipes(runs, run):
    stages = ("base", "r1_zero", "evaluate")
    chosen = "+stage=[base,r1_zero,evaluate]"
    finish(plan(chosen, runs, VARIANT), *stages)
    run(chosen, VARIANT)
    before = latest(runs)
    words = of_run([runs, "eval=tiny"])
    assert VARIANT in words and "run=tiny" in words
    other = ["+stage=evaluate", *words, "eval=tiny", runs]
    assert is_on_the_side(config(*other)) and not is_on_the_side(config("+stage=evaluate", *words, runs))
    aside = dataclasses.replace(plan(*other), is_aside=True)
    assert set(step(aside, "evaluate").inputs) == {"base", "r1_zero"}  # the models that the run has
    finish(aside, "evaluate")
    assert latest(runs) == before and not flaws(config(runs).run_dir)
    assert unneeded.find(config(runs).run_dir).items == []  # it is a result, not something superseded


def test_models_that_an_evaluation_leaves_out_are_said_with_the_key_that_takes_them(runs, run):
    chosen = "+stage=[base,r1_zero,evaluate]"
    finish(plan(chosen, runs), "base", "r1_zero", "evaluate")
    words = ("+stage=evaluate", runs)
    assert not [line for line in plan(*words, "stages.evaluate.num_reasoning=16").notes if "leaves out" in line]
    (note,) = [line for line in plan(*words, "rollout=transformers").notes if "leaves out" in line]
    assert "leaves out 1 of the run's models" in note and "r1_zero (rollout.engine vllm -> transformers)" in note
    ((message, fix),) = plan(*words, "rollout=transformers", "stages.evaluate.models=[r1_zero]").errors
    assert "would make all models of the run tiny anew: r1_zero (" in message and "rollout@stages.evaluate" in fix
    ((message, fix),) = plan(*words, "run=other", "reuse=false").errors
    assert "the run other has no finished model" in message and "+stage=all" in fix
