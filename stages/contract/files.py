"""Files that survive a crash: atomic writes, checksums, JSON lines that can be cut back."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any


def fsync_file(path: Path) -> None:
    with open(path, "rb") as stream:
        os.fsync(stream.fileno())


def fsync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_atomic(path: Path, data: bytes, durable: bool = True) -> None:
    """Writes aside and renames: readers see the old file or the whole new one. `durable`: on the disk when this
    returns.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as stream:
            stream.write(data)
            if durable:
                stream.flush()
                os.fsync(stream.fileno())
        os.replace(temporary, path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    if durable:
        fsync_directory(path.parent)


def remove_temporaries(directory: Path) -> None:
    """Drops the files that a killed process left in the middle of `write_atomic`, at any depth. For when nobody else
    writes there.
    """
    for path in directory.rglob(".*.tmp"):
        if path.is_file():
            path.unlink()


def write_json(path: Path, value: Any, durable: bool = True) -> None:
    write_atomic(path, json.dumps(value, ensure_ascii=False, indent=1).encode(), durable)


def read_json(path: Path) -> Any:
    return json.loads(Path(path).read_text(encoding="utf-8"))


def sha256(path: Path) -> str:
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def size(directory: Path) -> int:
    """Bytes of all files under `directory`."""
    return sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())


def file_table(directory: Path, patterns: list[str]) -> dict[str, dict]:
    """{relative path: {"sha256", "bytes"}} of all files under `directory` that match; fsyncs each, so the table never
    outruns the disk.
    """
    table = {}
    for pattern in patterns:
        for path in sorted(directory.glob(pattern)):
            if path.is_file():
                fsync_file(path)
                table[str(path.relative_to(directory))] = {"sha256": sha256(path), "bytes": path.stat().st_size}
    return table


def damaged_files(directory: Path, table: dict[str, dict]) -> list[str]:
    """Files of the table that are missing or differ."""
    return [
        name
        for name, entry in table.items()
        if not (directory / name).is_file()
        or (directory / name).stat().st_size != entry["bytes"]
        or sha256(directory / name) != entry["sha256"]
    ]


def append_jsonl(path: Path, rows: list[dict]) -> None:
    with open(path, "a", encoding="utf-8") as stream:
        stream.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def read_jsonl(path: Path) -> list[dict]:
    """The complete lines of a JSON lines file; a half-written last line (a crash) is left out."""
    if not path.exists():
        return []
    lines = path.read_bytes().split(b"\n")[:-1]
    return [json.loads(line) for line in lines if line.strip()]


def cut_jsonl(path: Path, last_step: int) -> None:
    """Drops rows after `last_step`, so that a resumed run logs every step once."""
    rows = read_jsonl(path)
    if path.exists():
        kept = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows if row["step"] <= last_step)
        write_atomic(path, kept.encode())
