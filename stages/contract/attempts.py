"""What a stage has cost so far, from the heartbeats of all its attempts: also of those that were killed. Pure; the
driver uses it too.

A rank writes logs/attempt_N/rankR.json every two seconds: the hours of a killed attempt are known up to its last one.
"""

import json
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Attempt:
    number: int
    total_s: float  # of the rank that lived longest
    startup_s: float  # until its engines were up; all of it where they never were
    rank_s: float  # of all ranks together: processor or GPU seconds


def attempts(stage_dir: Path) -> list[Attempt]:
    """The attempts of a stage directory that left heartbeats, in order. Damaged files are left out."""
    found = []
    for directory in sorted(stage_dir.glob("logs/attempt_*"), key=lambda path: int(path.name.split("_")[1])):
        beats = [beat for path in directory.glob("rank*.json") if (beat := _beat(path))]
        if beats:
            spans = [max(0.0, beat["updated"] - beat["started"]) for beat in beats]
            startups = [
                span if beat.get("startup_s") is None else min(span, beat["startup_s"])
                for beat, span in zip(beats, spans)
            ]
            found.append(Attempt(int(directory.name.split("_")[1]), max(spans), max(startups), sum(spans)))
    return found


def timing(found: list[Attempt]) -> dict:
    """The manifest's "timing" over all attempts."""
    return {
        "total_s": round(sum(a.total_s for a in found), 2),
        "startup_s": round(sum(a.startup_s for a in found), 2),
        "rank_s": round(sum(a.rank_s for a in found), 2),
        "attempts": max((a.number for a in found), default=1),
    }


def _beat(path: Path) -> dict | None:
    try:
        beat = json.loads(path.read_text(encoding="utf-8"))
        return beat if beat["updated"] >= beat["started"] else None
    except (OSError, ValueError, LookupError, TypeError):
        return None
