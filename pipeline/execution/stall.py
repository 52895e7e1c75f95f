"""Tells whether a running stage has stopped making progress, and which rank holds the others up."""

import datetime
import time
from pathlib import Path

from pipeline.view.words import duration
from stages.contract.heartbeat import Heartbeat, heartbeats
from stages.contract.progress import StageProgress

SILENT_S = 15  # a rank writes its heartbeat every two seconds


def describe(directory: Path, after_s: float, now: float | None = None) -> str | None:
    """One line on a stage that has made no progress for some time; None while it makes any.

    Args:
        directory: The stage's directory, with progress.json and the heartbeats of its ranks.
        after_s: How many seconds without progress are worth a line.
        now: Unix time to take for the present; None for the present.
    """
    now = time.time() if now is None else now
    progress = StageProgress.find(directory)
    if progress is None or not progress.updated or progress.has_ended or now - progress.updated < after_s:
        return None
    ranks = _ranks(directory / "logs" / "latest", now) or f"phase {progress.phase} since {_clock(progress.updated)}"
    return f"no progress for {duration(now - progress.updated)}: {ranks}"


def last_words(logs: Path) -> str:
    """What the ranks of an attempt were at when it ended; "" where they left nothing.

    NCCL ends a process that waited too long, and the process says nothing of it.
    """
    ends = [beat.updated for beat in heartbeats(logs)]
    return _ranks(logs, max(ends)) if ends else ""


def _ranks(logs: Path, now: float) -> str:
    """What every rank is at, the one that holds the others up first."""
    beats = heartbeats(logs)
    beats.sort(key=lambda beat: (beat.updated > now - SILENT_S, beat.waits_in is not None, beat.rank))
    return "; ".join(_rank(beat, now) for beat in beats)


def _rank(beat: Heartbeat, now: float) -> str:
    where = f"phase {beat.phase} of step {beat.step}" + (f" ({beat.at})" if beat.at else "")
    if beat.updated < now - SILENT_S:
        return f"rank {beat.rank} does not respond since {_clock(beat.updated)}, it was in {where}"
    doing = f"waits in {beat.waits_in}," if beat.waits_in else "is"
    return f"rank {beat.rank} {doing} in {where} since {_clock(beat.since)}"


def _clock(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds).strftime("%H:%M:%S")
