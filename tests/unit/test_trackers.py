"""Trackers: each is fed by its own process from the files of a stage that is killed and resumed, and read back with its
own reader.
"""

import importlib.util
import json
import os
import signal
import sqlite3
import time

import pytest

from pipeline.errors import InvalidConfig
from pipeline.execution.observers import DONE, FAILED
from pipeline.execution.tracking.feed import StageFeed
from pipeline.planning.preflight import check_trackers
from tests.support.runs import config
from tests.support.tracked import REPORT, TrackedRun
from tests.support.waiting import wait_for

pytestmark = pytest.mark.slow  # starts the processes of trackers
ONCE = [1, 2, 3, 4, 5, 6]


def needs(module: str):
    return pytest.mark.skipif(
        not importlib.util.find_spec(module), reason=f"{module} is not installed (the extra of its name)"
    )


def test_tensorboard_has_every_step_once_after_a_kill(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = TrackedRun(tmp_path / "runs", "tracker=tensorboard")
    run.run_killed_and_resumed("tensorboard")
    events = EventAccumulator(str(tmp_path / "runs/tiny/tensorboard/r1_zero" / run.dir.name))
    events.Reload()
    assert [event.step for event in events.Scalars("reward/mean")] == ONCE
    assert [event.value for event in events.Scalars("reward/mean")] == [1, 2, 3, 4, 5, 6]
    assert [event.step for event in events.Tensors("completions")] == ONCE
    (table,) = events.Tensors("completions")[0].tensor_proto.string_val
    assert b"a &#124; b<br>&lt;c>" in table
    assert b"lower the learning rate" in events.Tensors("alarms")[0].tensor_proto.string_val[0]
    assert "_hparams_/session_start_info" in events.Tags()["tensors"]
    assert str(run.dir / "report.html").encode() in events.Tensors("files")[0].tensor_proto.string_val[0]


def test_tensorboard_takes_back_what_was_made_again(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = TrackedRun(tmp_path / "runs", "tracker=tensorboard")
    with run.trackers() as trackers:
        trackers.begin(run.step, run.plan)
        run.log(1, 2, 3, 4)
        run.wait("tensorboard", 4)
        run.cut(2)
        run.log(3, 4, 5, offset=0.5)
        run.wait("tensorboard", 5)
        run.finish()
        trackers.end(run.step, DONE)
    events = EventAccumulator(str(tmp_path / "runs/tiny/tensorboard/r1_zero" / run.dir.name))
    events.Reload()
    assert [event.value for event in events.Scalars("reward/mean")] == [1, 2, 3.5, 4.5, 5.5]


@needs("wandb")
def test_wandb_offline_is_one_run_with_every_step_once_after_a_kill(tmp_path, monkeypatch):
    from tests.support import wandb_file

    monkeypatch.setenv("WANDB_MODE", "offline")
    run = TrackedRun(tmp_path / "runs", "tracker=wandb", "tracker.project=p")
    run.run_killed_and_resumed("wandb")
    files = sorted((tmp_path / "runs/tiny/wandb").glob("offline-run-*/run-*.wandb"))
    described = [wandb_file.run_of(path) for path in files]
    assert len(files) == 2 and len({one.run_id for one in described}) == 1  # `wandb sync` makes one run of them
    assert described[0].run_id.startswith(run.dir.name)
    assert {(one.project, one.run_group, one.job_type) for one in described} == {("p", "tiny-tiny", "r1_zero")}
    assert "stages.r1_zero" not in str(described[0].config) and "optim.lr" in str(described[0].config)
    rows = [row for path in files for row in wandb_file.history(path)]
    assert [row["_step"] for row in rows] == ONCE and [row["reward/mean"] for row in rows] == ONCE
    assert all(row["completions._type"] == "table-file" for row in rows)
    assert "alert" in wandb_file.kinds(files[0]) and "preempting" in wandb_file.kinds(files[0])
    assert "exit" in wandb_file.kinds(files[1])
    assert wandb_file.artifacts(files[1])["r1_zero-tiny"]["report.html"].read_text() == REPORT


@needs("mlflow")
@pytest.mark.parametrize("store", ["sqlite", "file"])
def test_mlflow_is_one_run_with_every_step_once_after_a_kill(tmp_path, monkeypatch, store):
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    from mlflow import MlflowClient

    uri = f"sqlite:///{tmp_path}/runs/mlflow/mlflow.db" if store == "sqlite" else (tmp_path / "mlruns").as_uri()
    run = TrackedRun(tmp_path / "runs", "tracker=mlflow", *([] if store == "sqlite" else [f"tracker.uri={uri}"]))
    run.run_killed_and_resumed("mlflow")
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("r1-recipe")
    runs = client.search_runs([experiment.experiment_id])
    (stage,) = [one for one in runs if one.data.tags.get("r1.stage") == "r1_zero"]
    (group,) = [one for one in runs if one is not stage]
    assert group.info.run_name == "tiny-tiny" and stage.data.tags["mlflow.parentRunId"] == group.info.run_id
    history = client.get_metric_history(stage.info.run_id, "reward/mean")
    assert [(entry.step, entry.value) for entry in history] == [(step, float(step)) for step in ONCE]
    assert stage.info.status == group.info.status == "FINISHED" and stage.data.metrics["final/pass_at_1"] == 0.75
    assert stage.data.params["stage"] == "r1_zero" and "optim.lr" in stage.data.params
    assert "KL is 9" in stage.data.tags["alarm.kl_blow_up.3"]
    assert open(client.download_artifacts(stage.info.run_id, "report.html", str(tmp_path))).read() == REPORT
    tables = [item.path for item in client.list_artifacts(stage.info.run_id, "completions")]
    assert tables == [f"completions/step_{step:06d}.json" for step in ONCE]
    text = json.loads(open(client.download_artifacts(stage.info.run_id, tables[0], str(tmp_path))).read())
    assert text["columns"] == ["step", "prompt", "completion", "reward"] and text["data"][0][2] == "a | b\n<c>"


@needs("trackio")
def test_trackio_is_one_run_with_every_step_once_after_a_kill(tmp_path, monkeypatch):
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    run = TrackedRun(tmp_path / "runs", "tracker=trackio")
    run.run_killed_and_resumed("trackio")
    with sqlite3.connect(tmp_path / "trackio" / "r1-recipe.db") as database:
        rows = database.execute("select run_name, step, metrics from metrics order by id").fetchall()
        alerts = database.execute("select title, step from alerts").fetchall()
    assert len({name for name, _, _ in rows}) == 1
    assert [step for _, step, _ in rows] == [*ONCE, 7]  # the last one holds the numbers of the result
    assert [json.loads(text)["reward/mean"] for _, _, text in rows[:-1]] == ONCE
    assert json.loads(rows[-1][2])["final/pass@1"] == 0.75 and "completions" in json.loads(rows[0][2])
    assert alerts == [("kl_blow_up", 3)]
    kept = [path for path in (tmp_path / "trackio").rglob("*") if path.is_file() and path.stat().st_size < 1000]
    assert REPORT.encode() in [path.read_bytes() for path in kept]


def test_a_tracker_that_raises_is_said_once_and_catches_up_later(tmp_path):
    run = TrackedRun(tmp_path / "runs", "tracker=tensorboard")
    blocked = tmp_path / "runs/tiny/tensorboard"
    blocked.write_text("a file in the way")
    with run.trackers() as trackers:
        trackers.begin(run.step, run.plan)
        run.log(1, 2)
        trackers.end(run.step, FAILED)
        trackers.begin(run.step, run.plan)
        trackers.end(run.step, FAILED)
    (said,) = run.said
    assert said.startswith("tracker tensorboard cannot take r1_zero: ") and "the run goes on" in said
    assert run.sent("tensorboard") == 0
    blocked.unlink()
    run.finish()
    again = TrackedRun(tmp_path / "runs", "tracker=tensorboard")
    assert again.step.is_done
    with again.trackers() as trackers:
        trackers.catch_up(again.plan)
    assert again.sent("tensorboard") == 2
    with again.trackers() as trackers:
        trackers.catch_up(again.plan)
        assert not trackers.processes  # it has everything: no process is started


@pytest.fixture
def hanging_wandb(tmp_path, monkeypatch):
    """A library wandb whose first call never returns."""
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "wandb.py").write_text(
        "import time\nclass Settings:\n    def __init__(self, **k):\n        time.sleep(600)\nclass Table: pass\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "lib"))


def test_a_tracker_that_hangs_is_said_once_and_never_waited_for(tmp_path, hanging_wandb):
    run = TrackedRun(tmp_path / "runs", "tracker=wandb", "tracker.timeout_s=1")
    trackers = run.trackers()
    began = time.monotonic()
    trackers.begin(run.step, run.plan)
    run.log(1, 2)
    trackers.end(run.step, DONE)
    for _ in range(2000):  # more than the pipe holds
        trackers.processes["wandb"].tell({"begin": {"text": "x" * 100}})
    assert time.monotonic() - began < 1.5
    process = trackers.processes["wandb"].process
    wait_for(lambda: trackers.processes["wandb"].is_stuck, 30)
    began = time.monotonic()
    trackers.close()
    assert time.monotonic() - began < 3 and process.poll() is not None
    assert [text for text in run.said if "has not answered for 1 s" in text and "WANDB_MODE=offline" in text]
    assert len(run.said) == 2 and "the same command sends the rest" in run.said[1]


def test_the_process_of_a_tracker_ends_after_a_killed_driver_even_where_its_library_hangs(tmp_path, hanging_wandb):
    run = TrackedRun(tmp_path / "runs", "tracker=wandb", "tracker.timeout_s=1")
    trackers = run.trackers()
    trackers.begin(run.step, run.plan)
    process = trackers.processes["wandb"]
    process.close_input()  # all that a driver leaves that was killed
    assert process.process.wait(30) == 1


def test_a_tracker_that_is_killed_is_said(tmp_path):
    run = TrackedRun(tmp_path / "runs", "tracker=tensorboard")
    with run.trackers() as trackers:
        trackers.begin(run.step, run.plan)
        os.kill(trackers.processes["tensorboard"].process.pid, signal.SIGKILL)
        wait_for(lambda: trackers.processes["tensorboard"].has_closed, 30)
        trackers.end(run.step, DONE)
    assert len(run.said) == 1 and "tracker tensorboard has ended; the run goes on without it" in run.said[0]


def test_numbers_that_differ_after_a_resume_are_seen(tmp_path):
    run = TrackedRun(tmp_path / "runs")
    feed = StageFeed(run.dir, 8)
    run.log(1, 2, 3)
    assert feed.refresh() == []
    run.cut(1)
    run.log(2)
    run.log(3, offset=0.25)
    assert feed.refresh() == [3] and feed.refresh() == []
    assert [row["step"] for row in feed.steps_after(1)] == [2, 3]


def test_completions_of_an_evaluation_are_some_of_each_model_and_set(tmp_path):
    run = TrackedRun(tmp_path / "runs")
    rows = [{"step": 1, "model": model, "set": "math", "completion": str(n)} for model in "ab" for n in range(5)]
    (run.dir / "samples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    feed = StageFeed(run.dir, 2)
    feed.refresh()
    chosen = feed.completions_of_result()
    assert [(row["model"], row["completion"]) for row in chosen] == [("a", "0"), ("a", "1"), ("b", "0"), ("b", "1")]


def test_several_trackers_are_chosen_at_once():
    assert config("tracker=[wandb,mlflow]").tracker.names == ["wandb", "mlflow"]
    assert (
        config("tracker=tensorboard").tracker.names
        == ["tensorboard"]
        == config("tracker.name=tensorboard").tracker.names
    )
    assert config().tracker.names == [] == config("tracker=none").tracker.names
    with pytest.raises(InvalidConfig, match=r"tracker.use.comet: no such tracker; trackers are tensorboard, wandb"):
        config("+tracker.use.comet=true")


def test_a_missing_library_is_an_error_of_the_plan(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    errors = check_trackers(config("tracker=[wandb,trackio]"))
    assert [fix.split(",")[0] for _, fix in errors] == ["pip install 'wandb>=0.28", "pip install 'trackio>=0.40"]
