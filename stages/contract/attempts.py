"""What a stage has cost so far, from the heartbeats of all its attempts, those that were killed included.

A rank writes its heartbeat every two seconds: the hours of a killed attempt are known up to its last one.
"""

from dataclasses import dataclass
from pathlib import Path

from stages.contract.heartbeat import heartbeats
from stages.contract.manifest import Timing


@dataclass(frozen=True)
class Attempt:
    """The time that one attempt at a stage took, in seconds."""

    number: int
    total_s: float  # of the rank that lived longest
    startup_s: float  # until its engines were up; all of it where they never were
    rank_s: float  # of all ranks together: processor or GPU seconds


def attempts(stage_dir: Path) -> list[Attempt]:
    """The attempts of a stage directory that left heartbeats, in order. Damaged heartbeats are left out."""
    found = []
    for directory in sorted(stage_dir.glob("logs/attempt_*"), key=_number):
        beats = [beat for beat in heartbeats(directory) if 0.0 < beat.started <= beat.updated]
        if beats:
            spans = [beat.updated - beat.started for beat in beats]
            startups = [
                span if beat.startup_s is None else min(span, beat.startup_s)
                for beat, span in zip(beats, spans, strict=True)
            ]
            found.append(Attempt(_number(directory), max(spans), max(startups), sum(spans)))
    return found


def _number(attempt_dir: Path) -> int:
    return int(attempt_dir.name.split("_")[1])


def timing(found: list[Attempt]) -> Timing:
    """The time of a stage over all its attempts, as its manifest has it."""
    return Timing(
        total_s=round(sum(attempt.total_s for attempt in found), 2),
        startup_s=round(sum(attempt.startup_s for attempt in found), 2),
        rank_s=round(sum(attempt.rank_s for attempt in found), 2),
        attempts=max((attempt.number for attempt in found), default=1),
    )
