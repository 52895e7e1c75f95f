"""Kills a run again and again and compares what it makes in the end with a run that nobody touched: python scripts/chaos.py --kills 40

    a short run of the tiny recipe, undisturbed          every stage kind; the hashes of all it makes are kept
    again and again, for one stage at a time:
        its directory is taken away, the others stay     a kill then costs one or two starts of the workers
        the driver starts it; one of its processes, or all, gets SIGKILL, SIGTERM or SIGINT, at a random instant or at a named place in the code
        sometimes the newest checkpoint is damaged, sometimes the resumed attempt is killed too
        the same command until it is done                all hashes must be those of the undisturbed run, and no process may be left

All that is random follows from --seed and the number of the round. The named places are in `chaos_places.py`; the signal there is sent by the
process itself (`chaos_site/sitecustomize.py`), so that the product has no hooks for this. Exit code 1: something differed; its directory is kept.
"""
import argparse
import collections
import ctypes
import hashlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "scripts")]
from chaos_places import Place, places_of  # noqa: E402
from pipeline.guard import kill_all  # noqa: E402
from stages.files import read_json, read_jsonl, sha256  # noqa: E402

SITE = ROOT / "scripts" / "chaos_site"
SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
TIMEOUT_S, GONE_S = 300, 20
INTERRUPTED, MOST_RESUMES = 75, 4
DAMAGE_SHARE, SECOND_KILL_SHARE, MOMENT_SHARE = 0.3, 0.5, 0.35
KINDS = {"student_base": "pretrain", "r1_zero": "grpo", "cold_start_data": "collect", "cold_start": "sft", "reasoning_rl": "grpo", "rejection_data": "collect",
         "rejection_sft": "sft", "reward_models": "reward_models", "preference_rl": "grpo", "distill": "sft", "evaluate": "evaluate"}
GRPO = {"num_steps": 5, "prompts_per_step": 4, "group_size": 4, "max_completion_tokens": "[[0,48]]", "reference_every": 2, "save_every": 1}
SFT = {"max_steps": 6, "batch_size": 8, "save_every": 1}
SHORT = {
    "base": {"num_steps": 400, "batch_size": 16, "save_every": 100},
    "student_base": {"num_steps": 8, "batch_size": 8, "save_every": 1},
    "r1_zero": GRPO,
    "cold_start_data": {"num_prompts": 48, "samples_per_prompt": 6, "chunk_prompts": 12, "max_completion_tokens": 64, "min_language": 0.3},
    "cold_start": SFT,
    "reasoning_rl": {**GRPO, "num_steps": 6, "updates_per_rollout": 2},
    "rejection_data": {"num_prompts": 48, "chunk_prompts": 12, "max_completion_tokens": 64, "min_language": 0.3, "num_general": 200},
    "rejection_sft": SFT,
    "reward_models": {"num_prompts": 24, "samples_per_prompt": 6, "num_safety_prompts": 24, "batch_size": 8, "num_steps": 4, "safety_steps": 4, "save_every": 1},
    "preference_rl": {**GRPO, "num_steps": 4, "preference_last_steps": 3},
    "distill": SFT,
    "evaluate": {"num_reasoning": 16, "num_general": 16, "num_safety": 8, "max_completion_tokens": 48, "models": "[r1_zero,cold_start,distill]"},
}


# ------------------------------------------------------------------------------------------------------------- what a stage has made


def outcome(directory: Path) -> dict[str, str]:
    """Hashes of all that a finished stage leaves to others, by name; clocks and the machine's speed are left out."""
    found = {str(path.relative_to(directory)): sha256(path) for pattern in ("model/**/*", "data/**/*", "rollouts/*", "results.json")
             for path in directory.glob(pattern) if path.is_file()}
    for name in ("metrics.jsonl", "samples.jsonl", "alarms.jsonl"):
        if (directory / name).exists():
            found[name] = digest(without_clocks(read_jsonl(directory / name)))
    manifest = read_json(directory / "manifest.json")
    found["manifest.json"] = digest({name: manifest[name] for name in ("stage", "kind", "version", "fingerprint", "inputs", "files", "metrics")})
    return found


