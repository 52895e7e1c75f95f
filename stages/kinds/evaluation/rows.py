"""Reads the rows of a suite's data set, from a local file (JSONL, JSON, CSV, Parquet) or the hub's copy."""

from pathlib import Path

from stages.config import SuiteConfig
from stages.data.file_kinds import broken_link
from stages.data.file_selection import kind_of
from stages.data.malformed import Malformed
from stages.data.readers import read_file

SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet")
Row = tuple[str, dict]  # where it stands ("line 3"), and its columns


def read_rows(name: str, suite: SuiteConfig) -> list[Row]:
    """Reads all rows of a suite.

    Raises:
        ValueError: What is wrong, where, and what to do.
    """
    if suite.path is None:
        return _read_hub(name, suite)
    path = Path(suite.path)
    if not path.is_file():
        raise ValueError(f"eval.{name}.path={path} {broken_link(path) or 'is not here: no such file'}")
    if kind_of(path) not in SUFFIXES:
        raise ValueError(f"eval.{name}.path={path}: unknown file type {path.suffix!r}; use {', '.join(SUFFIXES)}")
    rows: list[Row] = []
    for number, what, row in read_file(path, f"eval.{name}.path={path}"):
        if isinstance(row, Malformed):
            is_ = " is" if row.detail.startswith("not ") else ":"
            raise ValueError(f"eval.{name}.path={path}: {what} {number}{is_} {row.detail}")
        rows.append((f"{what} {number}", row))
    return rows


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
