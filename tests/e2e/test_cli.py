"""The command line as people and programs use it: subprocesses, exit codes, output."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from pipeline.errors import EXIT_CODES
from scripts.chaos_tools.kill import Kill
from scripts.chaos_tools.places import Place
from tests.support.command_line import r1
from tests.support.paths import REPOSITORY
from tests.support.runs import finish, model_directory, plan, step
from tests.support.waiting import wait_for

ALL_STAGES = [
    "base",
    "r1_zero",
    "cold_start_data",
    "cold_start",
    "reasoning_rl",
    "rejection_data",
    "rejection_sft",
    "reward_models",
    "preference_rl",
    "student_base",
    "distill",
    "evaluate",
    "report",
]
SMALL_BASE = ["+stage=base", "orchestrator=none", "launcher.num_processes=1", "stages.base.num_steps=6"]


@pytest.fixture
def runs(tmp_path):
    return f"runs_dir={tmp_path / 'runs'}"


def test_help_lists_commands_and_exit_codes():
    done = r1("--help")
    assert done.returncode == 0
    for word in ("run", "plan", "status", "report", "chat", "doctor", *(str(code) for code in EXIT_CODES)):
        assert word in done.stdout


def test_a_wrong_command_has_a_hint():
    done = r1("stauts")
    assert done.returncode == 2 and "did you mean status?" in done.stdout


def test_configuration_mistakes_exit_with_2_all_at_once(runs, tmp_path):
    done = r1("run", "+stage=r1_zro", "stages.base.num_stepz=3", "seed=-1", runs)
    assert done.returncode == 2 and done.stdout.count("error") == 3 and not (tmp_path / "runs").exists()
    assert r1("run", runs).returncode == 2  # no stage selected


def test_missing_input_exits_with_3_and_prints_the_command(runs):
    done = r1("run", "+stage=r1_zero", runs)
    assert done.returncode == 3 and f"python -m pipeline run +stage=[base,r1_zero] {runs}" in done.stdout.replace(
        "'", ""
    )
    assert r1("status", runs).returncode == 3 and r1("chat", runs).returncode == 3


def test_a_held_run_exits_with_5_and_says_by_whom(runs, tmp_path):
    from pipeline.execution.lock import RunLock

    with RunLock(tmp_path / "runs" / "tiny"):
        done = r1("run", "+stage=base", runs)
    assert done.returncode == 5 and f"process {os.getpid()}" in done.stdout


def test_plan_is_fast_and_reads_as_json(runs):
    started = time.monotonic()
    done = r1("plan", "--json", runs)
    assert time.monotonic() - started < 10  # 2 s on an idle machine; the tests' machine is busy
    made = json.loads(done.stdout)
    assert done.returncode == 0 and [stage["stage"] for stage in made["stages"]] == ALL_STAGES
    assert made["stages"][1]["inputs"] == {"policy": made["stages"][0]["fingerprint"]}


def test_plan_exits_with_1_on_any_error(runs):
    done = r1("plan", "--json", "+stage=r1_zero", runs)
    assert done.returncode == 1 and "r1_zero needs base" in json.loads(done.stdout)["errors"][0]["message"]
    assert r1("plan", "+stage=nothing", runs).returncode == 1
    assert r1("plan", "--jsn", runs).returncode == 2


def test_everything_done_is_said_quickly_and_without_prefect(runs, tmp_path):
    finish(plan("+stage=all", runs), *ALL_STAGES)
    (tmp_path / "runs" / "tiny" / "report.html").write_text("report")
    started = time.monotonic()
    done = r1("run", "stage=all", runs)
    assert done.returncode == 0 and time.monotonic() - started < 10
    assert done.stdout.count("skipped") == len(ALL_STAGES) and "everything is done" in done.stdout
    assert "report.html" in done.stdout and f"chat run=tiny {runs} --stage preference_rl" in done.stdout
    assert not (tmp_path / "runs" / ".prefect").exists()


def test_status_reads_the_disk(runs, tmp_path):
    made = plan("+stage=[base,r1_zero]", runs)
    finish(made, "base", "r1_zero", metrics={"reward/mean": 1.25})
    run_dir = tmp_path / "runs" / "tiny"
    (run_dir / "config.yaml").write_text(
        "run: tiny\nrecipe: tiny\nseed: 0\nselected: {base: true, r1_zero: true, evaluate: true}\n"
    )
    directory = made.steps[1].dir
    (directory / "manifest.json").unlink()
    (directory / "error.json").write_text('{"kind": "ValueError", "message": "no", "rank": 1}')
    (directory / "alarms.jsonl").write_text(
        '{"step": 3, "name": "kl_blow_up", "message": "policy/kl is 1.3", "advice": "raise beta"}\n{"step": 4, "na'
    )
    state = json.loads(r1("status", "--json", runs).stdout)
    assert [[alarm["name"] for alarm in stage["alarms"]] for stage in state["stages"]] == [[], ["kl_blow_up"]]
    assert [(stage["stage"], stage["state"]) for stage in state["stages"]] == [("base", "done"), ("r1_zero", "failed")]
    assert (
        state["stages"][0]["metrics"] == {"reward/mean": 1.25}
        and state["not_started"] == ["evaluate"]
        and state["driver"] is None
    )
    table = r1("status", runs).stdout
    assert "reward/mean 1.25" in table and "rank 1: no" in table and "not started" in table
    assert "alarm r1_zero step 3: policy/kl is 1.3\n  advice: raise beta" in table
    assert r1("status", runs, "sead=1").returncode == 2


def test_hydra_flags_work(runs):
    job = r1("run", "stage=base", runs, "--cfg", "job")
    assert job.returncode == 0 and "num_steps:" in job.stdout and "base: true" in job.stdout
    help_text = r1("run", "--help").stdout
    assert (
        "recipe: laptop, one_gpu, one_gpu_lora, one_node, one_node_7b, paper, paper_32b," in " ".join(help_text.split())
        and "--multirun" in help_text
    )


def test_hydra_says_where_the_configuration_comes_from(runs, tmp_path):
    shown = r1("run", "+stage=base", runs, "-i")
    assert shown.returncode == 0 and "recipe/tiny" in shown.stdout, shown.stdout + shown.stderr
    part = r1("run", "+stage=base", runs, "-c", "job", "--package", "stages.base.optim")
    assert part.returncode == 0 and "lr:" in part.stdout and "r1_zero" not in part.stdout
    assert "Hydra" in r1("run", "--hydra-help").stdout and not (tmp_path / "runs").exists()


def test_the_script_of_tab_completion():
    done = r1("-sc", "install=bash")
    assert done.returncode == 0 and "hydra_bash_completion" in done.stdout


def test_the_shell_completes_commands_and_overrides():
    assert "plan" in r1("-sc", "query=bash", COMP_LINE="r1 pl").stdout.split()
    assert "+stage=reasoning_rl" in r1("-sc", "query=bash", COMP_LINE="r1 run +stage=rea").stdout.split()
    assert "stages.r1_zero.optim." in r1("-sc", "query=bash", COMP_LINE="r1 run stages.r1_zero.op").stdout


def test_chat_says_what_there_is(runs, tmp_path):
    finish(plan("+stage=[base]", runs), "base")
    (tmp_path / "runs" / "tiny" / "config.yaml").write_text(
        "run: tiny\nrecipe: tiny\nseed: 0\nselected: {}\ndata: {template: plain}\n"
    )
    done = r1("chat", runs, "--stage", "r1_zero")
    assert done.returncode == 3 and "it has base" in done.stdout and "+stage=r1_zero" in done.stdout


def test_a_model_without_weights_stops_the_run_before_anything_starts(runs, tmp_path):
    model = model_directory(tmp_path / "model", "pytorch_model.bin")
    done = r1("run", "+stage=r1_zero", f"model.path={model}", runs)
    assert done.returncode == 3 and "pickle" in done.stdout and not (tmp_path / "runs" / "tiny" / "r1_zero").exists()


def rank0_log(tmp_path: Path, attempt: int) -> str:
    return "".join(
        path.read_text() for path in (tmp_path / "runs").glob(f"tiny/base/*/logs/attempt_{attempt}/rank0.log")
    )


def test_a_stage_runs_is_skipped_sweeps_and_talks(runs, tmp_path):
    done = r1("run", *SMALL_BASE, runs)
    assert done.returncode == 0 and "step 6/6" in done.stdout and "base done" in done.stdout, done.stdout + done.stderr
    assert "skipped" in r1("run", *SMALL_BASE, runs).stdout
    sweep = r1("run", *SMALL_BASE, "stages.base.num_steps=6,7", runs, "--multirun")
    assert sweep.returncode == 0 and sweep.stdout.count("base skipped") == 1, sweep.stdout + sweep.stderr
    (board,) = (tmp_path / "runs" / "tiny" / "sweeps").glob("*/leaderboard.csv")
    rows = list(csv.DictReader(open(board)))
    assert [row["rank"] for row in rows] == ["1", "2"] and {row["overrides"] for row in rows} == {
        "stages.base.num_steps=6",
        "stages.base.num_steps=7",
    }
    assert float(rows[0]["value"]) <= float(rows[1]["value"]) and rows[0]["objective"] == "base train/loss"
    assert not (Path(runs.partition("=")[2]).parent / "outputs").exists()
    said = r1("chat", runs, "--prompt", "what is24-3+7?")
    assert said.returncode == 0 and said.stdout.strip(), said.stderr


def test_a_stop_while_it_plans_is_an_interruption_too(runs, tmp_path):
    planning = Place("planning", (), "pipeline.planning.plan:make_plan", side="driver")
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        note = tmp_path / f"hit_{number}"
        stop = Kill("driver", number, planning, "driver", "after", 1)
        done = r1("run", "+stage=base", "orchestrator=none", runs, **stop.environment(note))
        assert note.exists() and done.returncode == 75 and "Traceback" not in done.stderr, done.stdout + done.stderr
        assert not (tmp_path / "runs" / "tiny" / "base").exists()


def test_what_a_killed_driver_left_in_the_middle_of_a_write_is_removed(runs, tmp_path):
    made = plan("+stage=base", runs)
    directory = step(made, "base").dir
    directory.mkdir(parents=True)
    left = [
        directory / ".config.json.77.tmp",
        directory.parent / ".latest.77.tmp",
        tmp_path / "runs" / "tiny" / ".config.yaml.77.tmp",
    ]
    for path in left:
        path.write_text("half")
    finish(made, "base")  # prepares it as the driver does
    assert not any(path.exists() for path in left[:2])
    r1("run", "+stage=base", "orchestrator=none", runs)
    assert not left[2].exists()


def test_a_killed_driver_leaves_no_process_and_the_stage_resumes(runs, tmp_path):
    (tmp_path / "tmp").mkdir()
    environment = {**os.environ, "TMPDIR": str(tmp_path / "tmp")}
    command = ["+stage=base", "orchestrator=none", "stages.base.save_every=5", "stages.base.num_steps=400", runs]
    driver = subprocess.Popen(
        [sys.executable, "-m", "pipeline", "run", *command],
        cwd=REPOSITORY,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    assert wait_for(lambda: list((tmp_path / "runs").glob("tiny/base/*/state/step_*/manifest.json")), 120)
    family = psutil.Process(driver.pid).children(recursive=True)
    assert len(family) >= 4  # guard, torchrun, two ranks
    driver.kill()
    driver.wait()
    assert wait_for(
        lambda: not any(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in family)
    )
    assert "interrupted, continues from step" in r1("plan", *command).stdout
    driver = subprocess.Popen(
        [sys.executable, "-m", "pipeline", "run", *command],
        cwd=REPOSITORY,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert wait_for(lambda: "engines up" in rank0_log(tmp_path, attempt=2), 120)
    driver.terminate()
    out, _ = driver.communicate(timeout=120)
    assert driver.returncode == 75 and "continue with: python -m pipeline run +stage=base" in out
    assert not list((tmp_path / "tmp").glob("torchelastic_*"))


def test_a_worker_that_dies_is_explained(runs, tmp_path):
    driver = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "pipeline",
            "run",
            "+stage=base",
            "orchestrator=none",
            runs,
            "stages.base.num_steps=5000",
        ],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert wait_for(lambda: "engines up" in rank0_log(tmp_path, attempt=1), 120)
    ranks = [
        process
        for process in psutil.Process(driver.pid).children(recursive=True)
        if "stages" in process.cmdline() and "stages.runtime.torchrun" not in process.cmdline()
    ]
    next(process for process in ranks if process.environ()["RANK"] == "1").kill()
    out, _ = driver.communicate(timeout=120)
    assert driver.returncode == 4, out
    for text in (
        "base failed on rank 1",
        "want of memory",
        "last lines of rank 0's log",
        "rank1.log",
        "continue with: python -m pipeline run +stage=base",
    ):
        assert text in out, out
