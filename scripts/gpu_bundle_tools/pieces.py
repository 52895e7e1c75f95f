"""A stream that is written as numbered files of limited size, each with its checksum."""

import hashlib
from pathlib import Path
from typing import Any


class Pieces:
    """Takes bytes like a file and writes `bundle.0001`, `bundle.0002`, ... into a directory."""

    def __init__(self, directory: Path, most_bytes: int):
        """Prepares to write.

        Args:
            directory: Where the pieces go.
            most_bytes: Largest size of a piece, which is held in memory; more than 0.
        """
        self.directory, self.most_bytes = directory, most_bytes
        self.done: list[dict[str, Any]] = []
        self._piece = bytearray()

    def write(self, data: bytes) -> int:
        """Appends bytes; a piece that is full is written."""
        self._piece += data
        while len(self._piece) >= self.most_bytes:
            self._end_piece()
        return len(data)

    def close(self) -> None:
        """Writes the last piece."""
        if self._piece:
            self._end_piece()

    def _end_piece(self) -> None:
        piece = bytes(self._piece[: self.most_bytes])
        del self._piece[: self.most_bytes]
        name = f"bundle.{len(self.done) + 1:04d}"
        (self.directory / name).write_bytes(piece)
        self.done.append({"name": name, "bytes": len(piece), "sha256": hashlib.sha256(piece).hexdigest()})
