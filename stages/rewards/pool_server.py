"""Worker processes for slow or dangerous checks: the side that works. `stages/rewards/pool.py` starts it and talks to
it.

One process imports the checks' module, once, and forks a worker whenever it is handed a socket. It has no threads, no
torch and no GPU, so forking is safe and takes milliseconds. The kernel enforces every limit, because Python cannot
interrupt a computation in C:

    processor time, wall clock    timers whose signals end the process
    memory                        RLIMIT_AS
    death of the parent           the server sees its socket close, and its end kills the workers (Linux; elsewhere they
                                  see theirs close)

    python -m stages.rewards.pool_server MODULE SOCKET CPU_S WALL_S MEMORY_MIB
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

_PARENT_POLL_S = 2.0
_OUT_OF_MEMORY = "out of memory"
_MAX_TASKS = 10_000  # of a worker: caches and leaks of libraries do not grow into its memory limit


def main(arguments: list[str]) -> None:
    control = socket.socket(fileno=int(arguments[1]))
    cpu_s, wall_s, memory_mib = float(arguments[2]), float(arguments[3]), int(arguments[4])
    parent = os.getppid()
    module = importlib.import_module(arguments[0])
    if hasattr(module, "warm_up"):
        module.warm_up()  # what is cached now, every worker has
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # no zombies
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
    """Answers lines of JSON, [function, arguments...], with lines of JSON, {"value"} or {"error"}, until the other end
    closes, or it says {"is_last": true}: after many tasks, or when it is out of memory.
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


def _answer(module: ModuleType, function: str, *arguments) -> dict:
    try:
        return {"value": getattr(module, function)(*arguments)}
    except MemoryError:
        return {"error": _OUT_OF_MEMORY}
    except Exception as error:
        return {"error": f"{type(error).__name__}: {str(error)[:200]}"}


if __name__ == "__main__":
    main(sys.argv[1:])
