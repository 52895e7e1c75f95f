"""manifest.json: a stage is done when it is there and every file that it lists has its checksum.

Rank 0 writes it last, atomically. Checksums of unchanged files are remembered beside it by size, time of the last
change and inode, so that large models are hashed once.
"""

import contextlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from stages.contract.files import FileEntry, find_json, sha256, write_json
from stages.contract.json_file import LEFT_OUT_IF_NONE, DamagedFile, StageFile

MEMORY = ".verified.json"


@dataclass(frozen=True, kw_only=True)
class Timing:
    """Time of a stage over all its attempts, in seconds."""

    total_s: float = 0.0  # of the ranks that lived longest
    startup_s: float = 0.0  # until the engines were up
    rank_s: float | None = field(
        default=None, metadata=LEFT_OUT_IF_NONE
    )  # of all ranks together; the report, which has none, leaves it out
    attempts: int = 1


@dataclass(frozen=True, kw_only=True)
class Tokens:
    """Tokens that a stage sampled and trained on."""

    sampled: int = 0
    trained: int = 0


@dataclass(frozen=True, kw_only=True)
class Manifest(StageFile):
    """A finished stage: what it is, what it was made from, its files with their checksums, its numbers."""

    FILE_NAME: ClassVar[str] = "manifest.json"
    WHAT: ClassVar[str] = "manifest"

    stage: str = ""
    kind: str = ""
    version: int | None = None
    fingerprint: str = ""
    inputs: dict[str, str] = field(default_factory=dict)  # role -> fingerprint
    files: dict[str, FileEntry]  # path relative to the stage directory -> checksum and size
    metrics: dict[str, float] = field(default_factory=dict)  # the numbers at the end
    timing: Timing = field(default_factory=Timing)
    tokens: Tokens | None = field(default=None, metadata=LEFT_OUT_IF_NONE)
    peak_memory_gib: float = 0.0
    created: str = ""  # ISO 8601, UTC
    versions: dict[str, str] = field(default_factory=dict)  # of the libraries that made it
    hardware: dict[str, str] | None = field(
        default=None, metadata=LEFT_OUT_IF_NONE
    )  # processor, memory and accelerators of rank 0's machine; the report, which has no workers, leaves it out

    def bytes_of(self, suffix: str) -> int:
        """Bytes of the listed files whose names end so."""
        return sum(entry["bytes"] for name, entry in self.files.items() if name.endswith(suffix))


@dataclass(frozen=True)
class Verdict:
    """What `verify` found. Where there is no manifest, `manifest` is None and there are no problems."""

    manifest: Manifest | None  # None also where the file is not a manifest
    problems: list[str]  # each names a damaged file

    @property
    def is_there(self) -> bool:
        """Whether the stage was finished, whatever has become of its files since."""
        return self.manifest is not None or bool(self.problems)


def verify(stage_dir: Path) -> Verdict:
    """Reads the manifest of a stage directory and checks every file that it lists."""
    path = stage_dir / Manifest.FILE_NAME
    if not path.exists():
        return Verdict(None, [])
    try:
        manifest = Manifest.read_path(path)
    except DamagedFile as error:
        return Verdict(None, [str(error)])
    memory = find_json(stage_dir / MEMORY, {})
    remembered = memory if isinstance(memory, dict) else {}
    problems: list[str] = []
    seen: dict[str, list[Any] | None] = {}
    for name, entry in manifest.files.items():
        problem, seen[name] = _check(stage_dir / name, entry, remembered.get(name))
        problems += [problem] if problem else []
    if not problems and seen != remembered:
        with contextlib.suppress(OSError):  # a read-only or full disk: hashing again next time is all it costs
            write_json(stage_dir / MEMORY, seen)
    return Verdict(manifest, problems)


def _check(path: Path, entry: FileEntry, remembered: list[Any] | None) -> tuple[str | None, list[Any] | None]:
    """(what is wrong with a file or None, what to remember of it)."""
    if not path.is_file():
        return f"{path} is missing, though the manifest lists it", None
    stat = path.stat()
    identity = [stat.st_size, stat.st_mtime_ns, stat.st_ino, entry["sha256"]]
    if identity == remembered:
        return None, identity
    if stat.st_size != entry["bytes"]:
        return f"{path} has {stat.st_size} bytes, its manifest says {entry['bytes']}", None
    if sha256(path) != entry["sha256"]:
        return f"{path} was changed after it was written: its SHA-256 is not the manifest's", None
    return None, identity
