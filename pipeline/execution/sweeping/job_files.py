"""SWEEP/NUMBER/job.json: one job of a sweep, what it is and how it stands."""

import os
import socket
import time
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

from stages.contract.files import find_json, write_json

FILE = "job.json"
RUNNING, DONE, FAILED, PRUNED, INTERRUPTED = "running", "done", "failed", "pruned", "interrupted"


@dataclass
class Job:
    """One job of a sweep: its place in it, and how it ended."""

    number: int
    overrides: list[str]
    sweep_dir: Path
    state: str = FAILED
    objective: float | None = None
    name: str = ""  # of the objective, in words
    direction: str = "maximize"
    run_dir: str = ""
    error: str = ""  # the first line of what went wrong
    exit_code: int = 0
    process: str = field(default_factory=lambda: f"{os.getpid()} on {socket.gethostname()}")
    updated: float = 0.0  # Unix time

    def write(self) -> None:
        """Writes the job's file."""
        self.updated = time.time()
        plain = {name: value for name, value in asdict(self).items() if name != "sweep_dir"}
        write_json(self.sweep_dir / str(self.number) / FILE, plain)

    def set_state(self, state: str) -> None:
        """Notes how the job stands."""
        self.state = state
        self.write()


def find_job(sweep_dir: Path, number: int) -> Job | None:
    """The job with this number; None where there is none."""
    return _read(sweep_dir / str(number) / FILE)


def find_jobs(sweep_dir: Path) -> list[Job]:
    """All jobs of a sweep that have begun, in order."""
    found = [job for path in sweep_dir.glob(f"*/{FILE}") if (job := _read(path)) is not None]
    return sorted(found, key=lambda job: job.number)


def _read(path: Path) -> Job | None:
    plain = find_json(path)
    known = {field.name for field in fields(Job)} - {"sweep_dir"}
    if not isinstance(plain, dict) or not {"number", "overrides"} <= plain.keys():
        return None
    return Job(sweep_dir=path.parent.parent, **{name: value for name, value in plain.items() if name in known})
