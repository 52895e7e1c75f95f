"""Deadlines for what may hang inside this process and cannot be interrupted there: engine calls. A thread ends the
process when one is missed, and says what was waited for and where. (A library that hangs without letting Python run is
left to `launcher.stall_after_s`.)
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


def _die(message: str) -> None:
    print(message, file=sys.stderr, flush=True)
    os._exit(1)


on_miss: Callable[[str], None] = _die  # the worker puts its own here: an error report first


class Deadline:
    """`renew` at every sign of life."""

    def __init__(self, what: str, limit_s: float):
        self.what, self.limit_s, self.renewed, self.thread_id = what, limit_s, time.monotonic(), threading.get_ident()
        self.met = threading.Event()

    def renew(self) -> None:
        self.renewed = time.monotonic()

    def watch(self) -> None:
        while not self.met.wait(max(0.01, self.limit_s * POLL_SHARE)):
            waited_s = time.monotonic() - self.renewed
            if waited_s > self.limit_s:
                frame = sys._current_frames().get(self.thread_id)
                at, _ = place(frame) if frame else ("", None)
                on_miss(
                    f"waited {waited_s:.1f} s for {self.what}{f' ({at})' if at else ''}; "
                    f"the limit is {self.limit_s:g} s"
                )
                return


@contextmanager
def deadline(what: str, limit_s: float) -> Iterator[Deadline]:
    """Ends the process with `on_miss` if the block neither ends nor calls `renew` for `limit_s` seconds."""
    limit = Deadline(what, limit_s)
    threading.Thread(target=limit.watch, name="deadline", daemon=True).start()
    try:
        yield limit
    finally:
        limit.met.set()
