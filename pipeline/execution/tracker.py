"""Writes a stage's metrics as TensorBoard event files; metrics.jsonl stays the record."""

from pathlib import Path

from pipeline.configuration.schema import RunConfig
from stages.contract.files import read_jsonl


def export(config: RunConfig, stage: str, stage_dir: Path) -> None:
    """Writes runs/<run>/tensorboard/<stage>/<short fingerprint> anew from metrics.jsonl, where tracker=tensorboard."""
    if config.tracker.name != "tensorboard" or not (stage_dir / "metrics.jsonl").exists():
        return
    from tensorboard.summary import Writer  # loads numpy and protobuf

    target = config.run_dir / "tensorboard" / stage / stage_dir.name
    for old in target.glob("events.*"):
        old.unlink()
    writer = Writer(str(target))
    for row in read_jsonl(stage_dir / "metrics.jsonl"):
        for name, value in row.items():
            if name != "step" and isinstance(value, (int, float)):
                writer.add_scalar(name, value, row["step"], wall_time=row.get("time", 0.0))
    writer.close()
