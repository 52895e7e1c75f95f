"""The numbers of a stage's steps while it runs, read from the growing end of its metrics.jsonl."""

import json
from pathlib import Path

# what is followed: the name in metrics.jsonl -> how people call it; the first of a stage's that there are
FOLLOWED = {
    "reward/mean": "reward",
    "completion/mean_tokens": "tokens",
    "completion/language": "language",
    "train/loss": "loss",
}
OF_RL = ("reward", "tokens", "language")
MAX_KEPT = 20_000  # steps; the paper's longest stage has 10,400


class StepNumbers:
    """Reads what is new in a metrics.jsonl each time it is asked."""

    def __init__(self, path: Path):
        """Reads nothing yet; the file may not be there."""
        self.path = path
        self.position = 0
        self.values: dict[str, list[float]] = {}

    def read(self) -> dict[str, list[float]]:
        """Name -> the values of all steps so far: reward, tokens and language of RL, the loss of other training."""
        try:
            size = self.path.stat().st_size
            if size < self.position:  # cut back to a checkpoint
                self.position, self.values = 0, {}
            with open(self.path, "rb") as stream:
                stream.seek(self.position)
                new = stream.read()
        except OSError:
            return self._shown()
        whole = new[: new.rfind(b"\n") + 1]
        self.position += len(whole)
        for line in whole.splitlines():
            self._add(line)
        return self._shown()

    def _add(self, line: bytes) -> None:
        try:
            row = json.loads(line)
        except ValueError:  # half a line, of a worker that was killed
            return
        for metric, name in FOLLOWED.items():
            value = row.get(metric) if isinstance(row, dict) else None
            if isinstance(value, (int, float)):
                self.values.setdefault(name, []).append(float(value))
                del self.values[name][:-MAX_KEPT]

    def _shown(self) -> dict[str, list[float]]:
        of_rl = {name: self.values[name] for name in OF_RL if name in self.values}
        return of_rl or dict(self.values)
