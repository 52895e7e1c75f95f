"""Reads rows from Parquet and Arrow files, converting a part of a large batch at a time."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from stages.data.cells import Unreadable
from stages.data.text_readers import NumberedRow

BATCH_ROWS = 1024
_WIDTHS = {"float": "float32", "halffloat": "float16"}  # Arrow's names of narrow floats -> numpy's
_EXACT = {"float32": 2**24, "float16": 2**11}  # whole numbers that they hold without rounding end here


def parquet_rows(path: Path) -> Iterator[NumberedRow]:
    """Yields the rows of a Parquet file; raises ValueError where two of its columns have one name."""
    import pyarrow.parquet

    with pyarrow.parquet.ParquetFile(path) as file:
        _check_names(file.schema_arrow.names)
        yield from _batches(file.iter_batches(batch_size=BATCH_ROWS))


def arrow_rows(path: Path) -> Iterator[NumberedRow]:
    """Yields the rows of an Arrow stream, which datasets.save_to_disk writes, or of an Arrow file."""
    import pyarrow

    with pyarrow.memory_map(str(path)) as stream:
        try:
            reader = pyarrow.ipc.open_stream(stream)
            _check_names(reader.schema.names)
            yield from _batches(reader)
        except pyarrow.ArrowInvalid:
            reader = pyarrow.ipc.open_file(stream)
            _check_names(reader.schema.names)
            yield from _batches(reader.get_batch(place) for place in range(reader.num_record_batches))


def _check_names(names: list[str]) -> None:
    if len(set(names)) != len(names):
        copy = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"has two columns named {copy!r}: rename one")


def _batches(batches: Iterable[Any]) -> Iterator[NumberedRow]:
    """Yields the rows of Arrow record batches."""
    number = 0
    for batch in batches:
        for start in range(0, batch.num_rows, BATCH_ROWS):
            for row in _rows(batch.slice(start, BATCH_ROWS)):
                number += 1
                yield number, "row", row


def _rows(batch: Any) -> list[dict[str, Any]]:
    """The rows of a batch; a cell that Python cannot represent is Unreadable, and its neighbours are as they are."""
    import pyarrow

    narrow = {
        name: width for name, kind in zip(batch.schema.names, batch.schema.types) if (width := _WIDTHS.get(str(kind)))
    }
    errors = (pyarrow.ArrowException, ValueError, OverflowError)  # bytes that are not UTF-8, a date of the year 10000
    try:
        rows = batch.to_pylist()
    except errors:
        rows = _cell_by_cell(batch, errors)
    for name, width in narrow.items():
        for row in rows:
            row[name] = _as_written(row[name], width)
    return rows


def _as_written(value: Any, width: str) -> Any:
    """A narrow float by the fewest digits that name it: 0.1 of 32 bits is 0.10000000149 in Python's 64."""
    import numpy

    if not isinstance(value, float) or not numpy.isfinite(value):
        return value
    if abs(value) >= _EXACT[width]:
        return Unreadable(f"{value:.0f}, stored as {width}, may have lost digits: store it as text or an integer")
    return float(str(getattr(numpy, width)(value)))


def _cell_by_cell(batch: Any, errors: tuple[type[Exception], ...]) -> list[dict[str, Any]]:
    """The rows of a batch that has cells which Python cannot represent."""
    rows: list[dict[str, Any]] = [{} for _ in range(batch.num_rows)]
    for name, column in zip(batch.schema.names, batch.columns):
        for row, cell in zip(rows, column):
            try:
                row[name] = cell.as_py()
            except errors as error:
                row[name] = Unreadable(str(error).splitlines()[0])
    return rows