def without_clocks(rows: list[dict]) -> list[dict]:
    return [{name: value for name, value in row.items() if not name.startswith(("time/", "perf/"))} for row in rows]


def digest(value) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def differences(found: dict[str, str], expected: dict[str, str]) -> list[str]:
    """Names that differ. Which rollouts are still there depends on which checkpoints were written (a stop writes one more); those that both
    runs have must be the same, and there must be some."""
    names = found.keys() | expected.keys()
    rollouts = {name for name in names if name.startswith("rollouts/")}
    both = rollouts & found.keys() & expected.keys()
    different = [name for name in sorted(names - rollouts | both) if found.get(name) != expected.get(name)]
    return different + (["rollouts/"] if rollouts and not both else [])


def left_over(directory: Path, undisturbed: Path) -> list[str]:
    """Files of a finished stage that the undisturbed one does not have; logs, rollouts and the driver's memory apart."""
    def names(root: Path) -> set[str]:
        return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}
    return sorted(name for name in names(directory) - names(undisturbed)
                  if not name.startswith("logs/") and not re.fullmatch(r"rollouts/step_\d+\.jsonl|\.verified\.json|alarms\.jsonl", name))


# -------------------------------------------------------------------------------------------------------------------------- a kill


@dataclass(frozen=True)
class Kill:
    """`place` None: at a moment, `share` of an undisturbed stage's time after its workers are there."""
    who: str
    signal: int
    place: Place | None = None
    inside: str = ""
    when: str = ""
    call: int = 0
    share: float = 0.0

    def __str__(self) -> str:
        where = f"{self.when} {self.place.name} #{self.call} in {self.inside}" if self.place else f"at {self.share:.0%} of its time"
        return f"{signal.Signals(self.signal).name} to {self.who} {where}"

    def environment(self, note: Path) -> dict[str, str]:
        if not self.place:
            return {}
        plan = {"in": self.inside, "place": self.place.target, "match": self.place.match, "call": self.call, "when": self.when, "who": self.who,
                "signal": self.signal, "note": str(note)}
        return {"PYTHONPATH": os.pathsep.join((str(SITE), str(ROOT))), "CHAOS": json.dumps(plan)}


def draw_kill(rng: random.Random, places: list[Place], num_processes: int) -> Kill:
    ranks = [f"rank{i}" for i in range(num_processes)]
    everyone = [*ranks, "launcher", "guard", "driver", "all"]
    number = rng.choice(SIGNALS)
    if rng.random() < MOMENT_SHARE:
        return Kill(rng.choice(everyone), number, share=rng.random())
    place = rng.choice(places)
    inside = "driver" if place.side == "driver" else rng.choice(ranks) if place.side == "any" else "rank0"
    who = inside if inside == "driver" or rng.random() < 0.6 else rng.choice(everyone)
    return Kill(who, number, place, inside, rng.choice(place.when), rng.randint(1, place.calls))


def damage(directory: Path, rng: random.Random) -> str:
    """Spoils one file of the newest checkpoint; returns what was done, "" where there is none."""
    checkpoints = sorted((path for path in directory.glob("state/**/step_*") if path.is_dir()), key=lambda path: (path.parent.name, path.name))
    files = sorted(path for path in checkpoints[-1].rglob("*") if path.is_file()) if checkpoints else []
    if not files:
        return ""
    path, how = rng.choice(files), rng.choice(("cut", "flipped a byte of", "removed"))
    content = bytearray(path.read_bytes())
    if how == "removed" or not content:
        path.unlink()
    elif how == "cut":
        path.write_bytes(content[:rng.randrange(len(content))])
    else:
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        path.write_bytes(content)
    return f"{how} {path.relative_to(directory)}"


# ---------------------------------------------------------------------------------------------------------------------- the driver


