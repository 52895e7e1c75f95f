"""Begins a stage again when it has lost a machine or a server: after a wait that grows, from its checkpoint."""

import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from pipeline.errors import Lost, StageInterrupted
from pipeline.execution.stop import StopRequest
from pipeline.planning.action import RESUME
from pipeline.planning.plan import Step
from pipeline.view.words import duration

POLL_S = 0.2
T = TypeVar("T")


def with_retries(
    make: Callable[[Step], T],
    step: Step,
    waits: Sequence[float],
    stop: StopRequest,
    say: Callable[[str], None],
    poll: Callable[[], None] = lambda: None,
) -> T:
    """Makes a stage, again after each of `waits` where it ended with `Lost`. Every other error is raised at once.

    Args:
        make: Makes the stage of a step.
        step: The step; later attempts resume what the one before has left.
        waits: Seconds to wait before each further attempt.
        stop: A request to stop ends the wait.
        say: Told of each further attempt.
        poll: Called while it waits: in a sweep it hears of a stop.

    Raises:
        StageInterrupted: A stop was asked for before the next attempt.
    """
    for number, wait in enumerate(waits, start=1):
        try:
            return make(step)
        except Lost as error:
            say(f"WARNING: {str(error).splitlines()[0]}")
            say(f"WARNING: tries again in {duration(wait)} (attempt {number + 1} of {len(waits) + 1})")
            if _is_stopped_within(wait, stop, poll):
                why = str(error).splitlines()[0]
                raise StageInterrupted(
                    f"{step.stage} was stopped before it was tried again: {why}", error.fix
                ) from error
            step = dataclasses.replace(step, action=RESUME)
    return make(step)


def _is_stopped_within(seconds: float, stop: StopRequest, poll: Callable[[], None]) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        poll()
        if stop.is_requested:
            return True
        time.sleep(POLL_S)
    return stop.is_requested
