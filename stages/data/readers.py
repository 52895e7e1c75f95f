"""Reads raw rows from files, directories and fetched sets of the hub, one at a time.

Memory does not grow with the file, except for a JSON array. A line that is not a row comes as a Malformed in its place;
a file that cannot be read at all is a ValueError.
"""

import csv
import gzip
import io
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from stages.config import SourceConfig
from stages.data.hub import locate
from stages.data.mapping import Malformed

SUFFIXES = (".jsonl", ".ndjson", ".json", ".parquet", ".csv", ".tsv", ".arrow")
COMPRESSIONS = (".gz", ".zst")
BATCH_ROWS = 1024
MAX_SHOWN = 5
csv.field_size_limit(2**31 - 1)

RawRow = dict[str, Any] | Malformed
Item = tuple[int, str, RawRow]  # number of the row in its source, where it is for people, the row
NumberedRow = tuple[int, str, RawRow]  # number of the row in its file, "line" or "row", the row


def read(source: SourceConfig, key: str = "data") -> Iterator[Item]:
    """Yields the raw rows of a source in their order.

    Args:
        source: where the rows are.
        key: its key in the configuration, for messages.

    Raises:
        ValueError: there are no files, or one cannot be read.
    """
    files = data_files(source, key)
    offset = 0
    for path in files:
        prefix = f"{path.name} " if len(files) > 1 else ""
        number = 0
        for number, what, row in _read_file(path, f"{key}.path={path}"):
            where = f"{prefix}{what} {number}"
            if isinstance(row, Malformed):
                row.where = where
            yield offset + number, where, row
        offset += number


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


def data_files(source: SourceConfig, key: str = "data") -> list[Path]:
    """Returns the files of a source, in the order of their names; raises ValueError where there are none."""
    path = locate(source, key)
    if path.is_file():
        if not kind_of(path):
            raise ValueError(
                f"{key}.path={path}: unknown file type {path.suffix!r}; use {', '.join(SUFFIXES)}, "
                "with .gz or .zst where it is text"
            )
        return [path]
    if source.files:
        matching = [file for file in path.glob(source.files) if file.is_file() and kind_of(file)]
        if not matching:
            raise ValueError(
                f"{key}.path={path}: no data file matches {key}.files={source.files}; "
                f"there are {_some(_all_files(path))}"
            )
        return sorted(matching)
    if (path / "dataset_dict.json").is_file():
        splits = json.loads((path / "dataset_dict.json").read_text(encoding="utf-8"))["splits"]
        if "train" not in splits:
            raise ValueError(
                f"{key}.path={path} has the splits {', '.join(splits)}: choose one, as {key}.files='{splits[0]}/*'"
            )
        path = path / "train"
    found = _all_files(path)
    if not found:
        raise ValueError(f"{key}.path={path}: a directory without data files ({', '.join(SUFFIXES)})")
    return [path / name for name in found]


def kind_of(path: Path) -> str:
    """Returns the suffix that says how a file is read, as ".json", also for a compressed file.

    It is "" for files that are not read, among them those that the datasets library writes beside its data.
    """
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] in COMPRESSIONS:
        suffixes.pop()
    is_side_file = path.name in ("dataset_info.json", "state.json", "dataset_dict.json") or path.name.startswith(
        (".", "cache-")
    )
    return suffixes[-1] if suffixes and suffixes[-1] in SUFFIXES and not is_side_file else ""


def _all_files(path: Path) -> list[str]:
    return sorted(str(file.relative_to(path)) for file in path.rglob("*") if file.is_file() and kind_of(file))


def _some(names: list[str]) -> str:
    more = f" and {len(names) - MAX_SHOWN} more" if len(names) > MAX_SHOWN else ""
    return ", ".join(names[:MAX_SHOWN]) + more or "none"


def _read_file(path: Path, name: str) -> Iterator[NumberedRow]:
    """Yields the rows of one file; `name` stands for it in messages."""
    import pyarrow

    readers: dict[str, Callable[[Path], Iterator[NumberedRow]]] = {
        ".parquet": _parquet,
        ".arrow": _arrow,
        ".csv": _csv,
        ".tsv": _csv,
        ".json": _json,
    }
    try:
        yield from readers.get(kind_of(path), _json_lines)(path)
    except (pyarrow.ArrowException, OSError, EOFError) as error:
        what = {".parquet": "Parquet", ".arrow": "Arrow"}.get(kind_of(path), kind_of(path)[1:])
        raise ValueError(f"{name} is not a readable {what} file: {str(error).splitlines()[0]}") from error