@dataclass
class Ending:
    """How one start of the driver ended. `was_hit`: the signal was sent."""
    code: int | None
    was_hit: bool
    seconds: float
    log: Path
    left: list[str] = field(default_factory=list)


class Driver:
    """Starts `python -m pipeline run` and looks after everything that comes of it."""

    def __init__(self, overrides: list[str], num_processes: int):
        self.overrides, self.num_processes = overrides, num_processes
        ctypes.CDLL(None).prctl(36, 1)  # PR_SET_CHILD_SUBREAPER: what a dead driver leaves becomes our child, and is seen

    def run(self, runs_dir: Path, selection: str, kill: Kill | None = None, usual_s: float = 0.0) -> Ending:
        number = sum(1 for _ in runs_dir.glob("driver_*.log"))
        log, note = runs_dir / f"driver_{number}.log", runs_dir / f"hit_{number}"
        command = [sys.executable, "-m", "pipeline", "run", f"+stage={selection}", f"runs_dir={runs_dir}", *self.overrides]
        inherited = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "CHAOS")}
        started = time.monotonic()
        with open(log, "wb") as stream:
            process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=stream, stderr=subprocess.STDOUT, start_new_session=True,
                                       env={**inherited, **(kill.environment(note) if kill else {})})
        was_hit = kill is not None and not kill.place and self._strike(process, kill, usual_s)
        try:
            code = process.wait(timeout=TIMEOUT_S)
        except subprocess.TimeoutExpired:
            code = None
        left = self._wait_until_gone() if code is not None else []
        kill_all()
        reap()
        return Ending(code, was_hit or note.exists(), time.monotonic() - started, log, left)

    def _strike(self, driver: subprocess.Popen, kill: Kill, usual_s: float) -> bool:
        """Waits for the workers, then for the moment; sends the signal. Whether anything was there to get it."""
        deadline = time.monotonic() + TIMEOUT_S
        while driver.poll() is None and time.monotonic() < deadline:
            if sum(name.startswith("rank") for name in family(driver.pid)) == self.num_processes:
                break
            time.sleep(0.05)
        until = time.monotonic() + kill.share * usual_s
        while driver.poll() is None and time.monotonic() < until:
            time.sleep(0.01)
        if driver.poll() is not None:
            return False
        found = family(driver.pid)
        targets = [found[kill.who]] if kill.who in found else list(found.values()) if kill.who == "all" else []
        for process in targets:
            try:
                process.send_signal(kill.signal)
            except psutil.Error:
                pass
        return bool(targets)

    def _wait_until_gone(self) -> list[str]:
        """Processes that are still there some seconds after the driver's end."""
        deadline = time.monotonic() + GONE_S
        while True:
            reap()
            alive = [process for process in psutil.Process().children(recursive=True) if process.is_running()]
            if not alive or time.monotonic() > deadline:
                return [str(process) for process in alive]
            time.sleep(0.05)


def family(driver: int) -> dict[str, psutil.Process]:
    """The processes of a run by role, the driver first."""
    found = {}
    try:
        found["driver"] = psutil.Process(driver)
        for process in found["driver"].children(recursive=True):
            words = process.cmdline()
            module = words[words.index("-m") + 1] if "-m" in words[:-1] else ""
            name = {"pipeline.guard": "guard", "torch.distributed.run": "launcher"}.get(module)
            if module == "stages":
                name = f"rank{process.environ()['RANK']}"
            if name:
                found[name] = process
    except (psutil.Error, KeyError):
        pass
    return found


def reap() -> None:
    """Takes leave of adopted processes that have ended."""
    while True:
        try:
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                return
        except ChildProcessError:
            return


# ---------------------------------------------------------------------------------------------------------------------- the rounds


