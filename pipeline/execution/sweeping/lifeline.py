"""The process of a job does not outlive the one that started it: joblib's own processes would wait for five minutes.

Jobs of submitit are left alone: they belong to a scheduler, and go on as on a cluster.
"""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator

from pipeline.execution.stop import interrupt_on_signals

POLL_S = 1.0
_IS_BUSY = threading.Event()
_WATCHED: list[int] = []  # the parent, once it is watched


@contextlib.contextmanager
def job() -> Iterator[None]:
    """Around a job: when the parent dies, the job is asked for a checkpoint, and then the process ends."""
    interrupt_on_signals()
    if not _WATCHED and "SUBMITIT_EXECUTOR" not in os.environ:
        _WATCHED.append(os.getppid())
        threading.Thread(target=_watch, daemon=True).start()
    _IS_BUSY.set()
    try:
        yield
    finally:
        _IS_BUSY.clear()


def _watch() -> None:
    while os.getppid() == _WATCHED[0]:
        time.sleep(POLL_S)
    if _IS_BUSY.is_set():
        os.kill(os.getpid(), signal.SIGTERM)
    while _IS_BUSY.is_set():
        time.sleep(POLL_S)
    os._exit(1)
