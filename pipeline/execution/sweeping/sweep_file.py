"""SWEEP/sweep.json: the command of a sweep, and whether it has come to its end: its jobs alone do not tell."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from pipeline.execution.sweeping.directory import SWEEPS
from pipeline.execution.sweeping.job_files import INTERRUPTED, RUNNING, find_jobs
from stages.contract.files import find_json, write_json

FILE = "sweep.json"


@dataclass(frozen=True)
class SweepState:
    """A sweep of a run: its command as it was typed, and how many of its jobs are in each state."""

    name: str
    command: str
    has_ended: bool
    jobs: dict[str, int]


def note(directory: Path, command: str, has_ended: bool) -> None:
    """Writes the file of a sweep."""
    write_json(directory / FILE, {"command": command, "has_ended": has_ended})


def find_sweeps(run_dir: Path, is_held: bool) -> list[SweepState]:
    """The sweeps of a run, the newest first.

    Args:
        run_dir: the run's directory.
        is_held: whether a driver works on the run; without one no job is running.
    """
    found = []
    for path in sorted((run_dir / SWEEPS).glob(f"*/{FILE}"), reverse=True):
        told = find_json(path)
        if not isinstance(told, dict):
            continue
        states = [job.state for job in find_jobs(path.parent)]
        if not is_held:
            states = [INTERRUPTED if state == RUNNING else state for state in states]
        found.append(
            SweepState(
                path.parent.name, str(told.get("command", "")), bool(told.get("has_ended")), dict(Counter(states))
            )
        )
    return found
