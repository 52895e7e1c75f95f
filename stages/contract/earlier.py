"""earlier.json: which parts of an evaluation another one has measured already. The driver writes it before the launch.

A part is one model on one suite. Another evaluation has it where the model, the suite and everything else that decides
the numbers are the same; the worker then takes them from there instead of sampling again.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from stages.contract import files
from stages.contract.json_file import DamagedFile, read_as, to_plain

FILE_NAME = "earlier.json"
OWN = "own"  # the suite of an evaluation that names none: the held-out prompts of the run's own data


@dataclass(frozen=True, kw_only=True)
class EarlierPart:
    """Where a part was measured."""

    directory: str  # that of the finished evaluation
    model: str  # the name of the model there


Parts = dict[str, dict[str, EarlierPart]]  # model -> suite -> where


def find_earlier(directory: Path) -> Parts:
    """The parts of an evaluation that others have measured; none where the file is missing or damaged."""
    try:
        return read_as(dict[str, dict[str, EarlierPart]], directory / FILE_NAME, "list of earlier measurements")
    except (FileNotFoundError, NotADirectoryError, DamagedFile):
        return {}


def write_earlier(directory: Path, parts: Mapping[str, Mapping[str, EarlierPart]]) -> None:
    """Writes the parts, or removes what an earlier plan wrote where there are none."""
    if parts:
        files.write_json(directory / FILE_NAME, to_plain({model: dict(found) for model, found in parts.items()}))
    else:
        (directory / FILE_NAME).unlink(missing_ok=True)
