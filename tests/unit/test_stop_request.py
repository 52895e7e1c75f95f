"""Signals as requests: one asks for a checkpoint, two end at once, and what `timeout` sends counts once."""

import os
import signal
import time

import pytest

from pipeline.execution import stop
from pipeline.execution.stop import StopRequest


@pytest.fixture
def request_(monkeypatch):
    monkeypatch.setattr(stop, "TWICE_S", 0.3)
    installed = StopRequest().install()
    handler = signal.getsignal(signal.SIGINT)
    yield installed
    assert signal.getsignal(signal.SIGINT) == handler
    installed.restore()
    signal.signal(signal.SIGINT, signal.default_int_handler)


def send(number: int, times: int = 1) -> None:
    for _ in range(times):
        os.kill(os.getpid(), number)


def test_a_second_ctrl_c_ends_at_once_however_soon_it_comes(request_):
    send(signal.SIGINT)
    assert request_.is_requested and request_.count == 1
    send(signal.SIGINT)
    assert request_.count == 2


def test_two_terminations_within_an_instant_are_one_request(request_):
    send(signal.SIGTERM, 2)
    assert request_.count == 1
    time.sleep(0.35)
    send(signal.SIGTERM)
    assert request_.count == 2
