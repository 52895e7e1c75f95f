"""Sweeps through the command line, with the real launchers: jobs that share stages, killed and typed again.

The stages are made by tests/support/fake_workers instead of by engines.
"""

import csv
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from hydra.errors import HydraException

from pipeline.commands import run_sweep
from pipeline.errors import InvalidConfig, MissingInput, StageFailed
from pipeline.execution.sweeping import checks
from pipeline.execution.sweeping.directory import sweep_directory
from pipeline.execution.sweeping.job_files import find_jobs
from pipeline.execution.sweeping.sweep_job import SweepJobs
from tests.support.command_line import r1
from tests.support.paths import REPOSITORY
from tests.support.runs import config
from tests.support.waiting import wait_for

pytestmark = pytest.mark.slow  # runs the command line
FAKE = {"PYTHONPATH": f"{REPOSITORY / 'tests/support/fake_workers'}:{REPOSITORY}"}
JOBS = ("run", "-m", "+stage=[base,r1_zero]", "orchestrator=none", "stages.base.num_steps=3")
JOBLIB = ("hydra/launcher=joblib", "hydra.launcher.n_jobs=3")


def made(runs: Path) -> list[str]:
    """The stages that were made, each time that their workers were started."""
    return [" ".join(line.split()[:2]) for line in (runs / "tiny/made.log").read_text().splitlines()]


def board(runs: Path) -> list[tuple[str, str]]:
    (path,) = (runs / "tiny/sweeps").glob("*/leaderboard.csv")
    with open(path, encoding="utf-8") as stream:
        return [(row["job"], row["state"]) for row in csv.DictReader(stream)]


