"""One driver per run: a lock that the kernel drops when its holder dies, with a note that says who holds it."""
import datetime
import fcntl
import getpass
import json
import os
import socket
from pathlib import Path

from pipeline.errors import RunLocked


class RunLock:
    """Context manager over runs/<run>/.lock. Raises RunLocked, naming the holder, when another driver has the run."""

    def __init__(self, run_dir: Path):
        self.path = run_dir / ".lock"

    def __enter__(self) -> "RunLock":
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.stream = open(self.path, "a+", encoding="utf-8")
        try:
            fcntl.flock(self.stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = describe_holder(self.path)
            self.stream.close()
            raise RunLocked(f"the run {self.path.parent.name} is held by another driver: {holder}",
                            "wait for it, stop it with Ctrl-C (or `kill PID`), or give this run another name: run=NAME") from None
        self.stream.truncate(0)
        self.stream.write(json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "user": _user(),
                                      "since": datetime.datetime.now().isoformat(timespec="seconds")}))
        self.stream.flush()
        return self

    def __exit__(self, *_) -> None:
        self.stream.truncate(0)
        self.stream.close()


def describe_holder(path: Path) -> str:
    try:
        note = json.loads(path.read_text(encoding="utf-8"))
        return f"process {note['pid']} of {note['user']} on {note['host']}, since {note['since']}"
    except (OSError, ValueError, KeyError):
        return "unknown (the lock has no readable note)"


def is_held(run_dir: Path) -> bool:
    """Whether a driver works on the run now."""
    path = run_dir / ".lock"
    if not path.exists():
        return False
    with open(path, "a+", encoding="utf-8") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())
