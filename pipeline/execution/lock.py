"""One driver per run: a lock that the kernel drops when its holder dies, with a note that says who holds it.

The lock is filelock's `lock_descriptor`, on a file that is ours: `filelock.FileLock` empties the file as it takes the
lock, and with it the note of a driver that died; in a forked child it closes the file, and a process that a dead driver
left behind would no longer be seen. To look without taking (`is_held`) we ask the kernel for a shared lock ourselves:
filelock has exclusive ones only, and two people who look at once would take each other for a driver.

On disks whose locks do not reach other machines (or that have none) the note decides: process, host, and when the
process started, so that a dead process and a reused number are told from a driver at work.
"""

import contextlib
import datetime
import fcntl
import getpass
import json
import os
import shlex
import socket
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from pipeline.errors import RunLocked

# how the names of file systems begin that other machines may share
NETWORK_DISKS = ("nfs", "cifs", "smb", "lustre", "gpfs", "beegfs", "ceph", "gluster", "9p", "fuse")
ALIVE, ENDED, REPLACED = "alive", "has ended", "has ended (its number belongs to another process now)"
TRIES, PAUSE_S = 5, 0.1  # `status` holds the lock for an instant when it looks

StartOf = Callable[[int], str | None]  # when the process of a number started; `process_start`


@dataclass(frozen=True)
class Holder:
    """The note in the lock file: which process holds the run."""

    pid: int
    host: str
    user: str
    since: str  # ISO 8601, local time
    started: str = ""  # tells the process from a later one with its number; "" in notes of earlier versions

    def __str__(self) -> str:
        return f"process {self.pid} of {self.user} on {self.host}, since {self.since}"


class RunLock:
    """Context manager: inside it, this process is the one driver of a run. The lock is runs/<run>/.lock.

    Raises RunLocked, which names the holder, when another driver has the run. `note` says that the driver before ended
    without giving the run back, or is "".
    """

    def __init__(self, run_dir: Path):
        self.path = run_dir / ".lock"
        self.note = ""

    def __enter__(self) -> "RunLock":
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.stream = open(self.path, "a+", encoding="utf-8")
        is_taken = take(self.stream.fileno())
        before = read_note(self.path)
        refused = refusal(self.path, is_taken, before, file_system(self.path), socket.gethostname(), process_start)
        if refused:
            self.stream.close()
            raise RunLocked(f"the run {self.path.parent.name} is held by another driver: {refused[0]}", refused[1])
        self.note = f"the driver before ended without giving the run back: {before}" if before else ""
        self.stream.truncate(0)
        self.stream.write(json.dumps(asdict(this_process())))
        self.stream.flush()
        return self

    def __exit__(self, *error: object) -> None:
        self.stream.truncate(0)
        self.stream.close()


def refusal(
    path: Path, is_taken: bool | None, holder: Holder | None, disk: str, host: str, start_of: StartOf
) -> tuple[str, str] | None:
    """Why a run cannot be had: (who holds it, what to do); None where it is free.

    Args:
        path: The lock file.
        is_taken: Whether the kernel gave us its lock; None on a disk without locks.
        holder: The note in the file; None where there is none that can be read.
        disk: The kind of file system, as `file_system` says it.
        host: The name of this machine.
        start_of: `process_start`.
    """
    is_held = is_taken is False
    if holder is None:
        if is_held:
            return f"unknown (no readable note in {path})", f"find it with: fuser -v {shlex.quote(str(path))}"
        return None
    if holder.host != host:
        return _refusal_from_elsewhere(path, is_taken, holder, disk, host)
    state = holder_state(holder, start_of)
    if state == ALIVE:
        if is_taken:
            return None
        fix = f"wait for it, stop it with Ctrl-C (or: kill {holder.pid}), or give this run another name: run=NAME"
        return str(holder), fix
    if not is_held:
        return None
    left_behind = " ".join(str(pid) for pid in _open_by(path) if pid != os.getpid())
    who = f"{holder}, which {state}; a process that it left behind keeps the lock"
    if left_behind:
        return f"{who}: {left_behind.replace(' ', ', ')}", f"end it: kill {left_behind}"
    return who, f"find it with: fuser -v {shlex.quote(str(path))}"


