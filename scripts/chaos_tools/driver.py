"""Starts the driver, hits what is to be hit, and sees that nothing of it is left."""

import contextlib
import ctypes
import os
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from pipeline.execution.guard import kill_all

from .kill import DISK, ROOT, Kill
from .small_disk import SmallDisk

TIMEOUT_S, GONE_S = 600, 20
SET_CHILD_SUBREAPER = 36


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
        ctypes.CDLL(None).prctl(SET_CHILD_SUBREAPER, 1)  # what a dead driver leaves becomes our child, and is seen

    def run(
        self,
        runs_dir: Path,
        selection: str,
        kill: Kill | None = None,
        span_s: float = 0.0,
        timeout_s: float = TIMEOUT_S,
        disk: SmallDisk | None = None,
    ) -> Ending:
        """Starts the run once, and kills it if it is told to.

        A kill at a moment belongs to one stage, which takes `span_s` for the part that the kill waits in. `disk` is the
        small disk of that stage.
        """
        number = sum(1 for _ in runs_dir.glob("driver_*.log"))
        log, note = runs_dir / f"driver_{number}.log", runs_dir / f"hit_{number}"
        command = [
            sys.executable,
            "-m",
            "pipeline",
            "run",
            f"+stage={selection}",
            f"runs_dir={runs_dir}",
            *self.overrides,
        ]
        inherited = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "CHAOS")}
        started = time.monotonic()
        with open(log, "wb") as stream:
            process = subprocess.Popen(
                command,
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={**inherited, **(kill.environment(note) if kill else {})},
            )
        was_hit = bool(kill and kill.span) and self._strike(process, kill, span_s, log, disk)
        try:
            code = process.wait(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            code = None
        left = self._wait_until_gone() if code is not None else []
        kill_all()
        reap()
        return Ending(code, was_hit or note.exists(), time.monotonic() - started, log, left)

    def _strike(self, driver: subprocess.Popen, kill: Kill, span_s: float, log: Path, disk: SmallDisk | None) -> bool:
        """Waits for the workers or the end of their start-up, then for the moment, and sends the signal.

        Returns whether there was a process to get it.
        """

        def has_begun() -> bool:
            if kill.span == "work":
                return "engines up" in log.read_text(errors="replace")
            return sum(name.startswith("rank") for name in family(driver.pid)) == self.num_processes

        deadline = time.monotonic() + TIMEOUT_S
        while driver.poll() is None and not has_begun() and time.monotonic() < deadline:
            time.sleep(0.01)
        until = time.monotonic() + kill.share * span_s
        while driver.poll() is None and time.monotonic() < until:
            time.sleep(0.01)
        if driver.poll() is not None:
            return False
        if kill.who == DISK:
            return _fill_until_the_end(driver, disk)
        found = family(driver.pid)
        targets = [found[kill.who]] if kill.who in found else list(found.values()) if kill.who == "all" else []
        for process in targets:
            with contextlib.suppress(psutil.Error):
                process.send_signal(kill.signal)
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


def _fill_until_the_end(driver: subprocess.Popen, disk: SmallDisk) -> bool:
    """Nothing that the stage gives back becomes free before its driver has ended."""
    deadline = time.monotonic() + TIMEOUT_S
    while driver.poll() is None and time.monotonic() < deadline:
        disk.fill()
        time.sleep(0.1)
    disk.make_room()
    return True


def family(driver: int) -> dict[str, psutil.Process]:
    """The processes of a run by role, the driver first."""
    found = {}
    try:
        found["driver"] = psutil.Process(driver)
        for process in found["driver"].children(recursive=True):
            words = process.cmdline()
            module = words[words.index("-m") + 1] if "-m" in words[:-1] else ""
            name = {
                "pipeline.execution.guard": "guard"
                if "stages.runtime.torchrun" in words
                else None,  # the other one is Prefect's
                "stages.runtime.torchrun": "launcher",
                "uvicorn": "server",
            }.get(module)
            if module == "stages":
                name = f"rank{process.environ()['RANK']}"
            if name:
                found.setdefault(name, process)  # a child looks like its parent until it runs its own program
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
