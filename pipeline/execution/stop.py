"""Ctrl-C and SIGTERM as requests: the first asks for a checkpoint and an end, the second ends at once."""

import signal
import sys
import time
from types import FrameType
from typing import Any

TWICE_S = 1.0  # `timeout` sends its SIGTERM to the driver and then to the driver's group, which is the driver again


def interrupt_on_signals() -> None:
    """Makes SIGTERM and SIGHUP end the driver as Ctrl-C does, before and after the stages, when nothing is to be saved.

    SIGINT is set too: a shell that starts a job in the background makes it ignore that.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt(signal.Signals(number).name)


class StopRequest:
    """Counts stop signals from `install` to `restore`: one asks for a checkpoint and an end, two end at once."""

    def __init__(self) -> None:
        self.count = 0
        self._asked_at = -TWICE_S  # when the last SIGTERM came, by the monotonic clock
        self._before: dict[int, Any] = {}  # the handlers that were there
        self._is_repeated = False  # whether a SIGTERM is expected that says again what was asked without one

    def install(self) -> "StopRequest":
        """Takes the signals over; in the main thread. Again where a library has put its own handlers there since."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            before = signal.signal(number, self._on_signal)
            self._before.setdefault(number, before)
        return self

    def restore(self) -> None:
        """Puts the handlers back that were there before the first `install`.

        After a stop the driver is about to end by itself: a second Ctrl-C that comes now must not cost its exit code.
        """
        for number, handler in self._before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)
        self._before = {}
        if self.is_requested:
            signal.signal(signal.SIGINT, signal.SIG_IGN)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGTERM:
            before, self._asked_at = self._asked_at, time.monotonic()
            if self._asked_at - before < TWICE_S:
                return
            if self._is_repeated:
                self._is_repeated = False
                return
        self.count += 1
        if self.count == 1:
            print("\nstopping after a checkpoint (once more: stop now)", file=sys.stderr, flush=True)

    def ask(self, by: str, is_repeated: bool = False) -> None:
        """Asks for a checkpoint and an end, as the first Ctrl-C does; asked again, it changes nothing. Any thread may.

        Args:
            by: who asks, for people.
            is_repeated: whether a SIGTERM will say the same once more, as Prefect's workers do.
        """
        if self.count:
            return
        self._is_repeated = is_repeated
        self.count = 1
        print(f"\nstopping after a checkpoint: {by}", file=sys.stderr, flush=True)

    @property
    def is_requested(self) -> bool:
        """Whether anybody has asked to stop."""
        return self.count > 0
