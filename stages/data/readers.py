"""Raw rows of files, directories and fetched hub names, one at a time: memory does not grow with the file (but for a
JSON array).

A line that is no row comes as a Malformed in its place. What makes a whole file unreadable is a ValueError.
"""

import csv
import gzip
import io
import json
from collections.abc import Iterator
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

Item = tuple[int, str, dict | Malformed]  # number of the row, where it is, the row


def read(source: SourceConfig, key: str = "data") -> Iterator[Item]:
    """The raw rows of a source. `key`: its key in the configuration, for messages."""
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


def read_all(path: Path) -> list[tuple[str, dict]]:
    """All raw rows of a file or directory with where they stand. Raises ValueError with the first lines that are no
    rows.
    """
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
    """The files of a source, in the order of their names. Raises ValueError where there are none."""
    path = locate(source, key)
    if path.is_file():
        if not kind_of(path):
            raise ValueError(
                f"{key}.path={path}: unknown file type {path.suffix!r}; use {', '.join(SUFFIXES)}, "
                "with .gz or .zst where it is text"
            )
        return [path]
    if source.files:
        found = [file for file in path.glob(source.files) if file.is_file() and kind_of(file)]
        if not found:
            raise ValueError(
                f"{key}.path={path}: no data file matches {key}.files={source.files}; "
                f"there are {_some(_all_files(path))}"
            )
        return sorted(found)
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
    """The suffix that says how a file is read, without compression; empty for others and for what datasets keeps beside
    its data.
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
    return (
        ", ".join(names[:MAX_SHOWN]) + (f" and {len(names) - MAX_SHOWN} more" if len(names) > MAX_SHOWN else "")
        or "none"
    )


def _read_file(path: Path, name: str) -> Iterator[tuple[int, str, dict | Malformed]]:
    """(number, "line" or "row", row)."""
    import pyarrow

    reader = {".parquet": _parquet, ".arrow": _arrow, ".csv": _csv, ".tsv": _csv, ".json": _json}.get(
        kind_of(path), _json_lines
    )
    try:
        yield from reader(path)
    except (pyarrow.ArrowException, OSError, EOFError) as error:
        what = {".parquet": "Parquet", ".arrow": "Arrow"}.get(kind_of(path), kind_of(path)[1:])
        raise ValueError(f"{name} is not a readable {what} file: {str(error).splitlines()[0]}") from error


def _open(path: Path) -> Any:
    """A binary stream of the decompressed file."""
    if path.suffix.lower() == ".gz":
        return gzip.open(path, "rb")
    if path.suffix.lower() == ".zst":
        import pyarrow

        return io.BufferedReader(pyarrow.CompressedInputStream(pyarrow.OSFile(str(path), "rb"), "zstd"))
    return open(path, "rb")


def _json_lines(path: Path) -> Iterator[tuple[int, str, dict | Malformed]]:
    with _open(path) as lines:
        for number, line in enumerate(lines, 1):
            if line.strip():
                yield number, "line", _parse(line)


def _parse(line: bytes) -> dict | Malformed:
    try:
        row = json.loads(line.decode("utf-8-sig"))
    except json.JSONDecodeError as error:
        return Malformed("", "not JSON", f"not JSON: {error.msg} at column {error.colno}")
    except UnicodeDecodeError as error:
        return Malformed("", "not UTF-8", f"not UTF-8 text (byte {error.start + 1})")
    except (ValueError, RecursionError) as error:
        return Malformed("", "not JSON", f"not JSON: {error}")
    return (
        row
        if isinstance(row, dict)
        else Malformed("", "not an object", f"expected an object with columns, got {type(row).__name__}")
    )


def _json(path: Path) -> Iterator[tuple[int, str, dict | Malformed]]:
    """An array of rows, read as a whole; else JSON Lines."""
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
        yield (
            number,
            "row",
            row
            if isinstance(row, dict)
            else Malformed("", "not an object", f"expected an object with columns, got {type(row).__name__}"),
        )


def _parquet(path: Path) -> Iterator[tuple[int, str, dict]]:
    import pyarrow.parquet

    with pyarrow.parquet.ParquetFile(path) as file:
        yield from _batches(file.iter_batches(batch_size=BATCH_ROWS))


def _arrow(path: Path) -> Iterator[tuple[int, str, dict]]:
    """What datasets.save_to_disk writes: an Arrow stream; else an Arrow file."""
    import pyarrow

    with pyarrow.memory_map(str(path)) as stream:
        try:
            yield from _batches(pyarrow.ipc.open_stream(stream))
        except pyarrow.ArrowInvalid:
            reader = pyarrow.ipc.open_file(stream)
            yield from _batches(reader.get_batch(place) for place in range(reader.num_record_batches))


def _batches(batches) -> Iterator[tuple[int, str, dict]]:
    number = 0
    for batch in batches:
        for start in range(0, batch.num_rows, BATCH_ROWS):
            for row in batch.slice(start, BATCH_ROWS).to_pylist():
                number += 1
                yield number, "row", row


def _csv(path: Path) -> Iterator[tuple[int, str, dict | Malformed]]:
    """The first line names the columns; undecodable bytes come as surrogates, so that one row is bad and not the file."""
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


def _checked_cells(row: dict, num_columns: int) -> dict | Malformed:
    if None in row or None in row.values():
        number = num_columns + len(row[None]) if None in row else sum(value is not None for value in row.values())
        return Malformed("", "wrong number of cells", f"{number} cells, but the first line names {num_columns} columns")
    try:
        for value in row.values():
            value.encode()
    except UnicodeEncodeError:
        return Malformed("", "not UTF-8", "not UTF-8 text")
    return row
