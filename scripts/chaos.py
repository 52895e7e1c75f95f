"""Kills a run again and again, and compares what it makes in the end with a run that nobody touched.

    python scripts/chaos.py --kills 40

    a short run of the tiny recipe, undisturbed          every stage kind; the hashes of all it makes are kept
    again and again, for one stage at a time:
        its directory is taken away, the others stay     a kill then costs one or two starts of the workers
        the driver starts it; one of its processes, or all, gets SIGKILL, SIGTERM or SIGINT, at a random instant or at a
        named place in the code sometimes the newest checkpoint, or what it goes on with, is damaged, and the resumed
        attempt is killed too, up to --most kills
        the same command until it is done                all hashes must be those of the undisturbed run, and no process
                                                         may be left

All that is random follows from --seed and the number of the round. The named places are in `chaos_tools/places.py`; the
signal there is sent by the process itself (`chaos_tools/site/sitecustomize.py`), so that the product has no hooks for
this. Exit code 1: something differed; its directory is kept.
"""

import argparse
import collections
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import time
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from pipeline.execution.guard import kill_all
from scripts.chaos_tools.driver import TIMEOUT_S, Driver, Ending
from scripts.chaos_tools.kill import DISK, Kill, damage, draw_fault, draw_kill, signal_name
from scripts.chaos_tools.outcome import differences, left_over, outcome
from scripts.chaos_tools.places import HANGS, places_of
from scripts.chaos_tools.recipes import KINDS, SHORT
from scripts.chaos_tools.small_disk import SmallDisk, small_disk
from stages.contract.files import append_jsonl, read_jsonl
from stages.contract.manifest import Manifest

INTERRUPTED, MOST_RESUMES = 75, 4
DAMAGE_SHARE, FAULT_SHARE = 0.3, 0.5
DISK_KIB = 2**17


@dataclass
class Round:
    """What a round did and found. A kill comes with how far the stage had come."""

    number: int
    stage: str
    kills: list[tuple[Kill, str]] = field(default_factory=list)
    misses: list[Kill] = field(
        default_factory=list
    )  # the stage was done before it came by there so often, or before the moment
    damages: list[str] = field(default_factory=list)
    endings: list[int | None] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    litter: list[str] = field(default_factory=list)

    def record(self, settings: argparse.Namespace) -> dict:
        """What is kept of the round: a line of the file of --record."""
        kills = [
            {
                "who": kill.who,
                "signal": "full disk" if kill.who == DISK else signal_name(kill.signal),
                "where": kill.place.name if kill.place else kill.span,
                "what": str(kill),
                "at": far,
            }
            for kill, far in self.kills
        ]
        return {
            "seed": settings.seed,
            "round": self.number,
            "stage": self.stage,
            "recipe": settings.recipe,
            "processes": settings.processes,
            "zero": settings.zero,
            "lora": settings.lora,
            "sampler": settings.sampler,
            "orchestrator": settings.orchestrator,
            "kills": kills,
            "damages": self.damages,
            "endings": self.endings,
            "problems": self.problems,
            "litter": self.litter,
        }

    def line(self, seconds: float) -> str:
        what = [
            *(f"{kill} ({far})" for kill, far in self.kills),
            *(f"not reached: {kill}" for kill in self.misses),
            *self.damages,
        ]
        litter = f" | left over: {', '.join(self.litter)}" if self.litter else ""
        result = "same" if not self.problems else "DIFFERENT: " + "; ".join(self.problems)
        return (
            f"{self.number:4} {self.stage:16} {'; '.join(what)} | exit codes {self.endings} {seconds:.0f} "
            f"s{litter} | {result}"
        )


