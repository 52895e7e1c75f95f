"""Deadlines for calls of engines, which may hang inside this process and cannot be interrupted there.

A thread ends the process when a deadline is missed, and says what was waited for and where. A library that hangs
without letting Python run keeps that thread waiting too; `launcher.stall_after_s` reports it.
"""

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from stages.runtime.heartbeat import place

POLL_SHARE = 0.05  # of the limit, between two looks


class DeadlineMissed(RuntimeError):
    """Something that was waited for did not come in time; the message says what, where and for how long."""


def _exit_with(message: str) -> None:
    print(message, file=sys.stderr, flush=True)
    os._exit(1)


on_miss: Callable[[str], None] = _exit_with  # the worker puts its own here, which writes an error report first


class Deadline:
    """A time limit for something that the thread which makes it waits for."""

    def __init__(self, what: str, limit_s: float):
        """Starts the clock. `what` is named in the message."""
        self.what = what
        self.limit_s = limit_s
        self.thread_id = threading.get_ident()
        self.renewed = time.monotonic()
        self.met = threading.Event()

    def renew(self) -> None:
        """Starts the clock again, at a sign of life."""
        self.renewed = time.monotonic()

    def watch(self) -> None:
        """Calls `on_miss` once the limit has passed; returns before that when `met` is set."""
        while not self.met.wait(max(0.01, self.limit_s * POLL_SHARE)):
            waited_s = time.monotonic() - self.renewed
            if waited_s > self.limit_s:
                frame = sys._current_frames().get(self.thread_id)
                at, _ = place(frame) if frame else ("", None)
                where = f" ({at})" if at else ""
                on_miss(f"waited {waited_s:.1f} s for {self.what}{where}; the limit is {self.limit_s:g} s")
                return


@contextmanager
def deadline(what: str, limit_s: float) -> Iterator[Deadline]:
    """Calls `on_miss` if the block neither ends nor renews the deadline for `limit_s` seconds.

    Args:
        what: What is waited for, in words that go into "waited 1.0 s for ...".
        limit_s: The limit.
    """
    limit = Deadline(what, limit_s)
    threading.Thread(target=limit.watch, name="deadline", daemon=True).start()
    try:
        yield limit
    finally:
        limit.met.set()
