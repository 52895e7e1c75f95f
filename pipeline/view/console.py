"""The console that commands print to."""

import functools
import os
import sys

from rich.console import Console

WIDTH_OF_LOGS = 140  # columns where the output is not a terminal: a log may be wider than rich's 80
NARROWEST = 20  # columns; less is not meant


@functools.cache
def standard_console() -> Console:
    """The one console on standard output, as wide as the terminal, or as COLUMNS says, or as a log."""
    columns = os.environ.get("COLUMNS", "")
    if columns.isdecimal():
        return Console(soft_wrap=False, width=max(NARROWEST, int(columns)))
    return Console(soft_wrap=False, width=None if sys.stdout.isatty() else WIDTH_OF_LOGS)
