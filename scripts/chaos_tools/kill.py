"""Who of a run gets which signal, where or when; and what can happen to a checkpoint."""

import json
import os
import random
import re
import signal
from dataclasses import dataclass
from pathlib import Path

from .places import Place

ROOT = Path(__file__).resolve().parents[2]
SITE = Path(__file__).resolve().parent / "site"
HANG = 0  # in the place of a signal: the call never returns
DISK = "disk"  # in the place of a process: the stage's file system is full from that moment on
SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
MOMENT_SHARE, SELF_SHARE = 0.35, 0.6  # kills at a moment; at a place, those of the process that comes by


@dataclass(frozen=True)
class Kill:
    """One kill: who is hit, with which signal, and where or when.

    Without a `place` it comes at a moment: when `share` of the start-up or of the work (`span`) has passed, by the
    clock of the undisturbed stage.
    """

    who: str
    signal: int
    place: Place | None = None
    inside: str = ""
    when: str = ""
    call: int = 0
    span: str = ""
    share: float = 0.0

    def __str__(self) -> str:
        where = (
            f"{self.when} {self.place.name} #{self.call} in {self.inside}"
            if self.place
            else f"at {self.share:.0%} of the {self.span}"
        )
        return f"full disk {where}" if self.who == DISK else f"{signal_name(self.signal)} to {self.who} {where}"

    def environment(self, note: Path) -> dict[str, str]:
        if not self.place:
            return {}
        plan = {
            "in": self.inside,
            "place": self.place.target,
            "match": self.place.match,
            "call": self.call,
            "when": self.when,
            "who": self.who,
            "signal": self.signal,
            "note": str(note),
        }
        return {"PYTHONPATH": os.pathsep.join((str(SITE), str(ROOT))), "CHAOS": json.dumps(plan)}


def signal_name(number: int) -> str:
    return signal.Signals(number).name if number else "HANG"


def draw_fault(rng: random.Random, hangs: list[Place]) -> Kill:
    """A disk that fills up, or a call of rank 0 that never returns, where the stage has such calls."""
    if hangs and rng.random() < 0.5:
        place = rng.choice(hangs)
        return Kill("rank0", HANG, place, "rank0", "before", rng.randint(1, place.calls))
    return Kill(DISK, HANG, span="work", share=rng.random())


def draw_kill(rng: random.Random, places: list[Place], num_processes: int, has_server: bool = False) -> Kill:
    """Draws a kill at a random moment or place.

    At the driver's places only the driver is hit, because it does not know the other processes there. `has_server`:
    Prefect's server can be hit too, at moments only.
    """
    ranks = [f"rank{i}" for i in range(num_processes)]
    everyone = [*ranks, "launcher", "guard", "driver", "all"]
    number = rng.choice(SIGNALS)
    place = None if rng.random() < MOMENT_SHARE else rng.choice(places)
    inside = (
        ""
        if not place
        else "driver"
        if place.side == "driver"
        else rng.choice(ranks)
        if place.side == "any"
        else "rank0"
    )
    who = (
        inside
        if inside == "driver" or (inside and rng.random() < SELF_SHARE)
        else rng.choice(everyone if place or not has_server else [*everyone, "server"])
    )
    if (who, number) == ("guard", signal.SIGINT):  # which it ignores
        number = signal.SIGTERM
    if place:
        return Kill(who, number, place, inside, rng.choice(place.when), rng.randint(1, place.calls))
    return Kill(who, number, span=rng.choice(("start-up", "work")), share=rng.random())


def damage(directory: Path, rng: random.Random) -> str:
    """Spoils one file of the newest checkpoint, or one that it goes on with.

    Returns what was done, "" where there is no such file.
    """
    checkpoint = _of_newest_checkpoint(directory)
    step = int(re.search(r"step_(\d+)", str(checkpoint[0].relative_to(directory)))[1]) if checkpoint else 0
    logs = [
        path for path in directory.glob("rollouts/step_*/*") if int(path.parent.name.split("_")[1]) >= step
    ]  # nobody looks at older ones any more
    chosen = [files for files in (checkpoint, sorted(logs), sorted(directory.glob("references/step_*"))[-1:]) if files]
    if not chosen:
        return ""
    return spoil(directory, rng.choice(rng.choice([chosen[0], *chosen])), rng)


def damage_logs(directory: Path, rng: random.Random) -> str:
    """Spoils the newest rollouts and the newest reference."""
    return "; ".join(
        spoil(directory, sorted(directory.glob(pattern))[-1], rng) for pattern in ("rollouts/*/*", "references/*")
    )


def _of_newest_checkpoint(directory: Path) -> list[Path]:
    checkpoints = sorted(
        (path for path in directory.glob("state/**/step_*") if path.is_dir()),
        key=lambda path: (path.parent.name, path.name),
    )
    return sorted(path for path in checkpoints[-1].rglob("*") if path.is_file()) if checkpoints else []


def spoil(directory: Path, path: Path, rng: random.Random) -> str:
    """Cuts, removes, or flips a bit of a file."""
    how = rng.choice(("cut", "flipped a byte of", "removed"))
    content = bytearray(path.read_bytes())
    if how == "removed" or not content:
        path.unlink()
    elif how == "cut":
        path.write_bytes(content[: rng.randrange(len(content))])
    else:
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        path.write_bytes(content)
    return f"{how} {path.relative_to(directory)}"
