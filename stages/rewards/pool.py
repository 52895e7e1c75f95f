"""Runs slow or dangerous checks in worker processes with hard limits: the side that asks for them.

The side that works is `stages/rewards/pool_server.py`. A check that hangs, even in C, or needs too much memory ends its
own process and nothing else: the other checks go on, and the next one gets a fresh process. No process is started
before the first check. ARCHITECTURE.md says why this is not a pool of a library.
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
from typing import Any, NamedTuple, TextIO

_ROOT = Path(__file__).resolve().parents[2]
_START_S = 120.0  # seconds that the server may take to import its module on a loaded machine
_PASSED_VARIABLES = (
    "PATH",
    "HOME",
    "LANG",
    "LD_LIBRARY_PATH",
    "TMPDIR",
)  # workers see no other variable of this process


class Outcome(NamedTuple):
    """What came of a task: its value, or why there is none.

    Attributes:
        value: what the function returned.
        error: why there is no value, in one line, or "".
        is_final: whether another attempt would end the same.
    """

    value: Any = None
    error: str = ""
    is_final: bool = True


class WorkerPool:
    """A pool of worker processes that run the functions of one module. Threads may share it."""

    def __init__(self, module: str, num_workers: int, cpu_s: float, wall_s: float, memory_mib: int):
        """Prepares the pool; starts no process.

        Args:
            module: name of the module. Its `warm_up()`, if it has one, is called once before workers are forked.
            num_workers: most tasks at once. More than the cores cost little, and let ordinary tasks overtake slow ones.
            cpu_s: processor time of a task, seconds.
            wall_s: time of a task on the clock, seconds; for one that sleeps, or on an overloaded machine.
            memory_mib: address space of a worker, MiB.
        """
        self.module = module
        self.cpu_s, self.wall_s, self.memory_mib = cpu_s, wall_s, memory_mib
        self._threads = ThreadPoolExecutor(num_workers, thread_name_prefix=f"pool-{module.rsplit('.', 1)[-1]}")
        self._of_thread = threading.local()  # each thread talks to a worker of its own, over `stream`
        self._lock = threading.Lock()
        self._server: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None

    def run(self, tasks: Sequence[tuple]) -> list[Outcome]:
        """Runs tasks and returns their outcomes in order; it raises nothing for a task that fails.

        Args:
            tasks: each is the name of a function of the module and its arguments, which must be plain data for JSON.
        """
        return list(self._threads.map(self._run, tasks))

    def close(self) -> None:
        """Ends the processes, also those with a running task, and the threads."""
        with self._lock:
            if self._control:
                self._control.close()
            if self._server:
                self._server.kill()
                self._server.wait()
            self._server = self._control = None
        self._threads.shutdown(wait=True, cancel_futures=True)

    def _run(self, task: tuple) -> Outcome:
        """Runs one task in this thread's worker."""
        line = json.dumps(task) + "\n"
        started = time.monotonic()
        try:
            reply = self._exchange(line)
        except OSError as error:
            self._of_thread.stream = None
            return Outcome(error=f"no worker process: {error}", is_final=False)
        if not reply:
            self._of_thread.stream = None
            return Outcome(
                error=f"killed after {time.monotonic() - started:.1f} s: a check may take {self.cpu_s:g} s of "
                f"processor time, {self.wall_s:g} s in all and {self.memory_mib} MiB"
            )
        answer = json.loads(reply)
        if answer.pop("is_last"):
            self._of_thread.stream = None
        return Outcome(**answer)

    def _exchange(self, line: str) -> str:
        """Sends a task to this thread's worker and returns its reply, or "" where the worker died of the task.

        A worker that has died since its last task is replaced first.
        """
        for _ in range(2):
            stream = getattr(self._of_thread, "stream", None) or self._new_worker()
            self._of_thread.stream = stream
            try:
                stream.write(line)
                stream.flush()
            except BrokenPipeError:
                self._of_thread.stream = None
                continue
            return stream.readline()
        raise OSError("worker processes die as they start; what they print is in the log")

    def _new_worker(self) -> TextIO:
        """Asks the server for a worker, starting the server where it is not running; returns the stream to it."""
        ours, theirs = socket.socketpair()
        ours.settimeout(_START_S + self.wall_s)  # the worker's own timers end it long before
        with theirs, self._lock:
            if self._control is None or self._server is None or self._server.poll() is not None:
                self._control = self._start_server()
            socket.send_fds(self._control, [b"w"], [theirs.fileno()])
        return ours.makefile("rw", encoding="utf-8", newline="\n")

    def _start_server(self) -> socket.socket:
        """Starts the server and returns the socket to it."""
        ours, theirs = socket.socketpair()
        with theirs:
            environment = {name: os.environ[name] for name in _PASSED_VARIABLES if name in os.environ}
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
        return ours


def workers_of_this_rank() -> int:
    """Returns how many workers a pool of this rank has: its share of the cores, but from 4 to 16.

    At least 4, so that a few slow checks do not hold up the others.
    """
    return max(4, min(16, (os.cpu_count() or 1) // int(os.environ.get("LOCAL_WORLD_SIZE", 1))))
