"""Reads the logs of a stage as they grow, and after they were cut back to a checkpoint."""

import json
from dataclasses import dataclass, field
from pathlib import Path

from stages.contract.manifest import Manifest

NOT_COMPARED = ("time/", "perf/")  # a clock decides them: a repeated step has others
ARTIFACTS = ("report.html", "results.json", "comparisons.json", "data/card.md")


@dataclass
class GrowingRows:
    """The rows of a JSON lines file. Only what is new is read."""

    path: Path
    rows: list[dict] = field(default_factory=list)
    _inode: int = 0
    _position: int = 0

    def refresh(self) -> None:
        """Reads what is new. A file that was replaced, as one that is cut back is, is read from its beginning."""
        try:
            stat = self.path.stat()
        except FileNotFoundError:
            return
        if stat.st_ino != self._inode or stat.st_size < self._position:
            self.rows, self._inode, self._position = [], stat.st_ino, 0
        if stat.st_size == self._position:
            return
        with open(self.path, "rb") as stream:
            stream.seek(self._position)
            data = stream.read()
        whole = data[: data.rfind(b"\n") + 1]  # a line that is still being written waits
        self._position += len(whole)
        self.rows += [json.loads(line) for line in whole.split(b"\n") if line.strip()]


class StageFeed:
    """The steps, completions and alarms of a stage directory."""

    def __init__(self, directory: Path, num_completions: int):
        self.directory = directory
        self.metrics = GrowingRows(directory / "metrics.jsonl")
        self.samples = GrowingRows(directory / "samples.jsonl")
        self.alarms = GrowingRows(directory / "alarms.jsonl")
        self.num_completions = num_completions
        self._seen: dict[int, dict] = {}  # rows of steps as they were first read

    def refresh(self) -> list[int]:
        """Reads what is new.

        Returns:
            The steps that an attempt which was cut back to its checkpoint has made again with other numbers.
        """
        self.metrics.refresh()
        self.samples.refresh()  # after the metrics: a stage writes a step's completions first
        self.alarms.refresh()
        changed = []
        for row in self.metrics.rows:
            before = self._seen.setdefault(row["step"], row)
            if before is not row and _compared(before) != _compared(row):
                changed.append(row["step"])
                self._seen[row["step"]] = row
        return changed

    @property
    def last_step(self) -> int:
        """The last step in the log; 0 where there is none."""
        return self.metrics.rows[-1]["step"] if self.metrics.rows else 0

    def steps_after(self, last: int) -> list[dict]:
        """Rows of metrics.jsonl whose steps are later than `last`."""
        return [row for row in self.metrics.rows if row["step"] > last]

    def completions(self, step: int) -> list[dict]:
        """Some of the completions that were sampled for a step."""
        return [row for row in self.samples.rows if row["step"] == step and "reward" in row][: self.num_completions]

    def forget_completions(self, last: int) -> None:
        """Drops those of the steps up to `last`, which were sent."""
        self.samples.rows = [row for row in self.samples.rows if row["step"] > last or "reward" not in row]

    def completions_of_result(self) -> list[dict]:
        """Completions of no step: some of each evaluated model and set, or of the data that was built."""
        groups: dict[tuple, list[dict]] = {}
        for row in self.samples.rows:
            if "reward" not in row:
                groups.setdefault((row.get("model"), row.get("set")), []).append(row)
        return [row for rows in groups.values() for row in rows[: self.num_completions]]

    def final_metrics(self) -> dict[str, float]:
        """The numbers of the finished stage; none where it is not finished."""
        manifest = Manifest.find(self.directory)
        return dict(manifest.metrics) if manifest is not None else {}

    def artifacts(self) -> list[Path]:
        """The files of a finished stage that people read."""
        return [self.directory / name for name in ARTIFACTS if (self.directory / name).is_file()]


def _compared(row: dict) -> dict[str, str]:
    return {name: repr(value) for name, value in row.items() if not name.startswith(NOT_COMPARED)}