def _refusal_from_elsewhere(
    path: Path, is_taken: bool | None, holder: Holder, disk: str, host: str
) -> tuple[str, str] | None:
    """The same where the note names another machine."""
    is_network = is_taken is None or disk.startswith(NETWORK_DISKS)
    if is_taken and not is_network:
        return None  # a local disk that was moved, or a container with a new name: the kernel knows
    why = ""
    if is_taken is not False:
        why = f" (the file system, {disk or 'of an unknown kind'}, may not show us the locks of other machines)"
    fix = (
        f"wait for it, or stop it: ssh {holder.host} kill {holder.pid}; "
        f"if that machine or that process is gone: rm {path}"
    )
    return f"{holder}, while this machine is {host}{why}", fix


def holder_state(holder: Holder, start_of: StartOf) -> str:
    """What has become of a holder on this machine: one of ALIVE, ENDED, REPLACED."""
    started = start_of(holder.pid)
    if started is None:
        return ENDED
    return ALIVE if not holder.started or started == holder.started else REPLACED


def process_start(pid: int) -> str | None:
    """When a process started, as a text that no other process of its number has; None where there is no such process.

    On Linux that is the boot and the clock ticks since then. A zombie counts as none.
    """
    try:
        if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return None
        boot = Path("/proc/sys/kernel/random/boot_id")
        if boot.exists():
            return f"{boot.read_text().strip()}:{Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[19]}"
        return str(psutil.Process(pid).create_time())
    except (psutil.Error, OSError):
        return None


def file_system(path: Path, mounts: str | None = None) -> str:
    """The kind of file system that a path lies on, such as "ext4"; "" where that is unknown.

    Args:
        path: The path; it may not be there yet.
        mounts: The text to take for that of /proc/mounts; None for the file itself.
    """
    if mounts is None:
        mounts = Path("/proc/mounts").read_text() if Path("/proc/mounts").exists() else ""
    places = [
        (place.encode().decode("unicode_escape"), kind)
        for _, place, kind, *_ in (line.split() for line in mounts.splitlines())
    ]
    holding = [
        (len(place), number, kind)
        for number, (place, kind) in enumerate(places)
        if path.resolve().is_relative_to(place)
    ]
    return max(holding)[2] if holding else ""  # of two mounts on one place the later one


def read_note(path: Path) -> Holder | None:
    """The note in a lock file; None where there is none, or none that can be read."""
    try:
        note = json.loads(path.read_text(encoding="utf-8"))
        return Holder(int(note["pid"]), note["host"], note["user"], note["since"], note.get("started", ""))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def describe_holder(path: Path) -> str:
    """Who holds a run, for people."""
    return str(read_note(path) or "unknown (the lock has no readable note)")


def is_held(run_dir: Path) -> bool:
    """Whether a driver works on the run now."""
    path = run_dir / ".lock"
    if not path.exists():
        return False
    with open(path, encoding="utf-8") as stream:
        is_free = _is_free(stream.fileno())
        holder = read_note(path)
        return refusal(path, is_free, holder, file_system(path), socket.gethostname(), process_start) is not None


def take(descriptor: int, tries: int = TRIES) -> bool | None:
    """Takes the kernel's lock of an open file. Returns whether it did; None on a disk that has no locks."""
    from filelock import lock_descriptor  # loads asyncio; commands that only look do without

    for attempt in range(tries):
        if attempt:
            time.sleep(PAUSE_S)
        try:
            if lock_descriptor(descriptor, blocking=False):
                return True
        except OSError:
            return None
    return False


def _is_free(descriptor: int) -> bool | None:
    """Whether nobody has taken the kernel's lock of an open file; None on a disk that has no locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)  # given back as the file is closed
        return True
    except (BlockingIOError, PermissionError):
        return False
    except OSError:
        return None


def _open_by(path: Path) -> list[int]:
    """The processes of this machine, as far as we may look, that have the file open."""
    name = str(path.resolve())
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if any(file.path == name for file in process.open_files()):
                found.append(process.pid)
    return found


def this_process() -> Holder:
    """The note for this process."""
    now = datetime.datetime.now().isoformat(timespec="seconds")
    return Holder(os.getpid(), socket.gethostname(), _user(), now, process_start(os.getpid()) or "")


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())
