"""Host memory that was freed goes back to the machine, for those who share it."""

import contextlib
import ctypes
from collections.abc import Iterator
from contextlib import contextmanager

MMAP_THRESHOLD = -3  # the parameter's number in glibc's malloc.h
BLOCK_BYTES, USUAL_BYTES = 2**20, 2**25  # the usual one is what glibc's own threshold grows to


def give_back() -> None:
    """Gives memory back that the C library keeps after it was freed: after work with many large tensors.

    It keeps blocks of up to 32 MiB for later, wherever smaller ones that are still used lie behind them.
    """
    with contextlib.suppress(OSError, AttributeError):  # another C library than glibc
        ctypes.CDLL("libc.so.6").malloc_trim(0)


@contextmanager
def giving_back() -> Iterator[None]:
    """Within the block the memory of a tensor of 1 MiB and more goes back at once when it is freed."""
    _set_threshold(BLOCK_BYTES)
    try:
        yield
    finally:
        _set_threshold(USUAL_BYTES)
        give_back()


def _set_threshold(num_bytes: int) -> None:
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").mallopt(MMAP_THRESHOLD, num_bytes)
