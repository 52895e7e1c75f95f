"""Runs slow or dangerous checks in worker processes with hard limits: the side that works.

`stages/rewards/pool.py` starts it, as `python -m stages.rewards.pool_server MODULE SOCKET CPU_S WALL_S MEMORY_MIB`.
This process imports the module of the checks once, and forks a worker whenever it is handed a socket. It has no
threads, no torch and no GPU, so that forking is safe and takes milliseconds. The kernel enforces every limit, because
Python cannot interrupt a computation in C:

    processor time, wall clock    timers whose signals end the worker
    memory                        RLIMIT_AS
    death of the parent           the server sees its socket close and ends; that kills the workers (Linux; elsewhere
                                  they see their own sockets close)
"""

import ctypes
import importlib
import json
import os
import resource
import select
import signal
import socket
import sys
from types import ModuleType
from typing import Any

_PARENT_POLL_S = 2.0
_OUT_OF_MEMORY = "out of memory"
_MAX_TASKS = 10_000  # of a worker, so that caches and leaks of libraries do not reach its memory limit


def main(arguments: list[str]) -> None:
    """Imports the module and forks workers until the parent has gone.

    Args:
        arguments: name of the module, number of the control socket, and the limits of a task: processor time (seconds),
            time on the clock (seconds) and memory (MiB).
    """
    control = socket.socket(fileno=int(arguments[1]))
    cpu_s, wall_s, memory_mib = float(arguments[2]), float(arguments[3]), int(arguments[4])
    parent = os.getppid()
    module = importlib.import_module(arguments[0])
    if hasattr(module, "warm_up"):
        module.warm_up()  # every worker inherits what is cached now
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel removes dead workers
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent
    while True:
        is_asked = bool(select.select([control], [], [], _PARENT_POLL_S)[0])
        if os.getppid() != parent:
            return
        if is_asked:
            message, descriptors, _, _ = socket.recv_fds(control, 1, 1)
            if not message:
                return
            if os.fork() == 0:
                control.close()
                work(module, socket.socket(fileno=descriptors[0]), cpu_s, wall_s, memory_mib)
                os._exit(0)
            os.close(descriptors[0])


def work(module: ModuleType, connection: socket.socket, cpu_s: float, wall_s: float, memory_mib: int) -> None:
    """Runs tasks in a worker until the other end closes the connection.

    A task is a line of JSON, [function, arguments...]; the reply is a line of JSON with "value" or "error". A worker
    that has run out of memory, or done _MAX_TASKS tasks, adds "is_last": true and ends.

    Args:
        module: whose functions are called.
        connection: the socket to the thread that asks.
        cpu_s: processor time of a task, seconds.
        wall_s: time of a task on the clock, seconds.
        memory_mib: address space of this process, MiB.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    resource.setrlimit(resource.RLIMIT_AS, (memory_mib * 2**20,) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with connection.makefile("rw", encoding="utf-8", newline="\n") as stream:
        for number, line in enumerate(stream, 1):
            signal.setitimer(signal.ITIMER_PROF, cpu_s)
            signal.setitimer(signal.ITIMER_REAL, wall_s)
            answer = _answer(module, *json.loads(line))
            answer["is_last"] = number == _MAX_TASKS or answer.get("error") == _OUT_OF_MEMORY
            reply = json.dumps(answer)
            signal.setitimer(signal.ITIMER_PROF, 0)
            signal.setitimer(signal.ITIMER_REAL, 0)
            stream.write(reply + "\n")
            stream.flush()
            if answer["is_last"]:
                return


def _answer(module: ModuleType, function: str, *arguments: Any) -> dict[str, Any]:
    """Calls the function of a task; an exception is an answer too."""
    try:
        return {"value": getattr(module, function)(*arguments)}
    except MemoryError:
        return {"error": _OUT_OF_MEMORY}
    except Exception as error:
        return {"error": f"{type(error).__name__}: {str(error)[:200]}"}


if __name__ == "__main__":
    main(sys.argv[1:])
