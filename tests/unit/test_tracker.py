"""tracker=tensorboard: metrics.jsonl as event files that TensorBoard reads."""

import json

from pipeline.execution import tracker
from tests.support.runs import config


def test_metrics_become_event_files(tmp_path):
    from tensorboard.backend.event_processing import event_file_loader

    stage_dir = tmp_path / "runs" / "tiny" / "r1_zero" / "0a1b2c3d"
    stage_dir.mkdir(parents=True)
    (stage_dir / "metrics.jsonl").write_text(
        "".join(json.dumps({"step": step, "reward/mean": step / 2}) + "\n" for step in (1, 2))
    )
    tracker.export(config(f"runs_dir={tmp_path / 'runs'}", "tracker=tensorboard"), "r1_zero", stage_dir)
    (events,) = (tmp_path / "runs" / "tiny" / "tensorboard" / "r1_zero" / "0a1b2c3d").iterdir()
    loaded = [event for event in event_file_loader.EventFileLoader(str(events)).Load() if event.summary.value]
    assert [(event.step, event.summary.value[0].tag) for event in loaded] == [(1, "reward/mean"), (2, "reward/mean")]


def test_no_tracker_writes_nothing(tmp_path):
    tracker.export(config(f"runs_dir={tmp_path}"), "r1_zero", tmp_path)
    assert not list(tmp_path.iterdir())
