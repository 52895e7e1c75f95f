"""logs/attempt_N/rankR.json: what one rank of an attempt is at. Each rank writes its own every two seconds."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from stages.contract.json_file import JsonFile


@dataclass(frozen=True, kw_only=True)
class Heartbeat(JsonFile):
    """The state of a rank at the time `updated`. Times are Unix times, in seconds."""

    WHAT: ClassVar[str] = "heartbeat of a rank"

    rank: int
    phase: str = ""
    step: int = 0
    since: float = 0.0  # when phase and step last changed
    updated: float
    at: str = ""  # the line of this repository that the rank is at
    waits_in: str | None = None  # the collective operation that it waits in
    started: float = 0.0  # when the process started; 0: not known
    startup_s: float | None = None  # seconds until its engines were up; None before

    @staticmethod
    def path(logs: Path, rank: int) -> Path:
        """The file of a rank in the directory of an attempt's logs."""
        return logs / f"rank{rank}.json"


def heartbeats(logs: Path) -> list[Heartbeat]:
    """The heartbeats in the directory of an attempt's logs; damaged files are left out."""
    found = [Heartbeat.find_path(path) for path in sorted(logs.glob("rank*.json"))]
    return [beat for beat in found if beat is not None]
