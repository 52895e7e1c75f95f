"""reused.json: which run has made a stage that this run took over instead of making it again."""

from dataclasses import dataclass
from typing import ClassVar

from stages.contract.json_file import StageFile


@dataclass(frozen=True, kw_only=True)
class Reused(StageFile):
    """Where the files of a stage directory come from; both runs have them, and neither needs the other."""

    FILE_NAME: ClassVar[str] = "reused.json"
    WHAT: ClassVar[str] = "note on where a stage comes from"

    run: str  # the run that made it
    path: str = ""  # the directory that it was taken from, which may have gone since
