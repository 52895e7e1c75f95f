"""Full disks: found before a checkpoint is begun, recognised in libraries' errors, reported with what is needed."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stages.runtime.errors import HasFix

MIB = 2**20
GIB = 2**30
RESERVE_BYTES = 64 * 2**10  # given back when the disk is full, so that error.json can still say so
SAID_BY_THE_SYSTEM = ("No space left on device", "Disk quota exceeded")
SAID_BY_TORCH_SAVE = ("inline_container", "iostream error")  # of any file that could not grow


class DiskFull(HasFix, ValueError):
    """A disk has no room for what the stage must write. `fix` says how much to free where."""

    def __init__(self, message: str, fix: str):
        super().__init__(message)
        self.fix = fix


def require(directory: Path, needed_bytes: int, what: str) -> None:
    """Raises DiskFull where the disk of `directory` has less than `needed_bytes` free for `what`."""
    free = shutil.disk_usage(directory).free
    if free < needed_bytes:
        raise DiskFull(
            f"{what} needs {_mib(needed_bytes)} and the disk of {directory} has {_mib(free)} free",
            _fix(directory, needed_bytes - free),
        )


def as_disk_full(error: BaseException, directory: Path, needed_bytes: int = MIB) -> DiskFull | None:
    """The full disk behind an error, if there is one.

    Args:
        error: What was raised; the errors that it came from are looked at too.
        directory: What was written to.
        needed_bytes: How much was to be written.

    Returns:
        A DiskFull, or None where the error is something else.
    """
    if isinstance(error, DiskFull):
        return error
    free = shutil.disk_usage(directory).free
    if not any(_says_full(cause, free < max(needed_bytes, MIB)) for cause in _causes(error)):
        return None
    return DiskFull(
        f"the disk of {directory} is full: {error} ({_mib(free)} free, {_mib(needed_bytes)} needed)",
        _fix(directory, needed_bytes),
    )


@contextmanager
def all_or_nothing(directory: Path, needed_bytes: int = MIB) -> Iterator[None]:
    """Removes `directory` when the block that fills it fails; a full disk becomes a DiskFull."""
    try:
        yield
    except Exception as error:
        full = as_disk_full(error, directory.parent, needed_bytes)
        shutil.rmtree(directory, ignore_errors=True)
        if full is None:
            raise
        raise full from error


def reserve(path: Path) -> None:
    """Takes a little space, to be given back when the disk is full."""
    path.write_bytes(os.urandom(RESERVE_BYTES))  # not zeros: some file systems store those in no space at all


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _says_full(error: BaseException, is_tight: bool) -> bool:
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    return any(text in str(error) for text in SAID_BY_THE_SYSTEM) or (
        is_tight and any(text in str(error) for text in SAID_BY_TORCH_SAVE)
    )


def _fix(directory: Path, missing_bytes: int) -> str:
    return (
        f"free at least {_mib(missing_bytes)} on the disk of {directory}, then run the same command: "
        "it continues from the last checkpoint"
    )


def _mib(count: int) -> str:
    return f"{count / MIB:.1f} MiB"