class Chaos:
    """The undisturbed run and the rounds against it."""

    def __init__(self, work: Path, settings: argparse.Namespace):
        self.work, self.settings = work, settings
        short = SHORT[settings.recipe]
        overrides = [
            f"recipe={settings.recipe}",
            "run=chaos",
            f"orchestrator={settings.orchestrator}",
            f"launcher.num_processes={settings.processes}",
            "launcher.grace_s=60",
            "launcher.min_free_gib=0",
            f"rollout={settings.sampler}",
            *(f"stages.{stage}.{key}={value}" for stage, values in short.items() for key, value in values.items()),
            *(f"stages.{stage}.reward_timeout_s=20" for stage in short if KINDS.get(stage) == "grpo"),
            *(
                f"stages.{stage}.deepspeed.zero_stage={settings.zero}"
                for stage in short
                if KINDS.get(stage) in ("grpo", "sft", "reward_models")
            ),
            *(["lora=on", "lora.rank=4"] if settings.lora else []),
        ]
        self.driver = Driver(overrides, settings.processes)
        self.whole = work / "undisturbed" / "chaos"
        last = max(list(short).index(stage) for stage in settings.stages)
        self.made = list(short)[: last + 1]  # what the stages to kill may need

    def run_undisturbed(self) -> None:
        """Once; a directory that has it already is taken, if nobody disturbed it."""
        self.whole.parent.mkdir(parents=True, exist_ok=True)
        ending = self.driver.run(self.whole.parent, f"[{','.join(self.made)}]", timeout_s=TIMEOUT_S * len(self.made))
        attempts = (
            {stage: Manifest.read(self.whole / stage / "latest").timing.attempts for stage in self.made}
            if ending.code == 0
            else {}
        )
        if ending.code != 0 or set(attempts.values()) != {1}:
            raise SystemExit(f"the undisturbed run ended with {ending.code}, attempts {attempts}:\n{tail(ending.log)}")
        self.expected = {stage: outcome(self.whole / stage / "latest") for stage in self.made}
        print(
            f"undisturbed run in {ending.seconds:.0f} s: {sum(map(len, self.expected.values()))} hashes of "
            f"{len(self.made)} stages",
            flush=True,
        )

    def round(self, number: int, stage: str) -> Round:
        """One stage from nothing to its end, through one kill or several."""
        rng = random.Random(f"chaos {self.settings.seed} {number}")
        found = Round(number, stage)
        runs_dir = self.work / f"round_{number}"
        self._copy_others(runs_dir, stage)
        directory = runs_dir / "chaos" / stage / "latest"
        with small_disk(runs_dir / "chaos" / stage, DISK_KIB) if self.settings.faults else nullcontext() as disk:
            self._disturb(found, rng, runs_dir, disk)
            self._finish(found, runs_dir, stage)
            if not found.problems:
                found.problems = [f"{name} differs" for name in differences(outcome(directory), self.expected[stage])]
                found.litter = left_over(directory, self.whole / stage / "latest")
            if disk and found.problems:
                shutil.copytree(disk.path, runs_dir / "small_disk", symlinks=True)
        if not found.problems:
            shutil.rmtree(runs_dir)
        return found

    def _disturb(self, found: Round, rng: random.Random, runs_dir: Path, disk: SmallDisk | None) -> None:
        """The kills of a round, one an attempt."""
        stage, directory = found.stage, runs_dir / "chaos" / found.stage / "latest"
        timing = Manifest.read(self.whole / stage / "latest").timing
        span_s = {"start-up": timing.startup_s, "work": timing.total_s - timing.startup_s}
        places = [
            place
            for place in places_of(KINDS[stage], self.settings.sampler)
            if re.search(self.settings.places, place.name)
        ]
        first = [place for place in places if not place.needs_checkpoint]
        for attempt in range(rng.randint(1, self.settings.most)):
            if disk and rng.random() < FAULT_SHARE:
                kill = draw_fault(rng, [place for place in HANGS if KINDS[stage] in place.kinds])
            else:
                kill = draw_kill(
                    rng, places if attempt else first, self.settings.processes, self.settings.orchestrator == "prefect"
                )
            ending = self._start(found, runs_dir, stage, kill, span_s.get(kill.span, 0.0), disk)
            if kill.who == DISK and ending.code not in (0, 3):
                found.problems.append(f"a full disk ended the driver with {ending.code}, not 3:\n{tail(ending.log)}")
            if ending.was_hit:
                found.kills.append((kill, how_far(directory)))
            else:
                found.misses.append(kill)
            if (directory / "manifest.json").exists() or found.problems:
                break
            if rng.random() < DAMAGE_SHARE and (text := damage(directory, rng)):
                found.damages.append(text)

    def _copy_others(self, runs_dir: Path, stage: str) -> None:
        shutil.rmtree(runs_dir, ignore_errors=True)
        for path in self.whole.iterdir():
            if path.is_dir() and path.name != stage:
                shutil.copytree(path, runs_dir / "chaos" / path.name, symlinks=True, copy_function=os.link)

    def _start(
        self,
        found: Round,
        runs_dir: Path,
        stage: str,
        kill: Kill | None = None,
        span_s: float = 0.0,
        disk: SmallDisk | None = None,
    ) -> Ending:
        ending = self.driver.run(runs_dir, stage, kill, span_s, disk=disk)
        found.endings.append(ending.code)
        if ending.code is None:
            found.problems.append(f"no end within {TIMEOUT_S} s of {ending.log}")
        found.problems += [f"left behind: {process}" for process in ending.left]
        return ending

    def _finish(self, found: Round, runs_dir: Path, stage: str) -> None:
        """The same command, undisturbed; again where it was interrupted."""
        for _ in range(MOST_RESUMES):
            ending = self._start(found, runs_dir, stage)
            if ending.code != INTERRUPTED or found.problems:
                break
        if ending.code:
            found.problems.append(f"the resumed run ended with {ending.code}:\n{tail(ending.log)}")


def how_far(directory: Path) -> str:
    """Where a stage was stopped."""
    if not directory.exists():
        return "no directory yet"
    if (directory / "manifest.json").exists():
        return "done"
    saved = [
        path
        for path in directory.glob("state/**/*")
        if re.fullmatch(r"step_\d+", path.name) or (path.parent.name == "state" and path.suffix == ".json")
    ]
    return f"{len(read_jsonl(directory / 'metrics.jsonl'))} logged, {len(saved)} saved"


