"""The Prefect flow on the embedded server: stages as task runs, skipped ones visible, metrics as artifacts, nothing outside the runs directory."""
import sqlite3
from pathlib import Path

import pytest

from runs import finish, plan
from test_cli import r1


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
    assert not list(home.glob(".prefect")) and (runs_dir / "tiny" / "report.html").stat().st_size > 1000
    return runs_dir / ".prefect" / "prefect.db"


def test_the_flow_run_has_a_task_run_per_stage(database):
    assert rows(database, "select name, state_name from flow_run") == [("tiny-tiny", "Completed")]
    assert sorted(rows(database, "select name, state_name from task_run")) == [("base", "Skipped"), ("report", "Completed")]


def test_metrics_are_an_artifact_and_lines_are_logged(database):
    assert rows(database, "select key, type from artifact") == [("report", "table")]
    assert any("report: run (not made yet)" in message for (message,) in rows(database, "select message from log"))


def test_the_stages_depend_on_each_other_in_prefects_eyes(database):
    (inputs,), = rows(database, "select task_inputs from task_run where name = 'report'")
    assert "task_run" in inputs
