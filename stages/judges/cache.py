"""Replies on disk, one small file each, so that no call is paid twice, by no process and no stage of a run.

A file is written aside and renamed, so any number of processes may share a directory. An entry that cannot be read
counts as absent.
"""

import json
from dataclasses import asdict
from pathlib import Path

from stages.contract import files
from stages.judges.calls import Reply


class ReplyCache:
    """The replies in a directory, by the key of their call (`calls.key_of`)."""

    def __init__(self, directory: Path):
        self.directory = directory
        self.num_damaged = 0

    def path(self, key: str) -> Path:
        """The file of a key."""
        return self.directory / key[:2] / f"{key}.json"

    def get(self, key: str) -> Reply | None:
        """The reply that was kept for a key, or None; an entry that cannot be read is counted in `num_damaged`."""
        try:
            entry = json.loads(self.path(key).read_bytes())
            if entry["key"] != key:
                raise ValueError("an entry of another call")
            return Reply(**entry["reply"])
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError):
            self.num_damaged += 1
            return None

    def put(self, key: str, reply: Reply) -> None:
        """Keeps a reply; its retries are forgotten, because nobody pays for them again."""
        files.write_json(self.path(key), {"key": key, "reply": {**asdict(reply), "retries": 0}})
