"""Reads the file that wandb writes offline: a LevelDB log (blocks of 32 KiB) of wandb's own protobuf records."""

import json
from collections.abc import Iterator
from pathlib import Path

BLOCK, HEADER = (
    32768,
    7,
)  # bytes; a header is a checksum (4), a length (2) and a kind: 1 whole, 2 first, 3 middle, 4 last


def records(path: Path) -> Iterator:
    """The records of a .wandb file, as wandb_internal_pb2.Record."""
    from wandb.proto import wandb_internal_pb2

    data, position, parts = path.read_bytes(), HEADER, b""
    assert data[:4] == b":W&B"
    while position + HEADER <= len(data):
        left = BLOCK - position % BLOCK
        if left < HEADER:
            position += left
            continue
        length, kind = int.from_bytes(data[position + 4 : position + 6], "little"), data[position + 6]
        parts += data[position + HEADER : position + HEADER + length]
        position += HEADER + length
        if kind in (1, 4):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(parts)
            yield record
            parts = b""


def run_of(path: Path):
    """The record that describes the run."""
    return next(record.run for record in records(path) if record.WhichOneof("record_type") == "run")


def history(path: Path) -> list[dict]:
    """The rows that were logged; `_step` is the step."""
    rows = []
    for record in records(path):
        if record.WhichOneof("record_type") == "history":
            items = {item.key or ".".join(item.nested_key): item.value_json for item in record.history.item}
            rows.append({name: json.loads(value) for name, value in items.items()} | {"_step": record.history.step.num})
    return rows


def artifacts(path: Path) -> dict[str, dict[str, Path]]:
    """The artifacts that were logged: name -> the names of their files and where these lie until they are sent."""
    found = {}
    for record in records(path):
        if record.WhichOneof("record_type") == "artifact":
            entries = record.artifact.manifest.contents
            found[record.artifact.name] = {entry.path: Path(entry.local_path) for entry in entries}
    return found


def kinds(path: Path) -> set[str]:
    """The kinds of records in the file."""
    return {record.WhichOneof("record_type") for record in records(path)}
