"""logs/attempt_N/failures_HOST.json: which ranks of an attempt failed, and how. torchrun writes it, the driver reads it.

A rank can say of itself why it failed (error.json), but not when the kernel kills it, nor when it leaves by an exit
code. The process that started it knows all of them.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from stages.contract.files import write_json


@dataclass(frozen=True)
class RankFailure:
    """One rank that ended with an exit code other than 0, or by a signal."""

    rank: int
    exit_code: int  # -9 where signal 9 ended it
    time: float  # when that was seen, unix time


def write_failures(attempt_logs: Path, host: str, failures: list[RankFailure]) -> None:
    """Writes the failures of the ranks of one machine into the log directory of an attempt."""
    write_json(attempt_logs / f"failures_{host}.json", [asdict(failure) for failure in failures])


def read_failures(attempt_logs: Path) -> list[RankFailure]:
    """The failures that all machines have written for an attempt. A damaged file counts as none."""
    found = []
    for path in sorted(attempt_logs.glob("failures_*.json")):
        try:
            rows = json.loads(path.read_text(encoding="utf-8"))
            found += [RankFailure(int(row["rank"]), int(row["exit_code"]), float(row["time"])) for row in rows]
        except (OSError, ValueError, LookupError, TypeError):
            continue
    return found
