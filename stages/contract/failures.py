"""logs/attempt_N/failures_HOST.json: which ranks of an attempt failed, and how. torchrun writes it for the driver.

A rank can say of itself why it failed (error.json), but not when the kernel kills it, nor when it leaves by an exit
code. The process that started it knows all of them.
"""

from dataclasses import dataclass
from pathlib import Path

from stages.contract import files
from stages.contract.json_file import DamagedFile, read_as, to_plain


@dataclass(frozen=True)
class RankFailure:
    """One rank that ended with an exit code other than 0, or by a signal."""

    rank: int
    exit_code: int  # -9 where signal 9 ended it
    time: float  # when that was seen, Unix time


def write_failures(attempt_logs: Path, host: str, failures: list[RankFailure]) -> None:
    """Writes the failures of the ranks of one machine into the log directory of an attempt."""
    files.write_json(attempt_logs / f"failures_{host}.json", to_plain(failures))


def read_failures(attempt_logs: Path) -> list[RankFailure]:
    """The failures that all machines have written for an attempt. A damaged file counts as none."""
    found: list[RankFailure] = []
    for path in sorted(attempt_logs.glob("failures_*.json")):
        try:
            found += read_as(list[RankFailure], path, "list of failed ranks")
        except (OSError, DamagedFile):
            continue
    return found
