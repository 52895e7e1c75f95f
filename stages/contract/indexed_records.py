"""Records of finished prompts by their number, so that a kill at any instant loses nothing that was finished.

state/<name>.a2.r0.records      of attempt 2, rank 0: only this process writes it
"""

from collections.abc import Iterable
from pathlib import Path

from stages.contract.records import RecordLog, RecordReader


class IndexedRecords:
    """Rows by their `index`: those of all attempts and ranks that came before, and those of this process."""

    def __init__(self, directory: Path, name: str, attempt: int, rank: int):
        """Reads what is there.

        Args:
            directory: Where the files are.
            name: What the records are of; files of other names are left alone.
            attempt: The number of this attempt at the stage.
            rank: The rank of this process.
        """
        reader = RecordReader(directory, f"{name}.a*.r*.records")
        self.rows: dict[int, dict] = {}
        self.add(reader)
        self.num_damaged = reader.num_damaged
        self._log = RecordLog(directory / f"{name}.a{attempt}.r{rank}.records")

    def __contains__(self, index: int) -> bool:
        return index in self.rows

    def append(self, row: dict) -> None:
        """Keeps a finished row, here and on the disk."""
        self._log.append(row)
        self._log.sync()
        self.rows[row["index"]] = row

    def add(self, rows: Iterable[dict]) -> None:
        """Takes in what is on the disk already; the first row of an index counts."""
        for row in rows:
            self.rows.setdefault(row["index"], row)

    def forget(self, indices: Iterable[int]) -> None:
        """Drops rows that nobody will ask for again, so that memory does not grow with them."""
        for index in indices:
            self.rows.pop(index, None)
