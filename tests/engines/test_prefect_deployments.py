"""Deployments on a real Prefect server, carried out by a real process worker: started, cancelled, moved, orphaned.

One server and one worker serve all tests; the last test kills them.
"""

import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from stages.contract.manifest import Manifest
from tests.support.paths import REPOSITORY
from tests.support.prefect_server import PrefectPlace
from tests.support.waiting import wait_for

SMALL = ("launcher.num_processes=1", "stages.base.num_steps=4000", "stages.base.save_every=1000")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    made = PrefectPlace(tmp_path_factory.mktemp("prefect"), port)
    try:
        made.start_server()
        yield made
    finally:
        made.end()


@pytest.fixture(scope="module")
def runs_dir(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("work") / "runs"


@pytest.fixture(scope="module")
def deployed(place, runs_dir) -> subprocess.CompletedProcess:
    """Two stages of the run `one`, deployed; the worker runs."""
    done = place.r1("deploy", "+stage=[base,report]", "run=one", f"runs_dir={runs_dir}", "prefect.tags=[mine]", *SMALL)
    assert done.returncode == 0, done.stdout + done.stderr
    place.start_worker()
    return done


def steps(directory: Path) -> int:
    path = directory / "latest" / "metrics.jsonl"
    return len(path.read_text().splitlines()) if path.exists() else 0


def test_a_server_must_be_named(place, runs_dir):
    done = place.r1("deploy", f"runs_dir={runs_dir}", PREFECT_API_URL="")
    assert done.returncode == 3 and "no Prefect server is named" in done.stdout
    assert "export PREFECT_API_URL=" in done.stdout and "r1 run +stage=all" in done.stdout


def test_deploying_twice_leaves_the_same_deployments_and_their_schedule(place, runs_dir, deployed):
    assert "made r1/one.base " in deployed.stdout and "made r1/one.recipe " in deployed.stdout
    assert "prefect worker start --pool r1" in deployed.stdout
    words = ("deploy", "+stage=[base,report]", "run=one", f"runs_dir={runs_dir}", "prefect.tags=[mine]", *SMALL)
    timed = place.r1(*words, "--cron", "0 2 * * *", "--timezone", "Europe/Berlin")
    assert "updated r1/one.recipe, runs at 0 2 * * * (Europe/Berlin)" in timed.stdout, timed.stdout + timed.stderr
    again = place.r1(*words)
    assert "updated r1/one.recipe, runs at 0 2 * * * (Europe/Berlin)" in again.stdout
    found = place.ask("POST", "/deployments/filter", {})
    assert sorted(one["name"] for one in found) == ["one.base", "one.recipe", "one.report"]
    recipe = next(one for one in found if one["name"] == "one.recipe")
    assert [one["schedule"]["cron"] for one in recipe["schedules"]] == ["0 2 * * *"]
    assert set(recipe["tags"]) == {"run:one", "recipe:tiny", "mine"}
    assert all(not one["schedules"] for one in found if one is not recipe)


@pytest.mark.parametrize(
    "words, said",
    [
        (["run=one", "--pool", "nowhere"], "there is no work pool nowhere; pools of this server: r1"),
        (["run=one", "--queue", "nowhere"], "the work pool r1 has no queue nowhere; it has default"),
        (["run=one", "runs_dir=elsewhere"], "r1/one.base is there already, for the run of that name with runs_dir="),
        (["run=two", "--cron", "at night"], "Invalid cron string"),
        (["run=two", "stages.base.num_steps=none"], "stages.base.num_steps"),
    ],
)
def test_what_cannot_be_deployed_is_said(place, runs_dir, deployed, words, said):
    done = place.r1("deploy", "+stage=base", f"runs_dir={runs_dir}", *words)
    assert done.returncode in (2, 3) and said in done.stdout, done.stdout + done.stderr


def test_bad_input_fails_once_with_its_reason(place, deployed):
    flow_run = place.press_run("r1/one.base", "stages.base.num_steps=-1")
    state = place.wait_until(flow_run, lambda state: state["type"] in ("FAILED", "CRASHED"))
    assert state["type"] == "FAILED" and "stages.base.num_steps: must be > 0" in state["message"]
    assert place.ask("GET", f"/flow_runs/{flow_run}")["run_count"] == 1


def test_a_stopped_worker_hands_its_run_on_and_cancel_ends_it_with_a_checkpoint(place, runs_dir, deployed):
    base = runs_dir / "one" / "base"
    flow_run = place.press_run("r1/one.base", "retry.wait_s=1")
    assert wait_for(lambda: steps(base) > 3, 150)
    place.terminate_supervisor(flow_run)
    place.wait_until(flow_run, lambda state: state["name"] == "AwaitingRetry" or state["type"] == "PENDING")
    (kept,) = sorted((base / "latest" / "state").glob("step_*"))
    assert wait_for(lambda: place.ask("GET", f"/flow_runs/{flow_run}")["run_count"] == 2, 150)
    assert wait_for(lambda: steps(base) > int(kept.name[5:]) + 3, 150)
    place.press_cancel(flow_run)
    place.wait_until(flow_run, lambda state: state["type"] == "CANCELLED", 60)
    newest = sorted((base / "latest" / "state").glob("step_*"))[-1]
    assert wait_for(lambda: (newest / "manifest.json").exists()) and int(newest.name[5:]) > int(kept.name[5:])
    assert not (base / "latest" / "manifest.json").exists()
    outcome = (base / "latest" / "logs" / "latest" / "outcome.json").read_text()
    assert "interrupted" in outcome and "its checkpoint is kept" in outcome


def test_cancel_reaches_a_run_that_was_typed(place, runs_dir, tmp_path):
    log = tmp_path / "log"
    with open(log, "w") as stream:
        driver = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "pipeline",
                "run",
                "+stage=[base,report]",
                "run=typed",
                f"runs_dir={runs_dir}",
                *SMALL,
            ],
            cwd=REPOSITORY,
            env=place.environment,
            stdout=stream,
            stderr=subprocess.STDOUT,
        )
    try:
        assert wait_for(lambda: steps(runs_dir / "typed" / "base") > 3, 150), log.read_text()
        flow_run = re.search(rf"Prefect: http://127.0.0.1:{place.port}/runs/flow-run/(\S+)", log.read_text())[1]
        place.press_cancel(flow_run)
        assert driver.wait(timeout=60) == 75, log.read_text()
    finally:
        driver.kill()
    assert "stopping after a checkpoint: cancelled in Prefect's page" in log.read_text()
    assert place.state(flow_run)["type"] == "CANCELLED"
    assert list((runs_dir / "typed" / "base" / "latest" / "state").glob("step_*/manifest.json"))