class Typed:
    """A command that runs while the test looks."""

    def __init__(self, *words: str, **environment: str):
        self.process = subprocess.Popen(
            [sys.executable, "-m", "pipeline", *words],
            cwd=REPOSITORY,
            env={**os.environ, **FAKE, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def family(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)


def steps_of(runs: Path) -> int:
    return sum(len(path.read_text().splitlines()) for path in (runs / "tiny/r1_zero").glob("????????/metrics.jsonl"))


def test_jobs_side_by_side_share_stages_are_interrupted_and_go_on(tmp_path):
    words = (
        *JOBS,
        f"runs_dir={tmp_path}",
        "stages.r1_zero.num_steps=40",
        "stages.r1_zero.optim.lr=1e-3,3e-4,0.5",
        *JOBLIB,
    )
    typed = Typed(*words, FAKE_STEP_S="0.1")
    wait_for(lambda: (tmp_path / "tiny/r1_zero").exists() and steps_of(tmp_path) > 4, 500)
    family = typed.family()
    os.kill(typed.process.pid, signal.SIGTERM)
    output, _ = typed.process.communicate(timeout=500)
    assert typed.process.returncode == 75, output
    assert "the jobs stop after a checkpoint" in output and "is interrupted; the same command goes on" in output
    assert not psutil.wait_procs(family, timeout=120)[1]
    done = r1(*words, **FAKE)
    assert done.returncode == 4, done.stdout + done.stderr  # one of them is unlucky
    assert "job 2 failed: r1_zero failed on rank 0: unlucky" in done.stdout
    assert board(tmp_path) == [("0", "done"), ("1", "done"), ("2", "failed")]
    made_base = [line for line in made(tmp_path) if line.startswith("base")]
    assert len(made_base) == 1  # by one job, while the others waited
    rows = [path.read_text().splitlines() for path in (tmp_path / "tiny/r1_zero").glob("????????/metrics.jsonl")]
    assert sorted(len(lines) for lines in rows) == [40, 40]  # gone on with, no step twice
    assert len(list((tmp_path / "tiny/r1_zero").glob("????????"))) == 3 and not list(tmp_path.rglob("*.old-*"))


def test_a_killed_driver_takes_its_jobs_along_and_the_sweep_goes_on(tmp_path):
    words = (*JOBS, f"runs_dir={tmp_path}", "stages.r1_zero.num_steps=30", "stages.r1_zero.optim.lr=1e-3,3e-4", *JOBLIB)
    typed = Typed(*words, FAKE_STEP_S="0.1")
    wait_for(lambda: (tmp_path / "tiny/r1_zero").exists() and steps_of(tmp_path) > 4, 500)
    family = typed.family()
    typed.process.kill()
    _, left = psutil.wait_procs(family, timeout=120)
    assert not left
    said = r1("status", f"runs_dir={tmp_path}").stdout
    assert "has not ended; its jobs: 2 interrupted" in said and f"go on: python -m pipeline {shlex.join(words)}" in said
    assert board(tmp_path) == [("0", "interrupted"), ("1", "interrupted")]  # the report has it before the end too
    done = r1(*words, **FAKE)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "has not ended" not in r1("status", f"runs_dir={tmp_path}").stdout
    assert board(tmp_path) == [("0", "done"), ("1", "done")]
    assert len([line for line in made(tmp_path) if line.startswith("base")]) == 1


def test_submitit_runs_jobs_in_processes_of_its_own(tmp_path):
    words = (*JOBS, f"runs_dir={tmp_path}", "stages.r1_zero.num_steps=4", "stages.r1_zero.optim.lr=1e-3,3e-4")
    done = r1(*words, "hydra/launcher=submitit_local", **FAKE)
    assert done.returncode == 0, done.stdout + done.stderr
    assert board(tmp_path) == [("0", "done"), ("1", "done")]
    assert len(made(tmp_path)) == 3 and "job 1 is done: r1_zero reward/mean" in done.stdout


def test_an_optuna_sweep_prunes_and_goes_on_after_a_kill(tmp_path):
    words = (
        *(
            *JOBS,
            f"runs_dir={tmp_path}",
            "stages.r1_zero.num_steps=8",
            "hydra/sweeper=optuna",
            "hydra.sweeper.n_trials=5",
        ),
        *("stages.r1_zero.optim.lr=tag(log,interval(1e-4,1e-2))", "hydra/sweeper/pruner=median"),
        "hydra.sweeper.pruner.n_startup_trials=1",
    )
    typed = Typed(*words, FAKE_STEP_S="0.1")
    wait_for(lambda: len(list((tmp_path / "tiny/r1_zero").glob("????????/manifest.json"))) == 2, 500)
    typed.process.kill()
    typed.process.communicate()
    before = made(tmp_path)
    done = r1(*words, **FAKE)
    assert done.returncode == 0, done.stdout + done.stderr
    states = [state for _, state in board(tmp_path)]
    assert sorted(set(states)) == ["done", "pruned"] and len(states) == 5
    after = made(tmp_path)[len(before) :]
    finished = set(before[:3])  # the base and two trials
    assert not finished & set(after)  # none of them again
    (directory,) = (tmp_path / "tiny/sweeps").iterdir()
    assert len({tuple(job.overrides) for job in find_jobs(directory)}) == 5


def test_the_same_command_finds_its_sweep_and_another_one_does_not(tmp_path):
    made = config("+stage=r1_zero", f"runs_dir={tmp_path}")
    words = ["+stage=r1_zero", "seed=0,1", "hydra/launcher=joblib"]
    first = sweep_directory(made, words)
    first.mkdir(parents=True)
    assert sweep_directory(made, [*reversed(words[:2]), "hydra.launcher.n_jobs=1"]) == first
    assert sweep_directory(made, ["+stage=r1_zero", "seed=0,2"]).name != first.name


@pytest.mark.parametrize(
    "words, message",
    [
        (["+stage=r1_zero", "launcher.grace_s=60,90"], r"launcher.grace_s: all jobs would be the same: .*r1_zero"),
        (["+stage=base", "stages.distill.optim.lr=1e-3,1e-4"], r"stages.distill.optim.lr: all jobs would be the same"),
        (
            ["+stage=r1_zero", "seed=0,1", "sweep.metric=policy/kl"],
            r"policy/kl: is more of it better, or less\? add sweep.direction=maximize or sweep.direction=minimize",
        ),
        (["+stage=r1_zero", "seed=0,1", "force=true", "hydra/launcher=joblib"], "side by side would redo the stages"),
    ],
)
def test_a_sweep_that_cannot_mean_anything_is_refused_before_its_first_job(words, message):
    shared = config(*(word for word in words if "," not in word and "hydra" not in word))
    with pytest.raises(InvalidConfig, match=message):
        checks.check_sweep(shared, words)


def test_a_launcher_without_its_library_is_refused_with_the_command_that_installs_it(monkeypatch):
    monkeypatch.setattr(checks, "_is_there", lambda module: "joblib" not in module)
    with pytest.raises(MissingInput, match="hydra/launcher=joblib needs a library") as error:
        checks.check_libraries(["hydra/launcher=joblib"])
    assert "pip install 'hydra-joblib-launcher" in error.value.fix


def test_a_process_that_is_killed_and_a_key_of_hydra_that_is_none_are_said_in_words(tmp_path, monkeypatch):
    lost = type("TerminatedWorkerError", (RuntimeError,), {})("A worker process was killed\nby signal 9")
    for raised, expected, words in (
        (lost, StageFailed, "a process of the sweep was killed: A worker process was killed"),
        (HydraException("Could not override 'hydra.sweeper.n_trails'"), InvalidConfig, "n_trails"),
    ):

        def call(*_, raised=raised):
            raise raised

        monkeypatch.setattr(run_sweep, "call_hydra", call)
        monkeypatch.setenv("HYDRA_FULL_ERROR", "")
        with pytest.raises(expected, match=words):
            run_sweep._call([], [], tmp_path, SweepJobs(tmp_path, tmp_path, None, None))
