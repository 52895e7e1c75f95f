"""A real file system of a few MiB for a test, which is skipped where mounting is not permitted."""

from contextlib import contextmanager
from pathlib import Path

import pytest

from scripts.chaos_tools import small_disk as tool


@contextmanager
def small_disk(path: Path, size_kib: int):
    """See `scripts/chaos_tools/small_disk.py`."""
    try:
        with tool.small_disk(path, size_kib) as disk:
            yield disk
    except tool.CannotMount as error:
        pytest.skip(str(error))
