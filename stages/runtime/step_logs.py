"""The logs of a stage's steps, JSON lines by rank 0: metrics, samples, alarms; and the tokens that were counted.

A stage that goes on from a checkpoint cuts them back to its step, so that every step is logged once.
"""

from pathlib import Path

from stages.contract import files
from stages.contract.manifest import Tokens

METRICS, SAMPLES = "metrics.jsonl", "samples.jsonl"
LOGS = (METRICS, "alarms.jsonl", SAMPLES, "first_words.jsonl")
TOKENS = "tokens.json"


def rounded(value: float) -> float:
    """A number as it is logged.

    Whatever decides something by a metric uses this one, so that a resume, which reads the log, decides alike.
    """
    return round(float(value), 7)


class StepLogs:
    """The logs in a stage directory, for the one process that writes them."""

    def __init__(self, stage_dir: Path):
        self.dir = stage_dir

    def log_step(self, step: int, metrics: dict[str, float]) -> None:
        """Adds a line to metrics.jsonl."""
        row = {"step": step, **{name: rounded(value) for name, value in metrics.items()}}
        files.append_jsonl(self.dir / METRICS, [row])

    def log_samples(self, rows: list[dict]) -> None:
        """Adds lines to samples.jsonl."""
        files.append_jsonl(self.dir / SAMPLES, rows)

    def cut(self, last_step: int, last_sample_step: int | None = None) -> None:
        """Drops what was logged after `last_step` (samples: after `last_sample_step`), to be logged again."""
        for name in LOGS:
            last = last_sample_step if name == SAMPLES else None
            files.cut_jsonl(self.dir / name, last_step if last is None else last)

    def sync(self) -> None:
        """Puts what was logged on the disk, so that no checkpoint is ahead of its logs when the power fails."""
        for name in LOGS:
            if (self.dir / name).exists():
                files.fsync_file(self.dir / name)

    def count_tokens(self, part: str, sampled: int = 0, trained: int = 0) -> None:
        """Counts the tokens of a part of the stage that logs no steps.

        A part that is done again counts once: the sum is what the result needed.
        """
        files.write_json(self.dir / TOKENS, {**self._counted(), part: {"sampled": sampled, "trained": trained}})

    def tokens(self) -> Tokens:
        """Sampled and trained tokens of all logged steps and counted parts."""
        rows = files.read_jsonl(self.dir / METRICS)
        parts = self._counted().values()
        return Tokens(
            sampled=round(sum(row.get("tokens/sampled", 0) for row in rows) + sum(part["sampled"] for part in parts)),
            trained=round(sum(row.get("tokens/trained", 0) for row in rows) + sum(part["trained"] for part in parts)),
        )

    def _counted(self) -> dict[str, dict[str, int]]:
        path = self.dir / TOKENS
        return files.read_json(path) if path.exists() else {}
