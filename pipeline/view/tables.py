"""Tables that fit the terminal: what matters least is left out first, and no value is cut."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.text import Text

GAP = 2  # columns between two cells
INLINE = 36  # a sentence that is wider goes to a line of its own


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        name: its heading.
        is_number: it is aligned to the right.
        goes: where the table is too wide, columns with 1 are left out first, then those with 2, and so on; 0: never.
            Sentences are not left out when their turn comes: those that do not fit go below their rows.
        is_sentence: its cells are sentences: a long one stands on a line of its own below its row.
        inline: a sentence that is wider is long.
    """

    name: str
    is_number: bool = False
    goes: int = 0
    is_sentence: bool = False
    inline: int = INLINE


def print_table(console: Console, title: str, columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> None:
    """Prints a table as wide as the console.

    Args:
        console: where it goes.
        title: a line above it, plain text; empty for none.
        columns: the columns.
        rows: the cells of each row, with rich's markup: whoever makes them has escaped foreign text.
    """
    if title:
        console.print(Text(title, style="italic"), soft_wrap=True)
    rule = "-" if console.options.ascii_only else "─"
    for line in table_lines(columns, rows, console.width, rule):
        console.print(line, soft_wrap=True, highlight=False)


def print_wide_table(console: Console, title: str, columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> None:
    """Prints a table of many columns that all matter: in parts that fit the console, each with the first column."""
    widths = [_width(column, [Text.from_markup(row[place]) for row in rows]) for place, column in enumerate(columns)]
    parts: list[list[int]] = [[0]]
    for place in range(1, len(columns)):
        if len(parts[-1]) > 1 and _total({one: widths[one] for one in (*parts[-1], place)}) > console.width:
            parts.append([0])
        parts[-1].append(place)
    for number, part in enumerate(parts):
        chosen = [[row[place] for place in part] for row in rows]
        print_table(console, "" if number else title, [columns[place] for place in part], chosen)


def table_lines(columns: Sequence[Column], rows: Sequence[Sequence[str]], width: int, rule: str = "─") -> list[Text]:
    """The lines of a table: its heading, a rule, its rows.

    A table that is too wide even without the columns that may go has long sentences on lines of their own; where that
    is not enough, its lines are longer than `width`, and the terminal folds them: nothing is cut.
    """
    cells = [[Text.from_markup(cell) for cell in row] for row in rows]
    shown = [place for place, column in enumerate(columns) if not rows or any(row[place].plain for row in cells)]
    widths = {place: _width(columns[place], [row[place] for row in cells]) for place in shown}
    leaving = sorted((place for place in widths if columns[place].goes), key=lambda place: columns[place].goes)
    for place in leaving:
        if _total(widths) <= width:
            break
        if columns[place].is_sentence:
            room = width - _total(widths) + widths[place]
            widths[place] = _width(columns[place], [row[place] for row in cells], room)
        else:
            del widths[place]
    head = {place: Text(columns[place].name, style="bold") for place in widths}
    lines = [_line(head, columns, widths), Text(rule * min(_total(widths), width), style="dim")]
    for row in cells:
        lines += _row(row, columns, widths, width)
    return lines


def _width(column: Column, cells: Sequence[Text], room: int | None = None) -> int:
    """The width of a column; of sentences that of those that stay in their row, the widest of which fits the room."""
    lengths = [cell.cell_len for cell in cells]
    if column.is_sentence:
        most = column.inline if room is None else min(column.inline, room)
        lengths = [length for length in lengths if length <= most]
    return max([len(column.name), *lengths])


def _total(widths: dict[int, int]) -> int:
    return sum(widths.values()) + GAP * (len(widths) - 1)


def _row(row: Sequence[Text], columns: Sequence[Column], widths: dict[int, int], width: int) -> list[Text]:
    """A row, and below it the sentences that are too long for their column."""
    inline = {place: row[place] for place in widths}
    below: list[Text] = []
    for place in widths:
        if columns[place].is_sentence and row[place].cell_len > widths[place]:
            inline[place] = Text("")
            below += _folded(row[place], width)
    return [_line(inline, columns, widths), *below]


def _folded(sentence: Text, width: int) -> list[Text]:
    """A sentence on lines of its own, indented; a word that is longer than a line stays whole, to be copied."""
    room = max(20, width - 4)
    folded = textwrap.wrap(sentence.plain, room, break_long_words=False, break_on_hyphens=False)
    return [Text(f"    {line}", style=sentence.style) for line in folded]


def _line(cells: dict[int, Text], columns: Sequence[Column], widths: dict[int, int]) -> Text:
    line = Text()
    for number, place in enumerate(widths):
        padding = " " * (widths[place] - cells[place].cell_len)
        line.append(" " * (GAP if number else 0))
        line.append_text(Text(padding) + cells[place] if columns[place].is_number else cells[place] + Text(padding))
    line.rstrip()
    return line
