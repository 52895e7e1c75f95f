"""Reads rows from text: JSON Lines, a JSON array, CSV. A line that is not a row comes as a Malformed in its place.

What a file's name says is not always so: an array may be named .jsonl, a table with semicolons .csv. What can be read
without a doubt is read; what cannot is refused with what it is.
"""

import csv
import io
import json
import math
import re
from collections.abc import Callable, Collection, Iterable, Iterator
from decimal import Decimal
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

from stages.config.quoting import printable
from stages.data import json_forms
from stages.data.cells import EXACT_FLOATS
from stages.data.malformed import Malformed

RawRow = dict[str, Any] | Malformed
NumberedRow = tuple[int, str, RawRow]  # number of the row in its file, "line" or "row", the row
Open = Callable[[], BinaryIO]  # opens the decompressed file at its beginning

HEAD_BYTES = 4096
EXACT_LENGTH = 16  # a decimal number of no more characters is the same as a float
MAX_WHOLE_BYTES = 2**30  # of a file that is read as a whole to see what it is
MAX_NAME = 60  # characters of a column's name; what is longer is the cell of a row
DELIMITERS = ",\t;|"
NOT_UTF8 = "not UTF-8 text; from Latin-1 or Windows it is converted with iconv -f CP1252 -t UTF-8"
_MARK = b"\xef\xbb\xbf"
csv.field_size_limit(2**31 - 1)


def json_rows(open_file: Open, path: Path) -> Iterator[NumberedRow]:
    """Yields the rows of JSON Lines, or of a JSON array, which is read as a whole.

    Args:
        open_file: opens the file.
        path: the file, for advice.

    Raises:
        ValueError: the file is JSON of another form; the message says which, and how to convert it.
    """
    with open_file() as stream:
        head = stream.read(HEAD_BYTES)
    if head.removeprefix(_MARK).lstrip()[:1] == b"[":
        with open_file() as stream:
            rows = _array(stream.read())
        if rows is not None:
            yield from rows
            return
    has_old_line_ends = b"\r" in head and b"\n" not in head
    with open_file() as stream:
        lines = enumerate(_split_at_returns(stream) if has_old_line_ends else stream, 1)
        yield from _json_lines(((number, line) for number, line in lines if line.strip()), open_file, path)


def _array(content: bytes) -> list[NumberedRow] | None:
    """The rows of a JSON array; None where it is none of objects, or others follow."""
    try:
        rows = _DECODER.decode(content.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        return [(1, "row", Malformed("", "not UTF-8", f"line {line}: {NOT_UTF8}"))]
    except (ValueError, RecursionError) as error:
        if isinstance(error, json.JSONDecodeError) and error.msg == "Extra data":
            return None
        return [(1, "row", Malformed("", "not JSON", f"not JSON: {error}"))]
    if rows and not any(isinstance(row, dict) for row in rows):
        return None
    return [(number, "row", _object(row)) for number, row in enumerate(rows, 1)]


def _split_at_returns(stream: BinaryIO) -> Iterator[bytes]:
    """Yields the lines of a file of an old Mac, which end with a carriage return alone."""
    rest = b""
    while block := stream.read(2**20):
        *lines, rest = (rest + block).split(b"\r")
        yield from lines
    yield rest


def _json_lines(lines: Iterator[tuple[int, bytes]], open_file: Open, path: Path) -> Iterator[NumberedRow]:
    """Yields the row of each line; looks closer where the first one is only the beginning of a value, or the whole."""
    first = next(lines, None)
    if first is None:
        return
    row, is_cut = _parse(first[1])
    if is_cut and (whole := _whole(open_file, path)):
        yield 1, "row", whole
        return
    if isinstance(row, dict) and (why := json_forms.wrapped(row, path)):
        second = next(lines, None)
        if second is None:
            raise ValueError(why)
        lines = chain([second], lines)
    yield first[0], "line", row
    for number, line in lines:
        yield number, "line", _parse(line)[0]


def _whole(open_file: Open, path: Path) -> dict | None:
    """The only row of a file that is one JSON object over several lines; None where the lines are for themselves.

    Raises:
        ValueError: the object holds many rows, or there are several objects.
    """
    with open_file() as stream:
        content = stream.read(MAX_WHOLE_BYTES)
    try:
        value, end = _DECODER.raw_decode(content.decode("utf-8-sig").lstrip())
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, dict):
        return None
    if content.decode("utf-8-sig").lstrip()[end:].strip():
        raise ValueError(json_forms.several_objects(path))
    if why := json_forms.wrapped(value, path):
        raise ValueError(why)
    return value


