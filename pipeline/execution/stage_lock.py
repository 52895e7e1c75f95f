"""One maker of a stage at a time: jobs of a sweep that need the same stage wait for the one that makes it."""

import contextlib
import json
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

from pipeline.errors import StageInterrupted
from pipeline.execution import lock
from pipeline.execution.stop import StopRequest

POLL_S = 0.5


@contextlib.contextmanager
def stage_lock(
    directory: Path, stop: StopRequest, poll: Callable[[], None], say: Callable[[str], None]
) -> Iterator[bool]:
    """Inside the block, nobody else makes the stage of this directory. Yields whether it had to wait.

    The lock lies beside the directory, which `force=true` moves aside: runs/<run>/<stage>/.<short fingerprint>.lock.

    Args:
        directory: the stage's directory; it may not be there yet.
        stop: asked while it waits.
        poll: called while it waits.
        say: told once what it waits for.

    Raises:
        StageInterrupted: a stop was requested while it waited.
    """
    path = directory.with_name(f".{directory.name}.lock")
    path.parent.mkdir(parents=True, exist_ok=True)
    has_waited = False
    with open(path, "a+", encoding="utf-8") as stream:
        while refused := _refusal(path, stream.fileno()):
            if not has_waited:
                say(f"waits for {directory.parent.name}, which another job makes: {refused}")
            has_waited = True
            poll()
            if stop.is_requested:
                raise StageInterrupted(f"stopped while it waited for {directory.parent.name}", "type the command again")
            time.sleep(POLL_S)
        stream.truncate(0)
        stream.write(json.dumps(asdict(lock.this_process())))
        stream.flush()
        try:
            yield has_waited
        finally:
            stream.truncate(0)


def _refusal(path: Path, descriptor: int) -> str:
    """Who holds the lock; "" where it is ours now."""
    is_taken = lock.take(descriptor, tries=1)
    holder, disk = lock.read_note(path), lock.file_system(path)
    refused = lock.refusal(path, is_taken, holder, disk, socket.gethostname(), lock.process_start)
    return refused[0] if refused else ""