@dataclass
class Round:
    """What a round did and found."""
    number: int
    stage: str
    kills: list[str] = field(default_factory=list)
    misses: list[str] = field(default_factory=list)  # the stage was done before it came by there so often, or before the moment
    damages: list[str] = field(default_factory=list)
    endings: list[int | None] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    litter: list[str] = field(default_factory=list)

    def line(self, seconds: float) -> str:
        what = "; ".join([*self.kills, *(f"not reached: {text}" for text in self.misses)])
        damages = f" | damage: {'; '.join(self.damages)}" if self.damages else ""
        litter = f" | left over: {', '.join(self.litter)}" if self.litter else ""
        result = "same" if not self.problems else "DIFFERENT: " + "; ".join(self.problems)
        return f"{self.number:4} {self.stage:16} {what}{damages} | exit codes {self.endings} {seconds:.0f} s{litter} | {result}"


class Chaos:
    """The undisturbed run and the rounds against it."""

    def __init__(self, work: Path, settings: argparse.Namespace):
        self.work, self.settings = work, settings
        overrides = ["run=chaos", "orchestrator=none", f"launcher.num_processes={settings.processes}", "launcher.grace_s=60", f"rollout={settings.sampler}",
                     *(f"stages.{stage}.{key}={value}" for stage, values in SHORT.items() for key, value in values.items()),
                     *(f"stages.{stage}.deepspeed.zero_stage={settings.zero}" for stage, kind in KINDS.items() if kind in ("grpo", "sft", "reward_models"))]
        self.driver = Driver(overrides, settings.processes)
        self.whole = work / "undisturbed" / "chaos"
        last = max(list(KINDS).index(stage) for stage in settings.stages)
        self.made = list(KINDS)[:last + 1]  # what the stages to kill may need

    def run_undisturbed(self) -> None:
        """Once; a directory that has it already is taken, if nobody disturbed it."""
        self.whole.parent.mkdir(parents=True, exist_ok=True)
        ending = self.driver.run(self.whole.parent, f"[base,{','.join(self.made)}]")
        attempts = {stage: read_json(self.whole / stage / "latest" / "manifest.json")["timing"]["attempts"] for stage in self.made} if ending.code == 0 else {}
        if ending.code != 0 or set(attempts.values()) != {1}:
            raise SystemExit(f"the undisturbed run ended with {ending.code}, attempts {attempts}:\n{tail(ending.log)}")
        self.expected = {stage: outcome(self.whole / stage / "latest") for stage in self.made}
        print(f"undisturbed run in {ending.seconds:.0f} s: {sum(map(len, self.expected.values()))} hashes of {len(self.made)} stages", flush=True)

    def round(self, number: int, stage: str) -> Round:
        """One stage from nothing to its end, through one kill or two."""
        rng = random.Random(f"chaos {self.settings.seed} {number}")
        found = Round(number, stage)
        runs_dir = self.work / f"round_{number}"
        self._copy_others(runs_dir, stage)
        directory = runs_dir / "chaos" / stage / "latest"
        usual_s = read_json(self.whole / stage / "latest" / "manifest.json")["timing"]["total_s"]
        places = places_of(KINDS[stage], self.settings.sampler)
        for _ in range(1 + (rng.random() < SECOND_KILL_SHARE)):
            is_saved = any(path.is_dir() for path in directory.glob("state/**/step_*"))
            kill = draw_kill(rng, [place for place in places if is_saved or not place.needs_checkpoint], self.settings.processes)
            ending = self._start(found, runs_dir, stage, kill, usual_s)
            (found.kills if ending.was_hit else found.misses).append(f"{kill} ({how_far(directory)})")
            if (directory / "manifest.json").exists() or found.problems:
                break
            if rng.random() < DAMAGE_SHARE:
                found.damages += [text] if (text := damage(directory, rng)) else []
        self._finish(found, runs_dir, stage, usual_s)
        if not found.problems:
            found.problems = [f"{name} differs" for name in differences(outcome(directory), self.expected[stage])]
            found.litter = left_over(directory, self.whole / stage / "latest")
        if not found.problems:
            shutil.rmtree(runs_dir)
        return found

    def _copy_others(self, runs_dir: Path, stage: str) -> None:
        shutil.rmtree(runs_dir, ignore_errors=True)
        for path in self.whole.iterdir():
            if path.is_dir() and path.name != stage:
                shutil.copytree(path, runs_dir / "chaos" / path.name, symlinks=True, copy_function=os.link)

    def _start(self, found: Round, runs_dir: Path, stage: str, kill: Kill | None, usual_s: float) -> Ending:
        ending = self.driver.run(runs_dir, stage, kill, usual_s)
        found.endings.append(ending.code)
        if ending.code is None:
            found.problems.append(f"no end within {TIMEOUT_S} s of {ending.log}")
        found.problems += [f"left behind: {process}" for process in ending.left]
        return ending

    def _finish(self, found: Round, runs_dir: Path, stage: str, usual_s: float) -> None:
        """The same command, undisturbed; again where it was interrupted."""
        for _ in range(MOST_RESUMES):
            ending = self._start(found, runs_dir, stage, None, usual_s)
            if ending.code != INTERRUPTED or found.problems:
                break
        if ending.code:
            found.problems.append(f"the resumed run ended with {ending.code}:\n{tail(ending.log)}")