def _open(path: Path) -> Any:
    """Returns a binary stream of the decompressed file."""
    if path.suffix.lower() == ".gz":
        return gzip.open(path, "rb")
    if path.suffix.lower() == ".zst":
        import pyarrow

        return io.BufferedReader(pyarrow.CompressedInputStream(pyarrow.OSFile(str(path), "rb"), "zstd"))
    return open(path, "rb")


def _json_lines(path: Path) -> Iterator[NumberedRow]:
    with _open(path) as lines:
        for number, line in enumerate(lines, 1):
            if line.strip():
                yield number, "line", _parse(line)


def _parse(line: bytes) -> RawRow:
    """Reads a line of JSON Lines."""
    try:
        row = json.loads(line.decode("utf-8-sig"))
    except json.JSONDecodeError as error:
        return Malformed("", "not JSON", f"not JSON: {error.msg} at column {error.colno}")
    except UnicodeDecodeError as error:
        return Malformed("", "not UTF-8", f"not UTF-8 text (byte {error.start + 1})")
    except (ValueError, RecursionError) as error:
        return Malformed("", "not JSON", f"not JSON: {error}")
    return _object(row)


def _object(row: Any) -> RawRow:
    if isinstance(row, dict):
        return row
    return Malformed("", "not an object", f"expected an object with columns, got {type(row).__name__}")


def _json(path: Path) -> Iterator[NumberedRow]:
    """Yields the rows of a JSON array, which is read as a whole, or of JSON Lines."""
    with _open(path) as stream:
        first = stream.read(4096).lstrip(b"\xef\xbb\xbf \t\r\n")[:1]
    if first != b"[":
        yield from _json_lines(path)
        return
    with _open(path) as stream:
        try:
            rows = json.loads(stream.read().decode("utf-8-sig"))
        except ValueError as error:
            yield 1, "row", Malformed("", "not JSON", f"not JSON: {error}")
            return
    for number, row in enumerate(rows, 1):
        yield number, "row", _object(row)


def _parquet(path: Path) -> Iterator[NumberedRow]:
    import pyarrow.parquet

    with pyarrow.parquet.ParquetFile(path) as file:
        yield from _batches(file.iter_batches(batch_size=BATCH_ROWS))


def _arrow(path: Path) -> Iterator[NumberedRow]:
    """Yields the rows of an Arrow stream, which datasets.save_to_disk writes, or of an Arrow file."""
    import pyarrow

    with pyarrow.memory_map(str(path)) as stream:
        try:
            yield from _batches(pyarrow.ipc.open_stream(stream))
        except pyarrow.ArrowInvalid:
            reader = pyarrow.ipc.open_file(stream)
            yield from _batches(reader.get_batch(place) for place in range(reader.num_record_batches))


def _batches(batches: Iterable[Any]) -> Iterator[NumberedRow]:
    """Yields the rows of Arrow record batches, converting a part of a large batch at a time."""
    number = 0
    for batch in batches:
        for start in range(0, batch.num_rows, BATCH_ROWS):
            for row in batch.slice(start, BATCH_ROWS).to_pylist():
                number += 1
                yield number, "row", row


def _csv(path: Path) -> Iterator[NumberedRow]:
    """Yields the rows of a file whose first line names the columns.

    Bytes that are not UTF-8 are decoded as surrogates, so that they make one row malformed and not the whole file.
    """
    with _open(path) as raw:
        lines = io.TextIOWrapper(raw, encoding="utf-8-sig", errors="surrogateescape", newline="")
        reader = csv.DictReader(lines, delimiter="\t" if kind_of(path) == ".tsv" else ",", strict=True)
        number = 0
        while True:
            number += 1
            try:
                row = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                yield number, "row", Malformed("", "not CSV", f"not CSV: {error} (line {reader.line_num})")
                continue
            yield number, "row", _checked_cells(row, len(reader.fieldnames or []))


def _checked_cells(row: dict[Any, Any], num_columns: int) -> RawRow:
    """Returns the row, or why it cannot be used; csv puts cells without a column under the key None."""
    if None in row or None in row.values():
        number = num_columns + len(row[None]) if None in row else sum(value is not None for value in row.values())
        return Malformed("", "wrong number of cells", f"{number} cells, but the first line names {num_columns} columns")
    try:
        for value in row.values():
            value.encode()
    except UnicodeEncodeError:
        return Malformed("", "not UTF-8", "not UTF-8 text")
    return row