def tail(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-25:])


def summary(rounds: list[Round]) -> str:
    """Tables of the rounds.

    A line for each stage: kills by signal and by where they hit, damaged checkpoints, rounds that differed. Then which
    processes were hit.
    """
    lines = [
        f"{'stage':16} {'rounds':>6} {'kills':>6} {'KILL':>5} {'TERM':>5} {'INT':>5} {'faults':>7} {'moments':>8} "
        f"{'places':>7} {'damaged':>8} {'different':>10}"
    ]
    for stage in [*KINDS, "all"]:
        mine = [r for r in rounds if stage in (r.stage, "all")]
        kills = [kill for r in mine for kill, _ in r.kills]
        signals = collections.Counter(signal_name(kill.signal) for kill in kills)
        if mine:
            lines.append(
                f"{stage:16} {len(mine):6} {len(kills):6} {signals['SIGKILL']:5} {signals['SIGTERM']:5} "
                f"{signals['SIGINT']:5} {signals['HANG']:7} "
                f"{sum(bool(kill.span) for kill in kills):8} {sum(bool(kill.place) for kill in kills):7} "
                f"{sum(len(r.damages) for r in mine):8} {sum(bool(r.problems) for r in mine):10}"
            )
    who = collections.Counter(kill.who for r in rounds for kill, _ in r.kills)
    names = {kill.place.name for r in rounds for kill, _ in r.kills if kill.place}
    return "\n".join(
        [
            *lines,
            f"who: {', '.join(f'{name} {count}' for name, count in sorted(who.items()))}; "
            f"{len(names)} different places",
        ]
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=40, help="signals to send, over all rounds")
    parser.add_argument("--most", type=int, default=2, help="kills of one round: from one to so many")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--first", type=int, default=0, help="number of the first round: repeat one with --first N --kills 1"
    )
    parser.add_argument(
        "--recipe",
        choices=tuple(SHORT),
        default="tiny",
        help="smollm2: after `r1 models get smollm2-135m`, one process",
    )
    parser.add_argument("--stages", help="stages to kill, in turn; by default all that the recipe has")
    parser.add_argument("--processes", type=int, choices=(1, 2), default=2)
    parser.add_argument("--zero", type=int, choices=(0, 2, 3), default=0)
    parser.add_argument("--lora", action="store_true", help="all stages but pretraining train adapters")
    parser.add_argument("--sampler", choices=("vllm", "transformers"), default="vllm")
    parser.add_argument(
        "--orchestrator",
        choices=("none", "prefect"),
        default="none",
        help="prefect: its embedded server can be hit too",
    )
    parser.add_argument(
        "--places",
        default="",
        help="regular expression: of the named places only these, checkpoint for example; moments stay",
    )
    parser.add_argument("--minutes", type=float, default=0, help="begin no round after so long; 0: no limit")
    parser.add_argument(
        "--faults",
        action="store_true",
        help="each stage on a small disk of its own; half of the kills are full disks and hung rewards instead",
    )
    parser.add_argument("--record", type=Path, help="a file to which each round adds a line of JSON")
    parser.add_argument("--work", type=Path, help="where to work; an undisturbed run that is there is used again")
    settings = parser.parse_args()
    known = [stage for stage in KINDS if stage in SHORT[settings.recipe]]
    settings.stages = settings.stages.split(",") if settings.stages else known
    if unknown := set(settings.stages) - set(known):
        parser.error(f"--stages: {', '.join(sorted(unknown))}: stages are {', '.join(known)}")
    if empty := [
        stage
        for stage in settings.stages
        if not any(re.search(settings.places, place.name) for place in places_of(KINDS[stage], settings.sampler))
    ]:
        parser.error(f"--places: {', '.join(empty)} come by none of them, see scripts/chaos_tools/places.py")
    work = (settings.work or Path(tempfile.mkdtemp(prefix="chaos_"))).resolve()
    chaos, rounds = Chaos(work, settings), []
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))
    try:
        chaos.run_undisturbed()
        run_rounds(chaos, settings, rounds)
    finally:
        kill_all()
    failed = [r for r in rounds if r.problems]
    if failed:
        print(f"kept: {', '.join(str(work / f'round_{r.number}') for r in failed)}")
    elif not settings.work:
        shutil.rmtree(work)
    return 1 if failed else 0


def run_rounds(chaos: Chaos, settings: argparse.Namespace, rounds: list[Round]) -> None:
    """One line a round as it ends, then the table."""
    number, started = settings.first, time.monotonic()
    while sum(len(r.kills) for r in rounds) < settings.kills and (
        not settings.minutes or time.monotonic() - started < 60 * settings.minutes
    ):
        begun = time.monotonic()
        rounds.append(chaos.round(number, settings.stages[number % len(settings.stages)]))
        print(rounds[-1].line(time.monotonic() - begun), flush=True)
        if settings.record:
            append_jsonl(settings.record, [rounds[-1].record(settings)])
        number += 1
    print(summary(rounds))


if __name__ == "__main__":
    sys.exit(main())