def how_far(directory: Path) -> str:
    """Where a stage was stopped."""
    if not directory.exists():
        return "no directory yet"
    rows = read_jsonl(directory / "metrics.jsonl")
    saved = sorted(path.name for path in directory.glob("state/**/*") if re.fullmatch(r"step_\d+|.*\.json", path.name) and path.parent.name not in path.name
                   and not re.search(r"step_", path.parent.name))
    return f"{'done' if (directory / 'manifest.json').exists() else f'{len(rows)} steps logged'}, {len(saved)} saved"


def tail(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-25:])


def summary(rounds: list[Round]) -> str:
    """One line a stage: kills by signal, damages, rounds that differed."""
    lines = [f"{'stage':16} {'rounds':>6} {'kills':>6} {'KILL':>5} {'TERM':>5} {'INT':>5} {'damaged':>8} {'different':>10}"]
    for stage in [*KINDS, "all"]:
        mine = [r for r in rounds if stage in (r.stage, "all")]
        if mine:
            kills = collections.Counter(text.split()[0].removeprefix("SIG") for r in mine for text in r.kills)
            lines.append(f"{stage:16} {len(mine):6} {kills.total():6} {kills['KILL']:5} {kills['TERM']:5} {kills['INT']:5} "
                         f"{sum(len(r.damages) for r in mine):8} {sum(bool(r.problems) for r in mine):10}")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=40, help="signals to send, over all rounds")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="number of the first round: repeat one with --first N --kills 1")
    parser.add_argument("--stages", default=",".join(KINDS), help="stages to kill, in turn")
    parser.add_argument("--processes", type=int, choices=(1, 2), default=2)
    parser.add_argument("--zero", type=int, choices=(0, 2, 3), default=0)
    parser.add_argument("--sampler", choices=("vllm", "transformers"), default="vllm")
    parser.add_argument("--minutes", type=float, default=0, help="begin no round after so long; 0: no limit")
    parser.add_argument("--work", type=Path, help="where to work; an undisturbed run that is there is used again")
    settings = parser.parse_args()
    settings.stages = settings.stages.split(",")
    if unknown := set(settings.stages) - KINDS.keys():
        parser.error(f"--stages: {', '.join(sorted(unknown))}: stages are {', '.join(KINDS)}")
    work = (settings.work or Path(tempfile.mkdtemp(prefix="chaos_"))).resolve()
    chaos, rounds = Chaos(work, settings), []
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit("stopped"))
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
    while sum(len(r.kills) for r in rounds) < settings.kills and (not settings.minutes or time.monotonic() - started < 60 * settings.minutes):
        begun = time.monotonic()
        rounds.append(chaos.round(number, settings.stages[number % len(settings.stages)]))
        print(rounds[-1].line(time.monotonic() - begun), flush=True)
        number += 1
    print(summary(rounds))


if __name__ == "__main__":
    sys.exit(main())
