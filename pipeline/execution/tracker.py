"""metrics.jsonl as TensorBoard event files, for people who have a TensorBoard open. metrics.jsonl stays the record."""

from pathlib import Path

from pipeline.configuration.schema import RunConfig
from stages.contract.files import read_jsonl


def export(config: RunConfig, stage: str, stage_dir: Path) -> None:
    """Writes runs/<run>/tensorboard/<stage>/<fp8> anew from the stage's metrics.jsonl, where tracker=tensorboard."""
    if config.tracker.name != "tensorboard" or not (stage_dir / "metrics.jsonl").exists():
        return
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    target = config.run_dir / "tensorboard" / stage / stage_dir.name
    for old in target.glob("events.*"):
        old.unlink()
    writer = EventFileWriter(str(target))
    for row in read_jsonl(stage_dir / "metrics.jsonl"):
        values = [
            Summary.Value(tag=name, simple_value=value)
            for name, value in row.items()
            if name != "step" and isinstance(value, (int, float))
        ]
        writer.add_event(Event(step=row["step"], wall_time=row.get("time", 0.0), summary=Summary(value=values)))
    writer.close()
