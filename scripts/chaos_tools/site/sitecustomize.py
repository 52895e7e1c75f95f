"""Lets one process of a run send a signal at a named place in the code.

Every Python that starts with this folder on PYTHONPATH reads this file.

CHAOS holds what to do, as JSON:
    in      whose code: rank0, rank1, launcher, guard, driver
    place   module:function or module:Class.method; it is wrapped as its module is loaded, before anyone else can take
            the name
    match   regular expression that the call's arguments, as text, must hold ("": any call)
    call    which of those calls, from 1
    when    before or after it
    who     who gets the signal, as seen from there: those of `in`, or all
    signal  its number; 0: nothing is sent, and the call never returns
    note    file that is written just before
Without CHAOS nothing happens.
"""

import contextlib
import functools
import importlib.machinery
import json
import os
import re
import sys
import threading

PROGRAMS = {"pipeline": "driver", "pipeline.execution.guard": "guard", "stages.runtime.torchrun": "launcher"}


def role() -> str:
    """Which process of a run this is, or ""."""
    words = sys.orig_argv
    module = words[words.index("-m") + 1] if "-m" in words[:-1] else ""
    return f"rank{os.environ.get('RANK', '0')}" if module == "stages" else PROGRAMS.get(module, "")


def parent_of(pid: int) -> int:
    with open(f"/proc/{pid}/stat") as stream:
        return int(stream.read().rpartition(")")[2].split()[1])


def family() -> dict[str, list[int]]:
    """Process ids by role, as seen from a rank.

    Launcher, guard and driver are its ancestors; the other ranks are the launcher's children.
    """
    launcher = os.getppid()
    guard = parent_of(launcher)
    with open(f"/proc/{launcher}/task/{launcher}/children") as stream:
        ranks = [int(word) for word in stream.read().split()]
    ranks.sort()  # torchrun starts them in order
    return {
        **{f"rank{i}": [pid] for i, pid in enumerate(ranks)},
        "launcher": [launcher],
        "guard": [guard],
        "driver": [parent_of(guard)],
    }


def victims(who: str, here: str) -> list[int]:
    """`here` is the role of this process; its own id comes last."""
    if who == here:
        return [os.getpid()]
    found = family()
    chosen = (
        found[who]
        if who != "all"
        else [pid for name in ("driver", "guard", "launcher") for pid in found[name]]
        + [pid for name in sorted(found) if name.startswith("rank") for pid in found[name]]
    )
    return sorted(chosen, key=lambda pid: pid == os.getpid())


class Trap:
    """Counts the calls of the place and sends the signal at the one that was chosen."""

    def __init__(self, plan: dict):
        self.plan, self.calls, self.lock = plan, 0, threading.Lock()

    def wrap(self, function):
        @functools.wraps(function)
        def wrapped(*args, **kwargs):
            is_it = self._is_it(args, kwargs)
            if is_it and self.plan["when"] == "before":
                self._fire()
            result = function(*args, **kwargs)
            if is_it and self.plan["when"] == "after":
                self._fire()
            return result

        return wrapped

    def _is_it(self, args, kwargs) -> bool:
        if self.plan["match"] and not re.search(
            self.plan["match"],
            " ".join(str(value) for value in (*args, *kwargs.values()) if isinstance(value, (str, os.PathLike))),
        ):
            return False
        with self.lock:
            self.calls += 1
            return self.calls == self.plan["call"]

    def _fire(self) -> None:
        targets = victims(self.plan["who"], self.plan["in"])
        with open(self.plan["note"], "w") as stream:
            stream.write(str(targets))
        if not self.plan["signal"]:
            threading.Event().wait()
        for pid in targets:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, self.plan["signal"])

    def set_in(self, module) -> None:
        *classes, name = self.plan["place"].partition(":")[2].split(".")
        owner = functools.reduce(getattr, classes, module)
        setattr(owner, name, self.wrap(getattr(owner, name)))


class Finder:
    """Wraps the place as soon as its module has run."""

    def __init__(self, trap: Trap, module: str):
        self.trap, self.module = trap, module

    def find_spec(self, name, path, target=None):
        if name != self.module:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        run = spec.loader.exec_module

        def exec_module(module):
            run(module)
            self.trap.set_in(module)

        spec.loader.exec_module = exec_module
        return spec


def install() -> None:
    plan = json.loads(os.environ.get("CHAOS") or "null")
    if not plan or role() != plan["in"]:
        return
    trap, module = Trap(plan), plan["place"].partition(":")[0]
    if module in sys.modules:
        trap.set_in(sys.modules[module])
    else:
        sys.meta_path.insert(0, Finder(trap, module))


install()
