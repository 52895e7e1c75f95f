"""A stage is done when its manifest is there and every file it lists has its checksum.

Checksums of unchanged files are remembered by (size, mtime_ns, inode) beside the manifest, so large models are hashed
once.
"""

from dataclasses import dataclass
from pathlib import Path

from stages.contract.files import find_json, sha256, write_json

MEMORY = ".verified.json"


@dataclass(frozen=True)
class Verdict:
    """`manifest` is None where the stage is not done; `problems` name damaged files."""

    manifest: dict | None
    problems: list[str]


def verify(stage_dir: Path) -> Verdict:
    """Reads the manifest of a stage directory and checks every file it lists."""
    path = stage_dir / "manifest.json"
    if not path.exists():
        return Verdict(None, [])
    manifest = find_json(path)
    if not isinstance(manifest, dict) or not isinstance(manifest.get("files"), dict):
        return Verdict({}, [f"{path} is not a manifest"])
    remembered = find_json(stage_dir / MEMORY, {})
    problems, seen = [], {}
    for name, entry in manifest["files"].items():
        if not isinstance(entry, dict) or not {"sha256", "bytes"} <= entry.keys():
            return Verdict({}, [f"{path} is not a manifest: its entry of {name} has no checksum"])
        problem, seen[name] = _check(stage_dir / name, entry, remembered.get(name))
        problems += [problem] if problem else []
    if not problems and seen != remembered:
        try:
            write_json(stage_dir / MEMORY, seen)
        except OSError:
            pass  # a read-only or full disk: hashing again next time is all it costs
    return Verdict(manifest, problems)


def _check(path: Path, entry: dict, remembered: list | None) -> tuple[str | None, list | None]:
    """(what is wrong or None, what to remember of the file)."""
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
