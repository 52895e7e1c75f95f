"""Reads raw rows from files, directories and fetched sets of the hub, one at a time.

Memory does not grow with the file, except for a JSON array. A line that is not a row comes as a Malformed in its place;
a file that cannot be read at all is a ValueError that says what it is.
"""

import gzip
import io
from collections.abc import Collection, Iterator
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, cast

from stages.config import SourceConfig
from stages.config.quoting import printable
from stages.data import file_kinds
from stages.data.file_selection import data_files, kind_of
from stages.data.malformed import Malformed
from stages.data.table_readers import arrow_rows, parquet_rows
from stages.data.text_readers import NumberedRow, RawRow, csv_rows, json_rows

MAX_SHOWN = 5
KINDS = {".parquet": "Parquet", ".arrow": "Arrow"}

Item = tuple[int, str, RawRow]  # number of the row in its source, where it is for people, the row


def read(source: SourceConfig, key: str = "data") -> Iterator[Item]:
    """Yields the raw rows of a source in their order.

    Args:
        source: where the rows are.
        key: its key in the configuration, for messages.

    Raises:
        ValueError: there are no files or no rows, or a file cannot be read.
    """
    files = data_files(source, key)
    columns = [source.messages_column or source.prompt_column, source.answer_column]
    offset = 0
    for path in files:
        prefix = f"{printable(path.name)} " if len(files) > 1 else ""
        number = 0
        for number, what, row in read_file(path, printable(f"{key}.path={path}"), columns):
            where = f"{prefix}{what} {number}"
            if isinstance(row, Malformed):
                row.where = where
            yield offset + number, where, row
        offset += number
    if not offset:
        raise ValueError(printable(f"{key}.path={source.path} has no rows: {_why_empty(files)}"))


def read_all(path: Path) -> list[tuple[str, dict[str, Any]]]:
    """Returns (place, raw row) of all rows of a file or directory; raises ValueError where a line is not a row."""
    rows, errors = [], []
    for _, where, row in read(SourceConfig(path=str(path))):
        if isinstance(row, Malformed):
            errors.append(f"{where}: {row.detail}")
        else:
            rows.append((where, row))
    if errors:
        more = f" ... and {len(errors) - MAX_SHOWN} more" if len(errors) > MAX_SHOWN else ""
        raise ValueError(f"{path}: {len(errors)} lines are no rows: {'; '.join(errors[:MAX_SHOWN])}{more}")
    return rows


def _why_empty(files: list[Path]) -> str:
    if len(files) > 1:
        return f"its {len(files)} files are empty"
    if not files[0].stat().st_size:
        return "the file is empty: it needs at least one row"
    if kind_of(files[0]) in (".csv", ".tsv"):
        return "the file has only a line that names the columns"
    return "the file holds none"


def read_file(path: Path, name: str, columns: Collection[str] = ()) -> Iterator[NumberedRow]:
    """Yields the rows of one file.

    Args:
        path: the file.
        name: what stands for it in messages.
        columns: names of columns that are asked for, by which the first line of a CSV file is known for a header.

    Raises:
        ValueError: it cannot be read, or is something else than its name says.
    """
    import pyarrow

    kind = kind_of(path)
    try:
        with _open(path) as stream:
            head = stream.read(file_kinds.SNIFFED_BYTES)
        kind = _real_kind(path, kind, head)
        yield from _rows(path, kind, columns)
    except PermissionError as error:
        raise ValueError(f"{name} may not be read by you: chmod u+r it, or ask its owner") from error
    except (pyarrow.ArrowException, OSError, EOFError) as error:
        why = _cut_off(path, kind, error) or str(error).splitlines()[0]
        raise ValueError(f"{name} is not a readable {KINDS.get(kind, kind[1:])} file: {why}") from error
    except ValueError as error:
        raise ValueError(f"{name} {error}") from error


def _real_kind(path: Path, kind: str, head: bytes) -> str:
    """Returns how a file is read: as its name says, or as Parquet or Arrow where it is that.

    Raises:
        ValueError: it is something else, or binary tables are compressed once more.
    """
    if file_kinds.is_binary_table(head):
        if _compression(path):
            raise ValueError(f"is a Parquet or Arrow file inside {_compression(path)}: unpack it")
        return ".parquet" if head.startswith(file_kinds.PARQUET) else ".arrow"
    if why := file_kinds.foreign_kind(head, path):
        raise ValueError(why)
    if kind in KINDS:
        what = f"it begins with {head[:20]!r}" if head else "it is empty (0 bytes)"
        raise ValueError(f"is not a readable {KINDS[kind]} file: {what}")
    return kind


def _rows(path: Path, kind: str, columns: Collection[str]) -> Iterator[NumberedRow]:
    open_file = partial(_open, path)
    if kind == ".parquet":
        return parquet_rows(path)
    if kind == ".arrow":
        return arrow_rows(path)
    if kind in (".csv", ".tsv"):
        return csv_rows(open_file, kind == ".tsv", columns)
    return json_rows(open_file, path)


def _compression(path: Path) -> str:
    """Returns "gzip" or "zstd" where a file is compressed by its first bytes or its name, else ""."""
    with open(path, "rb") as stream:
        head = stream.read(4)
    for magic, suffix, name in ((file_kinds.GZIP, ".gz", "gzip"), (file_kinds.ZSTD, ".zst", "zstd")):
        if head.startswith(magic) or path.suffix.lower() == suffix:
            return name
    return ""


def _open(path: Path) -> BinaryIO:
    """Returns a binary stream of the decompressed file."""
    compression = _compression(path)
    if compression == "gzip":
        return cast(BinaryIO, gzip.open(path, "rb"))
    if compression == "zstd":
        import pyarrow

        return io.BufferedReader(pyarrow.CompressedInputStream(pyarrow.OSFile(str(path), "rb"), "zstd"))
    return open(path, "rb")


def _cut_off(path: Path, kind: str, error: Exception) -> str | None:
    """Returns that the end of a file is missing, where it is so."""
    is_cut = isinstance(error, EOFError)
    if kind == ".parquet" and path.stat().st_size >= 4:
        with open(path, "rb") as stream:
            stream.seek(-4, io.SEEK_END)
            is_cut = stream.read() != file_kinds.PARQUET
    return "it is cut off, its end is missing: fetch it again" if is_cut else None
