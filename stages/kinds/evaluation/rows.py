"""Reads the rows of a suite's data set, from a local file (JSONL, JSON, CSV, Parquet) or the hub's copy."""

import csv
import json
from pathlib import Path

from stages.config import SuiteConfig

Row = tuple[str, dict]  # where it stands ("line 3"), and its columns


def read_rows(name: str, suite: SuiteConfig) -> list[Row]:
    """Reads all rows of a suite.

    Raises:
        ValueError: What is wrong, where, and what to do.
    """
    if suite.path is None:
        return _read_hub(name, suite)
    path = Path(suite.path)
    readers = {
        ".jsonl": _read_jsonl,
        ".ndjson": _read_jsonl,
        ".json": _read_json,
        ".csv": _read_csv,
        ".parquet": _read_parquet,
    }
    if not path.is_file():
        raise ValueError(f"eval.{name}.path={path}: no such file")
    if path.suffix not in readers:
        raise ValueError(f"eval.{name}.path={path}: unknown file type {path.suffix!r}; use {', '.join(readers)}")
    try:
        rows = readers[path.suffix](path)
    except UnicodeDecodeError as error:
        raise ValueError(f"eval.{name}.path={path}: not UTF-8 text (byte {error.start + 1})") from error
    except (ValueError, OSError) as error:
        raise ValueError(f"eval.{name}.path={path}: {error}") from error
    for where, row in rows:
        if not isinstance(row, dict):
            raise ValueError(
                f"eval.{name}.path={path}, {where}: expected an object with columns, got {type(row).__name__}"
            )
    return rows


def _read_jsonl(path: Path) -> list[Row]:
    rows = []
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").split("\n"), 1):
        if line.strip():
            try:
                rows.append((f"line {number}", json.loads(line)))
            except json.JSONDecodeError as error:
                raise ValueError(f"line {number} is not JSON: {error.msg} at column {error.colno}") from error
    return rows


def _read_json(path: Path) -> list[Row]:
    """A list of rows; or one object a line, as files of that name often are."""
    text = path.read_text(encoding="utf-8-sig").lstrip()
    if not text.startswith("["):
        return _read_jsonl(path)
    return [(f"row {number}", row) for number, row in enumerate(json.loads(text), 1)]


def _read_csv(path: Path) -> list[Row]:
    with open(path, encoding="utf-8-sig", newline="") as stream:
        return [(f"row {number}", row) for number, row in enumerate(csv.DictReader(stream), 1)]


def _read_parquet(path: Path) -> list[Row]:
    import pyarrow
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.read_table(path)
    except pyarrow.ArrowException as error:
        raise ValueError(f"not a readable Parquet file: {error}") from error
    return [(f"row {number}", row) for number, row in enumerate(table.to_pylist(), 1)]


def _read_hub(name: str, suite: SuiteConfig) -> list[Row]:
    """The hub's copy, or the one in the local cache; never code that comes with a data set."""
    if not suite.hub:
        raise ValueError(
            f"eval.{name} names no data: give a file with eval.{name}.path=FILE, "
            f"or a data set of the hub with eval.{name}.hub=OWNER/NAME"
        )
    from datasets import load_dataset

    try:
        table = load_dataset(suite.hub, suite.hub_config, split=suite.split, revision=suite.revision)
    except Exception as error:  # offline, gated, gone, another split: the library has an exception of its own for each
        raise ValueError(
            f"eval.{name}.hub={suite.hub} cannot be read ({type(error).__name__}: "
            f"{str(error).strip().splitlines()[0][:200]}). Workers are offline unless "
            f"HF_HUB_OFFLINE=0 is set; or give the file itself with eval.{name}.path=FILE"
        ) from error
    return [(f"row {number}", row) for number, row in enumerate(table, 1)]
