"""The Prefect flow on the embedded server: stages as task runs, skipped ones visible, metrics as artifacts, nothing
outside the runs directory.
"""

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.chaos_tools.driver import family
from stages.contract.manifest import Manifest
from tests.support.command_line import r1
from tests.support.runs import finish, plan
from tests.support.waiting import wait_for

pytestmark = pytest.mark.slow  # starts Prefect servers


def rows(database: Path, query: str) -> list[tuple]:
    with sqlite3.connect(database) as connection:
        return connection.execute(query).fetchall()


@pytest.fixture(scope="module")
def database(tmp_path_factory) -> Path:
    """A run in which `base` is done and `report` is made, in a flow."""
    home, runs_dir = tmp_path_factory.mktemp("home"), tmp_path_factory.mktemp("work") / "runs"
    finish(plan("+stage=base", f"runs_dir={runs_dir}"), "base")
    done = r1("run", "+stage=[base,report]", f"runs_dir={runs_dir}", HOME=str(home))
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(
        r"Prefect: http://127.0.0.1:\d+/runs/flow-run/[0-9a-f-]{36} \(while this command runs\)", done.stdout
    )
    assert not list(home.glob(".prefect")) and (runs_dir / "tiny" / "report.html").stat().st_size > 1000
    return runs_dir / ".prefect" / "prefect.db"


def test_the_flow_run_has_a_task_run_per_stage(database):
    assert rows(database, "select name, state_name from flow_run") == [("tiny-tiny", "Completed")]
    assert sorted(rows(database, "select name, state_name from task_run")) == [
        ("base", "Skipped"),
        ("report", "Completed"),
    ]


def test_metrics_are_an_artifact_and_lines_are_logged(database):
    artifacts = rows(database, "select key, type, data from artifact")
    assert {(key, kind) for key, kind, _ in artifacts} == {("report", "table"), ("tiny-report", "markdown")}
    (link,) = [data for key, _, data in artifacts if key == "tiny-report"]
    assert "(file://" in link and "tiny/report.html)" in link
    assert any("report: run (not made yet)" in message for (message,) in rows(database, "select message from log"))


def test_the_flow_run_carries_tags_and_its_task_runs_none_that_the_server_would_be_asked_about(database):
    ((flow_tags,),) = rows(database, "select tags from flow_run")
    assert set(json.loads(flow_tags)) == {"run:tiny", "recipe:tiny"}
    assert {json.loads(tags)[0] for (tags,) in rows(database, "select tags from task_run") if json.loads(tags)} == set()


def test_the_stages_depend_on_each_other_in_prefects_eyes(database):
    ((inputs,),) = rows(database, "select task_inputs from task_run where name = 'report'")
    assert "task_run" in inputs


def test_a_run_whose_server_is_killed_goes_on_without_it(repository, tmp_path):
    log = tmp_path / "log"
    with open(log, "w") as stream:
        driver = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "pipeline",
                "run",
                "+stage=[base,report]",
                f"runs_dir={tmp_path}",
                "launcher.num_processes=1",
                "stages.base.num_steps=6",
            ],
            cwd=repository,
            stdout=stream,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PREFECT_CLIENT_MAX_RETRIES": "0"},
        )
    try:
        wait_for(lambda: "rank0" in family(driver.pid), 120)
        family(driver.pid)["server"].send_signal(signal.SIGKILL)
        assert driver.wait(timeout=120) == 0, log.read_text()
    finally:
        driver.kill()
    assert (
        "Prefect's server has ended; the run goes on without it" in log.read_text()
        and "base skipped" in log.read_text()
    )
    assert (
        Manifest.read(tmp_path / "tiny/base/latest").timing.attempts == 1 and (tmp_path / "tiny/report.html").exists()
    )
