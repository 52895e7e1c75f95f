"""A deadline ends what hangs, and leaves alone what is slow but alive."""

import threading
import time

import pytest

from stages.runtime import deadline as module
from stages.runtime.deadline import deadline


@pytest.fixture
def missed(monkeypatch):
    """The messages of missed deadlines, in the place of the end of the process."""
    messages, came = [], threading.Event()
    monkeypatch.setattr(module, "on_miss", lambda message: (messages.append(message), came.set()))
    return messages, came


def test_what_hangs_is_named(missed):
    messages, came = missed
    with deadline("a decoding step", 0.2):
        assert came.wait(10)
    assert len(messages) == 1 and "s for a decoding step" in messages[0] and "the limit is 0.2 s" in messages[0]


def test_signs_of_life_and_the_end_of_the_block_keep_it_away(missed):
    messages, came = missed
    with deadline("a decoding step", 2.0) as limit:
        for _ in range(30):
            time.sleep(0.1)
            limit.renew()
    assert not came.wait(2.5) and messages == []
