"""What a tracker has been sent of a stage: STAGE_DIRECTORY/trackers/NAME.json, with the id of the tracker's run."""

import contextlib
import fcntl
import secrets
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from stages.contract.files import find_json, write_json

DIRECTORY = "trackers"


@dataclass
class Cursor:
    """How far a tracker is. `attempted` runs ahead of `sent` only between the two writes around one message."""

    id: str = ""
    sent: int = 0  # the last step that the tracker has
    attempted: int = 0  # the last step that it may have
    alarms: int = 0  # alarms that it has
    is_finished: bool = False


def path_of(stage_dir: Path, tracker: str) -> Path:
    """Where the cursor lies."""
    return stage_dir / DIRECTORY / f"{tracker}.json"


def find(stage_dir: Path, tracker: str) -> Cursor | None:
    """The cursor of a stage; None where the tracker has been sent nothing of it."""
    plain = find_json(path_of(stage_dir, tracker))
    if not isinstance(plain, dict):
        return None
    known = {field.name for field in fields(Cursor)}
    return Cursor(**{name: value for name, value in plain.items() if name in known})


def find_or_make(stage_dir: Path, tracker: str, fingerprint: str) -> Cursor:
    """The cursor of a stage, with a new id where there is none.

    The id begins with the fingerprint. The rest is drawn, because a stage that is made again (force=true) is another
    run of the tracker.
    """
    found = find(stage_dir, tracker)
    if found is None or not found.id:
        found = Cursor(id=f"{fingerprint[:8]}{secrets.token_hex(4)}")
        write(stage_dir, tracker, found)
    return found


def write(stage_dir: Path, tracker: str, cursor: Cursor) -> None:
    """Notes how far the tracker is."""
    write_json(path_of(stage_dir, tracker), asdict(cursor), durable=False)


@contextlib.contextmanager
def held(stage_dir: Path, tracker: str) -> Iterator[bool]:
    """Whether this process is the only one that sends the stage to the tracker, inside the block.

    Jobs of a sweep share stages: one of them sends.
    """
    path = path_of(stage_dir, tracker).with_suffix(".lock")
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", encoding="utf-8") as stream:
        try:
            fcntl.flock(stream.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
            return
        yield True
