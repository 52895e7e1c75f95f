"""results.json and comparisons.json: what an evaluation has measured, lists of rows."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NotRequired, TypedDict

from stages.contract import files
from stages.contract.json_file import DamagedFile, WrongType, from_plain, read_as

RESULTS, COMPARISONS = "results.json", "comparisons.json"


class Result(TypedDict):
    """A metric of a model on a set of problems, with its 95% interval over problems where there is one."""

    model: str
    set: str
    metric: str  # pass@1[3] is pass@1 of the problems of level 3
    value: float
    low: float | None
    high: float | None
    n: int | None  # problems, or samples, that it is a mean of
    note: NotRequired[str]  # what people must be told of it


class Comparison(TypedDict):
    """Two models on the same problems: `difference` is the metric of `model` minus that of `against`."""

    set: str
    metric: str
    model: str
    against: str
    difference: float
    low: float  # of the 95% interval
    high: float
    p: float  # of a paired permutation test
    n: int | None  # problems


def read_results(directory: Path) -> list[Result]:
    """The results in an evaluation's directory; rows that are none, or are not finite, are left out.

    So are means of nothing (n = 0), which earlier versions wrote as 0.

    Raises:
        FileNotFoundError: There is no such file.
        DamagedFile: It is not a list.
    """
    values = read_as(list, directory / RESULTS, "list of results")
    absent = {"low": None, "high": None, "n": None}
    rows = [row for value in values if (row := _row(Result, value, absent, ("value",))) is not None]
    return [row for row in rows if row["n"] != 0]


def find_results(directory: Path) -> list[Result]:
    """The results in an evaluation's directory; none where the file is missing or damaged."""
    try:
        return read_results(directory)
    except (FileNotFoundError, NotADirectoryError, DamagedFile):
        return []


def write_results(directory: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Writes the results of an evaluation, each with the keys of `Result`."""
    files.write_json(directory / RESULTS, list(rows))


def read_comparisons(directory: Path) -> list[Comparison]:
    """The comparisons in an evaluation's directory; rows that are none, or are not finite, are left out.

    Raises:
        FileNotFoundError: There is no such file.
        DamagedFile: It is not a list.
    """
    rows = read_as(list, directory / COMPARISONS, "list of comparisons")
    numbers = ("difference", "low", "high", "p")
    return [row for value in rows if (row := _row(Comparison, value, {"n": None}, numbers)) is not None]


def find_comparisons(directory: Path) -> list[Comparison]:
    """The comparisons in an evaluation's directory; none where the file is missing or damaged."""
    try:
        return read_comparisons(directory)
    except (FileNotFoundError, NotADirectoryError, DamagedFile):
        return []


def write_comparisons(directory: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Writes the comparisons of an evaluation, each with the keys of `Comparison`."""
    files.write_json(directory / COMPARISONS, list(rows))


def _row(kind: Any, value: Any, absent: dict[str, None], finite: tuple[str, ...]) -> Any:
    """The value as a row of this kind; None where it is none."""
    if not isinstance(value, dict):
        return None
    try:
        row = from_plain(kind, absent | value)
    except WrongType:
        return None
    return row if all(math.isfinite(row[name]) for name in finite) else None
