"""Records: one JSON object a line, each line with its own checksum, so that damage is seen and costs only itself.

    {"problem": "p7", "sample": 0, "completion": "...", "checksum": "5f1c20b7a9e3d846"}

`checksum` is the last key: the first 16 hex digits of the SHA-256 of all that stands before it in the line, but for the
comma. There are two kinds of files.

A log grows. `RecordLog` appends to it, one process a file; `RecordReader` reads it and leaves out lines that are
damaged or, after a kill, half written. What they held is done again.

A whole file counts only when it is complete. `write_record_file` writes it atomically, with a last line that counts
the others and seals their order; `read_record_file` returns all of its rows, or raises `DamagedRecords`.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from stages.contract import files, older_records

DIGITS = 16
SEAL = b', "checksum": "%b"}'  # the end of a line, in the place of the closing brace of its object
SEAL_BYTES = len(SEAL % (b"0" * DIGITS))

_encode = json.JSONEncoder(ensure_ascii=False).encode  # json.dumps would make a new encoder for every record
_sha256 = hashlib.sha256


class DamagedRecords(ValueError):
    """A file of records is not complete, or something in it has changed."""


def to_line(row: dict) -> bytes:
    """The line of a record, without its end. The row has at least one key, and none that is called checksum."""
    body = _encode(row).encode()[:-1]
    return body + SEAL % _digest(body)


def _digest(data: bytes) -> bytes:
    return _sha256(data).hexdigest()[:DIGITS].encode()


def _is_whole(line: bytes) -> bool:
    return line[-SEAL_BYTES:] == SEAL % _digest(line[:-SEAL_BYTES])


class RecordLog:
    """Appends records to a file, for one process. The file is made by the first record."""

    def __init__(self, path: Path):
        """Makes the directory of the file."""
        self.path = path
        self._stream: BinaryIO | None = None
        self._is_synced = True
        path.parent.mkdir(parents=True, exist_ok=True)

    def append(self, row: dict) -> None:
        """Adds a record. It is in the file when this returns, where a kill of the process leaves it."""
        self.extend([row])

    def extend(self, rows: Sequence[dict]) -> None:
        """Adds records with one system call: a kill leaves the first of them, and at most one half-written line."""
        if not rows:
            return
        data = b"".join([to_line(row) + b"\n" for row in rows])
        stream = self._stream or self._open()
        self._is_synced = False
        while data:  # a disk that is almost full takes a part of it, and says so the next time
            data = data[stream.write(data) :]

    def sync(self) -> None:
        """Puts what was added on the disk, where a power failure leaves it. Another thread may call it."""
        if self._stream is not None and not self._is_synced:
            self._is_synced = True
            os.fsync(self._stream.fileno())

    def close(self) -> None:
        """Syncs and closes the file."""
        self.sync()
        if self._stream is not None:
            self._stream.close()

    def _open(self) -> BinaryIO:
        """Opens the file, and ends a line that a kill left half written, so that the next one stands by itself.

        The line stays damaged even where only its end was missing: who read it as damaged writes its record again.
        """
        self._stream = open(self.path, "ab", buffering=0)  # noqa: SIM115 (it stays open for the life of the log)
        if not _ends_with_a_line(self.path):
            self._stream.write(b" (half written)\n")
        return self._stream


def _ends_with_a_line(path: Path) -> bool:
    with open(path, "rb") as stream:
        if stream.seek(0, os.SEEK_END) == 0:
            return True
        stream.seek(-1, os.SEEK_END)
        return stream.read() == b"\n"


class RecordReader:
    """Iterates over the whole records of all logs of a directory whose names match a pattern, log by log.

    `num_damaged` counts the lines that it has left out.
    """

    def __init__(self, directory: Path, pattern: str):
        self.paths = sorted(directory.glob(pattern))
        self.num_damaged = 0

    def __iter__(self) -> Iterator[dict]:
        self.num_damaged = 0
        for path in self.paths:
            with open(path, "rb") as lines:
                for line in lines:
                    row = self._row(line)
                    if row is not None:
                        yield row

    def _row(self, line: bytes) -> dict | None:
        text, end = line[:-1], line[-1:]
        if end == b"\n" and _is_whole(text):
            row = json.loads(text)
            del row["checksum"]
            return row
        older = older_records.text_of_line(text) if end == b"\n" else None
        if older is not None:
            return json.loads(older)
        if line != b"\n":
            self.num_damaged += 1
        return None


def write_record_file(path: Path, rows: Iterable[dict]) -> None:
    """Writes a whole file of records, atomically; it is on the disk when this returns."""
    lines = [to_line(row) for row in rows]
    files.write_atomic(path, b"\n".join([*lines, _last_line(lines), b""]))


def _last_line(lines: list[bytes]) -> bytes:
    seals = b"".join([line[-SEAL_BYTES:] for line in lines])
    return to_line({"records": len(lines), "seals": _digest(seals).decode()})


def read_record_file(path: Path) -> list[dict]:
    """All rows of a file that `write_record_file` wrote.

    Raises:
        FileNotFoundError: There is no such file.
        DamagedRecords: It is not complete, or a line of it was changed, moved or lost.
    """
    content = path.read_bytes()
    parts = content.split(b"\n")
    lines, end = parts[:-2], parts[-2:]
    if end == [_last_line(lines), b""] and all(map(_is_whole, lines)):
        rows = json.loads(b"[%b]" % b",".join(lines))
        for row in rows:
            del row["checksum"]
        return rows
    older = older_records.texts_of_file(content)
    if older is None:
        raise DamagedRecords(f"{path} is damaged")
    return [json.loads(text) for text in older]
