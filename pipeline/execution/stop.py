"""Ctrl-C and SIGTERM as requests: the first asks for a checkpoint and an end, the second ends at once."""

import signal
import sys


def interrupt_on_signals() -> None:
    """For what comes before and after the stages, where there is nothing to save: SIGTERM and SIGHUP end the driver as
    Ctrl-C does. SIGINT too where the shell that started it told it to ignore that (a job in the background).
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)


def _interrupt(number, frame):
    raise KeyboardInterrupt(signal.Signals(number).name)


class StopRequest:
    """Counts stop signals. `install` must run in the main thread; it can be repeated (Prefect sets handlers of its
    own).
    """

    def __init__(self):
        self.count = 0
        self._before = {}

    def install(self) -> "StopRequest":
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            before = signal.signal(number, self._on_signal)
            self._before.setdefault(number, before)
        return self

    def restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)
        self._before = {}

    def _on_signal(self, number, frame) -> None:
        self.count += 1
        if self.count == 1:
            print("\nstopping after a checkpoint (once more: stop now)", file=sys.stderr, flush=True)

    @property
    def is_requested(self) -> bool:
        return self.count > 0
