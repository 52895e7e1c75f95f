"""What each rank is doing, in a small file beside its log, so that a rank that hangs can be told from those that wait
for it.

logs/attempt_N/rank1.json: {"rank", "phase", "step", "since", "updated", "at", "waits_in", "started", "startup_s"};
`since`: when phase and step last changed; `startup_s`: from the start until the engines were up, null before
(`attempts.py` adds up what all attempts cost); `at`: the line of ours that the rank is at; `waits_in`: the collective
it waits in, or null. A thread writes it: `updated` grows old when the process is stopped or stuck in a library that
does not let Python run.
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

EVERY_S, SILENT_S = 2.0, 15.0  # a rank that wrote nothing for so long does not respond
PACKAGE = str(Path(__file__).resolve().parent.parent) + os.sep  # stages/
COLLECTIVES = os.path.join("torch", "distributed", "distributed_c10d.py")


class HeartbeatWriter:
    """A thread that writes the heartbeats of one rank until `stop`. Made in the main thread, which it watches."""

    def __init__(self, logs: Path, rank: int, started: float | None = None):
        """Starts the thread.

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
    """(the innermost line of ours, the collective called from it or None) of a thread that is at `frame`."""
    return _place([(f.f_code.co_filename, line, f.f_code.co_name) for f, line in traceback.walk_stack(frame)])


def place_of_error(error: BaseException) -> tuple[str, str | None]:
    """The same for where an error was raised."""
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
    """Which rank waited for what, and what the others were at, if `error` is a collective that timed out; else None.
    `directory`: of the heartbeats.
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
