"""Files that survive a crash: written atomically and on the disk, JSON, JSON lines that can be cut back, checksums.

Both halves use it: the driver for what it prepares, the workers for what they produce.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, TypedDict

PRIVATE = 0o600  # the permissions of a temporary file


class FileEntry(TypedDict):
    """What a table of files, as manifests have it, says of one file."""

    sha256: str
    bytes: int


def fsync_file(path: Path) -> None:
    """Waits until the content of a file is on the disk."""
    with open(path, "rb") as stream:
        os.fsync(stream.fileno())


def fsync_directory(directory: Path) -> None:
    """Waits until the names in a directory are on the disk: files that were made, renamed or removed in it."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_atomic(path: Path, data: bytes, durable: bool = True) -> None:
    """Writes a file aside and renames it, so that readers see the old file or the whole new one.

    Args:
        path: The file; directories above it are made.
        data: Its whole content.
        durable: Whether it must be on the disk, with its name, when this returns.
    """
    with open_atomic(path) as stream:
        stream.write(data)
        if durable:
            stream.flush()
            os.fsync(stream.fileno())
    if durable:
        fsync_directory(path.parent)


@contextmanager
def open_atomic(path: Path) -> Iterator[BinaryIO]:
    """Opens a file to be written aside; it gets its name at the end of the block, and is removed where that fails."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _temporary(path)
    try:
        with open(temporary, "wb") as stream:
            yield stream
        os.replace(temporary, path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def follow_umask(path: Path) -> None:
    """Gives a file, or all files under a directory, the permissions of a file that is simply opened for writing.

    safetensors writes through a temporary file that nobody else may read, whatever the umask says.
    """
    directory = path if path.is_dir() else path.parent
    probe = _temporary(directory / "umask")
    try:
        probe.touch()
        mode = probe.stat().st_mode & 0o777
    finally:
        probe.unlink(missing_ok=True)
    for file in path.rglob("*") if path.is_dir() else [path]:
        if file.is_file() and not file.is_symlink() and file.stat().st_mode & 0o777 == PRIVATE:
            file.chmod(mode)


def link(path: Path, target: str) -> None:
    """Points the symbolic link `path` at `target`, atomically."""
    temporary = _temporary(path)
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(target)
    os.replace(temporary, path)


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}.tmp")


def remove_temporaries(*directories: Path, is_recursive: bool = False) -> None:
    """Removes what a killed process left in the middle of `write_atomic` or `link`.

    Call it only while nobody else writes there. With `is_recursive`, also in the directories below.
    """
    for directory in directories:
        for path in directory.rglob(".*.tmp") if is_recursive else directory.glob(".*.tmp"):
            if path.is_symlink() or path.is_file():
                path.unlink()


def write_json(path: Path, value: Any, durable: bool = True) -> None:
    """Writes plain data as JSON, atomically."""
    write_atomic(path, json.dumps(value, ensure_ascii=False, indent=1).encode(), durable)


def read_json(path: Path) -> Any:
    """The value of a JSON file. Raises OSError or ValueError where it cannot be read."""
    return json.loads(Path(path).read_text(encoding="utf-8"))


def find_json(path: Path, default: Any = None) -> Any:
    """The value of a JSON file; `default` where there is no file or where it is not JSON."""
    try:
        return read_json(path)
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return default


def append_jsonl(path: Path, rows: Iterable[dict]) -> None:
    """Appends one line of JSON a row."""
    with open(path, "a", encoding="utf-8") as stream:
        stream.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def read_jsonl(path: Path) -> list[dict]:
    """The complete lines of a JSON lines file, none where there is no file; a half-written last line is left out."""
    if not path.exists():
        return []
    lines = path.read_bytes().split(b"\n")[:-1]
    return [json.loads(line) for line in lines if line.strip()]


def cut_jsonl(path: Path, last_step: int) -> None:
    """Drops the rows after `last_step`, so that a resumed run logs every step once."""
    rows = read_jsonl(path)
    if path.exists():
        kept = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows if row["step"] <= last_step)
        write_atomic(path, kept.encode())


def sha256(path: Path) -> str:
    """SHA-256 of a file's content, in hexadecimal digits."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def digest(value: Any) -> str:
    """SHA-256 of plain data in canonical JSON, in hexadecimal digits."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def size(directory: Path) -> int:
    """Bytes of all files under `directory`."""
    return sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())


def file_table(directory: Path, patterns: list[str]) -> dict[str, FileEntry]:
    """Checksum and size of all files under `directory` that match one of the patterns, by relative path.

    Each file is put on the disk first, so that the table never lists what a power failure can still take away.
    """
    table: dict[str, FileEntry] = {}
    for pattern in patterns:
        for path in sorted(directory.glob(pattern)):
            if path.is_file():
                fsync_file(path)
                table[str(path.relative_to(directory))] = {"sha256": sha256(path), "bytes": path.stat().st_size}
    return table


def damaged_files(directory: Path, table: dict[str, FileEntry]) -> list[str]:
    """Names of the files of a `file_table` that are missing or differ from it."""
    return [
        name
        for name, entry in table.items()
        if not (directory / name).is_file()
        or (directory / name).stat().st_size != entry["bytes"]
        or sha256(directory / name) != entry["sha256"]
    ]