def test_runs_outlive_the_server_and_the_worker(place, runs_dir, deployed):
    base = runs_dir / "two" / "base"
    words = ("+stage=[base,report]", "run=two", f"runs_dir={runs_dir}", "stages.base.num_steps=200")
    assert place.r1("deploy", *words, "launcher.num_processes=1").returncode == 0  # beside those of the run `one`
    flow_run = place.press_run("r1/two.recipe")
    assert wait_for(lambda: steps(base) > 3, 150)
    second = place.press_run("r1/two.report")  # waits for the lock of the run
    place.wait_until(second, lambda state: state["type"] == "RUNNING", 60)
    supervisor = place.supervisor_of(flow_run)
    engine = supervisor.children()[0]
    place.kill("server")
    supervisor.send_signal(signal.SIGTERM)  # what a worker does that has lost its server for long
    assert wait_for(lambda: not supervisor.is_running(), 60) and engine.is_running()
    try:
        assert wait_for(lambda: (base / "latest" / "manifest.json").exists(), 150)
        assert Manifest.read(base / "latest").timing.attempts == 1
        assert wait_for(lambda: (runs_dir / "two" / "report.html").exists(), 60)
        place.start_server()  # it comes back, and is told how the runs ended
        place.wait_until(flow_run, lambda state: state["type"] == "COMPLETED", 60)
        place.wait_until(second, lambda state: state["type"] == "COMPLETED", 60)
    finally:
        if engine.is_running():
            engine.kill()
