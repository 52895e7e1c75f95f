"""Waiting for what another process does."""

import time


def wait_for(condition, seconds: float = 20) -> bool:
    """Whether the condition came true within so many seconds; asks twenty times a second."""
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)
    return bool(condition())
