"""Append-only records of finished samples, each line with its checksum: what was sampled or graded before a kill is
never done again.

A line is written with one system call when its sample is finished, so it outlives the process; `sync` puts it on the
disk. A line that a kill or a power failure left torn does not match its checksum and counts as not written.
"""

import json
import os
import zlib
from collections.abc import Iterator
from pathlib import Path

_ENCODE = json.JSONEncoder(ensure_ascii=False).encode  # json.dumps would make an encoder for every record


class RecordLog:
    """One file of records, written by one rank."""

    def __init__(self, path: Path):
        path.parent.mkdir(parents=True, exist_ok=True)
        self.stream = open(path, "ab", buffering=0)
        self.is_synced = True
        if path.stat().st_size and not path.read_bytes()[-1:] == b"\n":
            self.stream.write(b"\n")  # ends a torn line, so that the next record has one of its own

    def append(self, row: dict) -> None:
        self.extend([row])

    def extend(self, rows: list[dict]) -> None:
        """Several records with one call of the system: a kill leaves the first of them, and at most one torn line."""
        texts = [_ENCODE(row).encode() for row in rows]
        self.is_synced = False
        data = b"".join(b"%08x %b\n" % (zlib.crc32(text), text) for text in texts)
        while data:  # a disk that is almost full takes a part of it, and says so the next time
            data = data[self.stream.write(data) :]

    def sync(self) -> None:
        if not self.is_synced:
            self.is_synced = True
            os.fsync(self.stream.fileno())

    def close(self) -> None:
        self.sync()
        self.stream.close()


def read_records(directory: Path, pattern: str) -> Iterator[dict]:
    """The whole records of all files of `directory` that match, those of every rank and attempt."""
    for path in sorted(directory.glob(pattern)):
        with open(path, "rb") as lines:
            for line in lines:
                checksum, _, text = line.rstrip(b"\n").partition(b" ")
                if line.endswith(b"\n") and checksum == b"%08x" % zlib.crc32(text):
                    yield json.loads(text)
