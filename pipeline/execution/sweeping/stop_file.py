"""SWEEP/stop: how the driver of a sweep tells jobs in other processes, perhaps on other machines, to end."""

from pathlib import Path

from pipeline.execution.stop import StopRequest
from pipeline.planning.plan import Plan, Step

NAME = "stop"


def ask(sweep_dir: Path, count: int) -> None:
    """Asks all jobs for a checkpoint and an end (1), or for an end at once (2)."""
    sweep_dir.mkdir(parents=True, exist_ok=True)
    (sweep_dir / NAME).write_text(str(count))


def forget(sweep_dir: Path) -> None:
    """Takes a request of an earlier time back."""
    (sweep_dir / NAME).unlink(missing_ok=True)


def count(sweep_dir: Path) -> int:
    """How often the jobs were asked to end."""
    try:
        return int((sweep_dir / NAME).read_text() or 0)
    except (FileNotFoundError, ValueError):
        return 0


class StopFileObserver:
    """Hands what the file says to the stop request of a job."""

    def __init__(self, sweep_dir: Path, stop: StopRequest):
        self.sweep_dir, self.stop = sweep_dir, stop

    def begin(self, step: Step, plan: Plan) -> None:
        """A stage begins."""
        self.poll()

    def poll(self) -> None:
        """Looks at the file."""
        self.stop.count = max(self.stop.count, count(self.sweep_dir))

    def end(self, step: Step, outcome: str) -> None:
        """A stage has ended."""
