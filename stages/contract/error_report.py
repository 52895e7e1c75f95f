"""error.json: why a stage failed, by the rank that failed. Removed when an attempt starts."""

from dataclasses import dataclass
from typing import ClassVar

from stages.contract.json_file import StageFile

INPUT = "input"


@dataclass(frozen=True, kw_only=True)
class ErrorReport(StageFile):
    """What went wrong, for people; and what can be done about it, where that is known."""

    FILE_NAME: ClassVar[str] = "error.json"
    WHAT: ClassVar[str] = "report of an error"

    kind: str = "error"  # name of the exception; INPUT where the user's data, model or configuration cannot be used
    message: str = ""
    fix: str = ""
    rank: int | None = None
    log: str = ""  # the log of that rank, relative to the stage directory
    is_passing: bool = False  # whether the cause may go away by itself: a server or another machine that is lost

    @property
    def is_bad_input(self) -> bool:
        """Whether the user must mend the input first; otherwise the same command may well go on."""
        return self.kind == INPUT
