"""One line a finished prompt, with its checksum, so that an attempt that is killed at any instant loses nothing that
was finished.

    state/<name>.a2.r0.records      of attempt 2, rank 0: "<first 16 hex digits of the SHA-256> <JSON>" a line; only
                                    this process writes it

A line is on the disk before `append` returns. What is read is checked: a damaged line, or the half line of a kill,
counts as not there.
"""

import hashlib
import json
import os
from pathlib import Path

DIGITS = 16


class Records:
    """Rows by their `index`, of all attempts and ranks that came before, and of this process."""

    def __init__(self, directory: Path, name: str, attempt: int, rank: int):
        directory.mkdir(parents=True, exist_ok=True)
        self.rows: dict[int, dict] = {}
        self.num_damaged = 0
        for path in sorted(directory.glob(f"{name}.a*.r*.records")):
            self._load(path)
        self._path = directory / f"{name}.a{attempt}.r{rank}.records"
        self._stream = None

    def _load(self, path: Path) -> None:
        for line in path.read_bytes().split(b"\n"):
            digest, _, text = line.partition(b" ")
            if line and checksum(text) == digest:
                row = json.loads(text)
                self.rows.setdefault(row["index"], row)
            elif line:
                self.num_damaged += 1

    def __contains__(self, index: int) -> bool:
        return index in self.rows

    def append(self, row: dict) -> None:
        """Keeps a finished row, here and on the disk."""
        text = json.dumps(row, ensure_ascii=False).encode()
        if self._stream is None:
            self._stream = open(self._path, "ab")
        self._stream.write(checksum(text) + b" " + text + b"\n")
        self._stream.flush()
        os.fsync(self._stream.fileno())
        self.rows[row["index"]] = row

    def add(self, rows: list[dict]) -> None:
        """Takes in what other ranks have on the disk."""
        for row in rows:
            self.rows.setdefault(row["index"], row)

    def forget(self, indices) -> None:
        """Rows that nobody will ask for again; memory does not grow with them."""
        for index in indices:
            self.rows.pop(index, None)


def checksum(text: bytes) -> bytes:
    return hashlib.sha256(text).hexdigest()[:DIGITS].encode()
