"""Keeps what a plan found out with some effort, so that the next plan of the same files need not.

The results lie in the user's cache directory, by a hash of all that they depend on; a cache that cannot be read or
written costs time and nothing else.
"""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from pipeline.paths import REPOSITORY
from stages.contract.files import digest, write_atomic


def find(parts: Any) -> Any:
    """What `keep` kept for the same parts; None where there is nothing."""
    try:
        return json.loads(_path(parts).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def keep(parts: Any, value: Any) -> None:
    """Keeps plain data under parts, plain data too. It counts until the code that reads and grades rows changes."""
    try:
        path = _path(parts)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, json.dumps(value).encode())
    except OSError:
        return


def _path(parts: Any) -> Path:
    home = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    return home / "r1-recipe" / "looks" / f"{digest([_state_of_code(), parts])[:32]}.json"


def _state_of_code() -> str:
    """Size and time of every module that reads rows or grades them."""
    state = hashlib.sha256()
    for room in ("data", "rewards", "text", "prompting"):
        for path in sorted((REPOSITORY / "stages" / room).rglob("*.py")):
            stat = path.stat()
            state.update(f"{path.name} {stat.st_size} {stat.st_mtime_ns}\n".encode())
    return state.hexdigest()
