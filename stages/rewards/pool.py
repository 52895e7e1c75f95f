"""Worker processes for slow or dangerous checks: the side that asks. `stages/rewards/pool_server.py` is the side that
works.

A check that hangs, even in C, or eats memory ends its own process and nothing else: the others go on, and the next
check gets a fresh one. Nothing is started before the first check.
"""

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

_ROOT = Path(__file__).resolve().parents[2]
_START_S = 120.0  # for the server to import its module on a loaded machine
_KEPT_VARIABLES = ("PATH", "HOME", "LANG", "LD_LIBRARY_PATH", "TMPDIR")


class Outcome(NamedTuple):
    value: Any = None
    error: str = ""  # why there is no value
    is_final: bool = True  # whether asking again would be in vain


class WorkerPool:
    """`run` hands tasks to worker processes of `module`, at most `num_workers` at once. Threads may share a pool.

    `cpu_s` bounds a task's processor time, `wall_s` its wall clock (for one that sleeps, or a machine that is
    overloaded), `memory_mib` the address space of its process. More workers than cores cost little, and let ordinary
    tasks overtake slow ones.
    """

    def __init__(self, module: str, num_workers: int, cpu_s: float, wall_s: float, memory_mib: int):
        self.module, self.cpu_s, self.wall_s, self.memory_mib = module, cpu_s, wall_s, memory_mib
        self._threads = ThreadPoolExecutor(num_workers, thread_name_prefix=f"pool-{module.rsplit('.', 1)[-1]}")
        self._mine = threading.local()  # each thread speaks to a worker of its own
        self._lock = threading.Lock()
        self._server: subprocess.Popen | None = None
        self._control: socket.socket | None = None

    def run(self, tasks: Sequence[tuple]) -> list[Outcome]:
        """The outcome of each task, a tuple of a function's name in the module and its arguments (JSON), in order."""
        return list(self._threads.map(self._run, tasks))

    def close(self) -> None:
        """Ends the threads and processes. Tasks that are running are not waited for by their processes."""
        with self._lock:
            if self._control:
                self._control.close()
            if self._server:
                self._server.kill()
                self._server.wait()
            self._server = self._control = None
        self._threads.shutdown(wait=True, cancel_futures=True)

    def _run(self, task: tuple) -> Outcome:
        line = json.dumps(task) + "\n"
        started = time.monotonic()
        try:
            reply = self._exchange(line)
        except OSError as error:
            self._mine.stream = None
            return Outcome(error=f"no worker process: {error}", is_final=False)
        if not reply:
            self._mine.stream = None
            return Outcome(
                error=f"killed after {time.monotonic() - started:.1f} s: a check may take {self.cpu_s:g} s of "
                "processor time, "
                f"{self.wall_s:g} s in all and {self.memory_mib} MiB"
            )
        answer = json.loads(reply)
        if answer.pop("is_last"):
            self._mine.stream = None
        return Outcome(**answer)

    def _exchange(self, line: str) -> str:
        """The worker's reply; empty where it died over this task. One that had died before gets a successor."""
        for _ in range(2):
            stream = getattr(self._mine, "stream", None) or self._new_worker()
            self._mine.stream = stream
            try:
                stream.write(line)
                stream.flush()
            except BrokenPipeError:
                self._mine.stream = None
                continue
            return stream.readline()
        raise OSError("worker processes die as they start; what they print is in the log")

    def _new_worker(self):
        ours, theirs = socket.socketpair()
        ours.settimeout(_START_S + self.wall_s)  # its own timers end it long before
        with theirs, self._lock:
            if self._server is None or self._server.poll() is not None:
                self._start_server()
            socket.send_fds(self._control, [b"w"], [theirs.fileno()])
        return ours.makefile("rw", encoding="utf-8", newline="\n")

    def _start_server(self) -> None:
        self._control, theirs = socket.socketpair()
        with theirs:
            environment = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
            self._server = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "stages.rewards.pool_server",
                    self.module,
                    str(theirs.fileno()),
                    str(self.cpu_s),
                    str(self.wall_s),
                    str(self.memory_mib),
                ],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                cwd=_ROOT,
                env={
                    **environment,
                    "PYTHONPATH": os.pathsep.join([str(_ROOT), *filter(None, sys.path)]),
                    "PYTHONHASHSEED": "0",
                    "OMP_NUM_THREADS": "1",
                },
            )


def workers_of_this_rank() -> int:
    """At least 4, so that a few slow checks do not hold the others up; not more than this process's share of the cores."""
    return max(4, min(16, (os.cpu_count() or 1) // int(os.environ.get("LOCAL_WORLD_SIZE", 1))))