def _parse(line: bytes) -> tuple[RawRow, bool]:
    """Reads a line of JSON Lines; also returns whether it ends in the middle of a value."""
    try:
        text = line.decode("utf-8-sig")
        return _object(_DECODER.decode(text)), False
    except json.JSONDecodeError as error:
        detail = f"not JSON: {error.msg} at column {error.colno}"
        return Malformed("", "not JSON", detail), error.pos >= len(text.rstrip())
    except UnicodeDecodeError as error:
        return Malformed("", "not UTF-8", f"{NOT_UTF8} (byte {error.start + 1})"), False
    except (ValueError, RecursionError) as error:
        return Malformed("", "not JSON", f"not JSON: {error}"), False


def _object(row: Any) -> RawRow:
    if isinstance(row, dict):
        return row
    return Malformed("", "not an object", f"expected an object with columns, got {type(row).__name__}")


def _without_copies(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The object of these pairs; raises ValueError where a key occurs twice, since either value may be meant."""
    made = dict(pairs)
    if len(made) != len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the key {next(name for name in names if names.count(name) > 1)!r} occurs twice")
    return made


def _exact(digits: str) -> float | Decimal:
    """The number of these digits: a Decimal where a float would round them."""
    number = float(digits)
    if len(digits) <= EXACT_LENGTH or not math.isfinite(number) or abs(number) >= EXACT_FLOATS:
        return number
    exact = Decimal(digits)
    return number if Decimal(repr(number)) == exact else exact


_DECODER = json.JSONDecoder(object_pairs_hook=_without_copies, parse_float=_exact)


def csv_rows(open_file: Open, is_tab: bool, columns: Collection[str] = ()) -> Iterator[NumberedRow]:
    """Yields the rows of a file whose first line names the columns.

    Bytes that are not UTF-8 are decoded as surrogates, so that they make one row malformed and not the whole file.

    Args:
        open_file: opens the file.
        is_tab: whether its name says that cells are separated by tabs. Where the first line has other separators
            only, they are taken.
        columns: names of columns that are asked for; where one is there, the first line is a header.

    Raises:
        ValueError: the first line cannot be a header.
    """
    with open_file() as raw:
        lines = iter(io.TextIOWrapper(raw, encoding="utf-8-sig", errors="surrogateescape", newline=""))
        first = next((line for line in lines if line.strip()), "")
        delimiter = "\t" if is_tab else ","
        if named := re.fullmatch(r'"?sep=(.)"?', first.strip("\r\n")):  # Excel's hint to itself
            delimiter, first = named[1], next(lines, "")
        elif len(_cells(first, delimiter)) == 1:
            others = [other for other in DELIMITERS if len(_cells(first, other)) > 1]
            delimiter = others[0] if len(others) == 1 else delimiter
        yield from _table(chain([first], lines) if first else [], delimiter, columns)


def _cells(line: str, delimiter: str) -> list[str]:
    try:
        return next(csv.reader([line], delimiter=delimiter), [])
    except csv.Error:
        return []


def _table(lines: Iterable[str], delimiter: str, columns: Collection[str]) -> Iterator[NumberedRow]:
    """Yields the rows below a header."""
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    names = [name.strip() for name in next(reader, [])]
    _check_header(names, columns)
    number = 0
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            number += 1
            yield number, "row", Malformed("", "not CSV", f"not CSV: {error} (line {reader.line_num})")
            continue
        if cells:  # an empty line is none
            number += 1
            yield number, "row", _checked_cells(cells, names)


def _check_header(names: list[str], columns: Collection[str]) -> None:
    """Raises ValueError where the first line of a table names no columns."""
    shown = printable(", ".join(names))[:200]
    if any(not name.isascii() and printable(name) != name for name in names):
        raise ValueError(f"has a first line ({shown}) that is {NOT_UTF8}")
    copies = sorted({name for name in names if name and names.count(name) > 1})
    if copies:
        raise ValueError(f"names the column {copies[0]!r} twice in its first line: rename one")
    numbers = [bool(re.fullmatch(r"[-+]?\d+([.,]\d+)?", name)) for name in names]
    is_row = any(len(name) > MAX_NAME or name.endswith("?") for name in names) or (any(numbers) and not all(numbers))
    if is_row and not set(names) & set(columns):
        raise ValueError(
            f"has no header, its first line is a row ({shown}): put a line that names the columns above it, as "
            f"{','.join(columns) or 'prompt,answer'}"
        )


def _checked_cells(cells: list[str], names: list[str]) -> RawRow:
    """Returns the row, or why it cannot be used."""
    if len(cells) != len(names):
        return Malformed(
            "", "wrong number of cells", f"{len(cells)} cells, but the first line names {len(names)} columns"
        )
    for cell in cells:
        if not cell.isascii() and printable(cell) != cell:
            return Malformed("", "not UTF-8", NOT_UTF8)
    return dict(zip(names, cells))
