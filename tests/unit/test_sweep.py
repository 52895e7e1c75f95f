"""Sweeps: the objective, the leaderboard, failing jobs, and what Hydra's sweepers are given."""

import csv
import json

import pytest

from pipeline.errors import InvalidConfig
from pipeline.execution import sweep
from stages.contract.files import write_json
from tests.support.command_line import r1
from tests.support.paths import REPOSITORY
from tests.support.runs import config, finish, plan, step

pytestmark = pytest.mark.slow  # runs the command line

RECORDER = """
from dataclasses import dataclass
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper, BasicSweeperConf
from hydra.core.config_store import ConfigStore

@dataclass
class RecorderConf(BasicSweeperConf):
    _target_: str = "hydra_plugins.recorder.Recorder"

class Recorder(BasicSweeper):
    def sweep(self, arguments):
        batches = super().sweep(arguments)
        open("PATH", "w").write(str([job.return_value for batch in batches for job in batch]))
        return batches

ConfigStore.instance().store(group="hydra/sweeper", name="recorder", node=RecorderConf, provider="recorder")
"""


@pytest.fixture
def runs(tmp_path):
    return f"runs_dir={tmp_path / 'runs'}"


def read_board(path) -> list[dict[str, str]]:
    with open(path, encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def test_the_default_objective_is_pass_at_1_of_the_last_model_or_the_mean_reward():
    assert sweep.choose_objective(config("+stage=all")) == ("preference_rl", "tiny_math", "pass@1")
    assert sweep.choose_objective(config("+stage=[reasoning_rl,evaluate]")) == ("reasoning_rl", "tiny_math", "pass@1")
    assert sweep.choose_objective(config("+stage=[cold_start,reasoning_rl]")) == ("reasoning_rl", None, "reward/mean")
    assert sweep.choose_objective(config("+stage=cold_start")) == ("cold_start", None, "train/loss")
    assert sweep.choose_objective(
        config("+stage=all", "sweep.stage=r1_zero", "sweep.set=tiny_safety", "sweep.metric=refused")
    ) == ("r1_zero", "tiny_safety", "refused")


def test_the_objective_comes_from_results_manifest_or_metrics(runs):
    made = plan("+stage=[base,r1_zero,evaluate]", runs)
    finish(made, "base", "r1_zero", "evaluate", metrics={"reward/mean": 1.25})
    row = {"model": "r1_zero", "set": "tiny_math", "metric": "pass@1", "value": 0.9, "low": 0.8, "high": 1.0, "n": 9}
    write_json(step(made, "evaluate").dir / "results.json", [{**row, "model": "base", "value": 0.2}, row])
    assert sweep.objective_value(made) == 0.9
    assert sweep.objective_value(plan("+stage=[base,r1_zero]", runs)) == 1.25
    lines = "".join(json.dumps({"step": number, "policy/kl": float(number)}) + "\n" for number in range(1, 11))
    (step(made, "r1_zero").dir / "metrics.jsonl").write_text(lines)
    assert sweep.objective_value(plan("+stage=[base,r1_zero]", runs, "sweep.metric=policy/kl")) == 8.0  # mean of 6..10
    with pytest.raises(InvalidConfig, match="no r1_zero nonsense"):
        sweep.objective_value(plan("+stage=[base,r1_zero]", runs, "sweep.metric=nonsense"))


def test_jobs_share_upstream_stages_and_hydras_sweeper_gets_the_objectives(runs, tmp_path):
    for lr, value in (("1e-3", 0.5), ("3e-4", 0.75)):
        finish(
            plan("+stage=[base,r1_zero]", runs, f"stages.r1_zero.optim.lr={lr}"),
            "base",
            "r1_zero",
            metrics={"reward/mean": value},
        )
    plugin = tmp_path / "plugins" / "hydra_plugins" / "recorder"
    plugin.mkdir(parents=True)
    (plugin / "__init__.py").write_text(RECORDER.replace("PATH", str(tmp_path / "objectives")))
    done = r1(
        "run",
        "+stage=[base,r1_zero]",
        runs,
        "stages.r1_zero.optim.lr=1e-3,3e-4",
        "-m",
        "hydra/sweeper=recorder",
        PYTHONPATH=f"{REPOSITORY}:{tmp_path / 'plugins'}",
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "objectives").read_text() == "[0.5, 0.75]"
    assert len(list((tmp_path / "runs" / "tiny" / "base").glob("????????"))) == 1
    (board,) = (tmp_path / "runs" / "tiny" / "sweeps").glob("*/leaderboard.csv")
    assert [(row["job"], row["value"]) for row in read_board(board)] == [("1", "0.75"), ("0", "0.5")]


def test_a_failing_job_does_not_end_the_sweep(runs, tmp_path):
    finish(plan("+stage=[base,r1_zero]", runs, "seed=1"), "base", "r1_zero", metrics={"reward/mean": 1.0})
    done = r1("run", "+stage=r1_zero", runs, "seed=0,1", "--multirun")
    assert done.returncode == 3 and "r1_zero needs base" in done.stdout and "seed=0" in done.stdout
    (board,) = (tmp_path / "runs" / "tiny" / "sweeps").glob("*/leaderboard.csv")
    assert [(row["overrides"], row["state"]) for row in read_board(board)] == [
        ("seed=1", "done"),
        ("seed=0", "failed"),
    ]


def test_a_ready_made_sweep_runs_its_jobs(runs):
    done = r1("run", "+stage=r1_zero", "+sweep=seeds", runs)  # no base: every job says so
    assert done.returncode == 3 and [f"job {number}" in done.stdout for number in range(4)] == [True, True, True, False]
