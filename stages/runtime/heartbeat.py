"""Writes the heartbeat of a rank, so that a rank that hangs can be told from those that wait for it.

A thread writes it beside the rank's log: its time grows old when the process is stopped, or stuck in a library that
does not let Python run. It names the line of this repository that the rank is at, and the collective that it waits in.
"""

import contextlib
import datetime
import os
import sys
import threading
import time
import traceback
from pathlib import Path
from types import FrameType

from stages.contract.heartbeat import Heartbeat

EVERY_S = 2.0
SILENT_S = 15.0  # a rank that wrote nothing for so long does not respond
PACKAGE = str(Path(__file__).resolve().parent.parent) + os.sep  # stages/
COLLECTIVES = os.path.join("torch", "distributed", "distributed_c10d.py")


class HeartbeatWriter:
    """A thread that writes the heartbeats of one rank until `stop`. Made in the main thread, which it watches."""

    def __init__(self, logs: Path, rank: int, started: float | None = None):
        """Writes nothing yet.

        Args:
            logs: The directory of the attempt's logs.
            rank: The rank whose heartbeat it is.
            started: The Unix time at which the process started; now, where it is not given.
        """
        self.path = Heartbeat.path(logs, rank)
        self.rank = rank
        self.started = started or time.time()
        self.startup_s: float | None = None
        self.phase = "start"
        self.step = 0
        self.since = time.time()
        self._main_thread = threading.get_ident()
        self._last_place: tuple[str, str | None] = ("", None)
        self._end = threading.Event()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, daemon=True, name="heartbeat")

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    def moved(self, phase: str, step: int) -> None:
        """Notes the phase and the step that the rank is at."""
        if (phase, step) != (self.phase, self.step):
            self.phase, self.step, self.since = phase, step, time.time()

    def stop(self) -> None:
        """Ends the thread and writes a last heartbeat, so that the length of the attempt is known to its end."""
        self._end.set()
        self._thread.join(timeout=EVERY_S)
        self.write_now()

    def write_now(self) -> None:
        """Writes a heartbeat between two of the thread's."""
        self._write(*self._last_place)

    def _run(self) -> None:
        while True:
            frame = sys._current_frames().get(self._main_thread)
            at, waits_in = place(frame) if frame else ("", None)
            self._write(at, waits_in)
            if self._end.wait(EVERY_S):
                return

    def _write(self, at: str, waits_in: str | None) -> None:
        self._last_place = at, waits_in
        with self._lock, contextlib.suppress(OSError):  # a full disk is for the main thread to report
            Heartbeat(
                rank=self.rank,
                phase=self.phase,
                step=self.step,
                since=self.since,
                updated=time.time(),
                at=at,
                waits_in=waits_in,
                started=self.started,
                startup_s=self.startup_s,
            ).write_path(self.path, durable=False)


def place(frame: FrameType) -> tuple[str, str | None]:
    """Where a thread is that executes `frame`.

    Returns:
        The innermost line of this repository, "" where there is none; the collective called from it, or None.
    """
    return _place([(f.f_code.co_filename, line, f.f_code.co_name) for f, line in traceback.walk_stack(frame)])


def place_of_error(error: BaseException) -> tuple[str, str | None]:
    """Where an error was raised, as `place` says it."""
    return _place(
        [(f.f_code.co_filename, line, f.f_code.co_name) for f, line in traceback.walk_tb(error.__traceback__)][::-1]
    )


def _place(frames: list[tuple[str, int, str]]) -> tuple[str, str | None]:
    """`frames`: (file, line, function), innermost first."""
    collective = None
    for file, line, function in frames:
        if file.endswith(COLLECTIVES):
            collective = function
        if file.startswith(PACKAGE) and file != __file__ and function != "barrier":
            return f"stages/{file.removeprefix(PACKAGE)}:{line} {function}", collective
    return "", collective


def timeout_message(error: BaseException, rank: int, world_size: int, directory: Path, timeout_s: float) -> str | None:
    """What to tell people of a collective that timed out: which rank waited for what, and what the others were at.

    Args:
        error: What was raised on this rank.
        rank: This rank.
        world_size: How many ranks there are.
        directory: Where the ranks' heartbeats are.
        timeout_s: How long a rank waits for the others.

    Returns:
        The message; None where `error` is something else.
    """
    at, collective = place_of_error(error)
    is_of_gloo = "Timed out waiting" in str(error)  # may come from the wait for a collective that was started earlier
    if not is_of_gloo and (collective is None or "timeout" not in str(error).lower()):
        return None
    others = [_state(directory, other) for other in range(world_size) if other != rank]
    return (
        f"rank {rank} waited {timeout_s:g} s in {collective or 'a collective'} ({at}) for the others: "
        f"{'; '.join(others)}"
    )


def _state(logs: Path, rank: int) -> str:
    beat = Heartbeat.find_path(Heartbeat.path(logs, rank))
    if beat is None:
        return f"rank {rank} has left no trace"
    where = f"phase {beat.phase} of step {beat.step} ({beat.at})"
    if time.time() - beat.updated > SILENT_S:
        return f"rank {rank} does not respond since {_clock(beat.updated)}, it was in {where}"
    doing = f"waits in {beat.waits_in}" if beat.waits_in else "works"
    return f"rank {rank} {doing} in {where} since {_clock(beat.since)}"


def _clock(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds).strftime("%H:%M:%S")
