"""How a chat looks: the thought is pale where there are colours, two answers stand side by side where there is room."""

import os
import sys
from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from stages.chat.model import Stream

PALE, PLAIN = "\x1b[2m", "\x1b[0m"
GAP = 3  # characters between two columns
ROWS_AROUND = 6  # of the screen: names, speed, what was asked
LEAST_COLUMN = 34  # characters: answers that would be narrower stand below each other


def has_colours() -> bool:
    """Whether standard output shows them: a terminal does, a pipe or a file does not."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def note(text: str) -> None:
    """Says something that is not an answer; it goes where no pipe takes it."""
    print(f"{PALE}{text}{PLAIN}" if has_colours() and sys.stderr.isatty() else text, file=sys.stderr, flush=True)


def show(stream: Stream) -> None:
    """Prints an answer piece by piece as it is drawn."""
    is_pale = False
    for piece in stream:
        is_thought = has_colours() and in_thought(stream.text)
        if is_thought and not is_pale:
            print(PALE, end="")
        print(piece, end="", flush=True)
        if is_pale and not is_thought:
            print(PLAIN, end="")
        is_pale = is_thought
    print(PLAIN if is_pale else "", flush=True)


def in_thought(text: str) -> bool:
    """Whether a completion so far is still thinking."""
    return "<think>" in text and "</think>" not in text


def show_side_by_side(names: Sequence[str], streams: Sequence[Stream]) -> None:
    """Prints the answers of several models in columns, all at once; below each other where there is no room."""
    console = Console()
    if not sys.stdout.isatty() or console.width < LEAST_COLUMN * len(streams):
        for name, stream in zip(names, streams):
            print(f"{name}:")
            show(stream)
        return
    running: list[Iterator[str]] = [iter(stream) for stream in streams]
    most = (console.height - ROWS_AROUND) * (console.width // len(streams) - GAP)  # characters that fit the screen
    with Live(console=console, refresh_per_second=8, transient=True) as live:
        while running:
            running = [one for one in running if next(one, None) is not None]
            live.update(_columns(names, streams, max(most, 0)))
    console.print(_columns(names, streams))


def _columns(names: Sequence[str], streams: Sequence[Stream], most: int | None = None) -> Table:
    """The answers in columns; of long ones only the last `most` characters, where the screen holds no more."""
    table = Table(expand=True, box=None, pad_edge=False, padding=(0, GAP, 0, 0))
    for name in names:
        table.add_column(Text(name), ratio=1, overflow="fold")
    table.add_row(*[_painted(stream.text)[-most if most else 0 :] for stream in streams])
    table.add_row(*[Text(stream.speed(), style="dim") for stream in streams])
    return table


def _painted(text: str) -> Text:
    """A completion with its thought pale."""
    painted = Text(text)
    if "<think>" in text:
        painted.stylize(
            "dim", text.index("<think>"), text.find("</think>") + len("</think>") if "</think>" in text else None
        )
    return painted
