"""What a tracker is told: who a stage is, its steps, completions and alarms, and how it ended."""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol


@dataclass(frozen=True)
class TrackedStage:
    """One stage of a run, which is one run of the tracker."""

    id: str  # of the tracker's run: the same after a kill
    stage: str
    kind: str
    fingerprint: str
    directory: str
    run: str
    recipe: str
    seed: int
    group: str
    run_dir: str
    tracker: dict[str, Any]  # the section of the configuration
    parameters: dict[str, Any] = field(default_factory=dict)  # dotted keys of the stage's configuration

    @property
    def name(self) -> str:
        """What people see of it."""
        return f"{self.stage} {self.fingerprint[:8]}"

    @property
    def path(self) -> Path:
        """Its directory."""
        return Path(self.directory)

    @property
    def labels(self) -> dict[str, Any]:
        """What identifies it, by name."""
        return {
            "stage": self.stage,
            "kind": self.kind,
            "run": self.run,
            "recipe": self.recipe,
            "seed": self.seed,
            "fingerprint": self.fingerprint,
        }

    def to_plain(self) -> dict[str, Any]:
        """Its fields as JSON has them."""
        return asdict(self)


class Sink(Protocol):
    """A tracker. Any exception that it raises ends the tracking of the stage, and nothing else.

    It may have more: `where`, a text that tells people where to look; `notes`, what went wrong without an exception;
    `can_cut_back` and `cut_back(last_step)`, where it can take steps back.
    """

    def begin(self, stage: TrackedStage, first_step: int) -> int | None:
        """Opens the run of a stage, or goes on with it.

        Args:
            stage: who it is.
            first_step: the first step that will be sent.

        Returns:
            The last step that the tracker has; None where it cannot tell.
        """
        ...

    def step(self, step: int, metrics: dict[str, float], completions: list[dict], seconds: float) -> None:
        """Takes the numbers of a step and some of its completions.

        Args:
            step: its number; it is greater than the one before.
            metrics: the numbers, by name.
            completions: rows of samples.jsonl.
            seconds: Unix time.
        """
        ...

    def alarm(self, row: dict) -> None:
        """Takes a row of alarms.jsonl."""
        ...

    def end(self, outcome: str, metrics: dict[str, float], completions: list[dict], files: list[Path]) -> None:
        """Closes the run of the stage.

        Args:
            outcome: DONE, FAILED or INTERRUPTED. The last one is gone on with later.
            metrics: the numbers at its end.
            completions: rows of samples.jsonl that belong to no step of metrics.jsonl.
            files: to be kept as an artifact: the report, results.
        """
        ...


COLUMNS = ("step", "model", "set", "kind", "language", "prompt", "answer", "completion", "reward", "correct")


def table(rows: list[dict]) -> tuple[list[str], list[list[Any]]]:
    """(columns, rows) of sampled completions: the known columns that any row has, in their order."""
    columns = [name for name in COLUMNS if any(row.get(name) is not None for row in rows)]
    return columns, [[_cell(row.get(name)) for name in columns] for row in rows]


def _cell(value: Any) -> Any:
    return value if isinstance(value, (str, int, float, bool)) or value is None else str(value)
