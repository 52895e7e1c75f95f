"""logs/attempt_N/outcome.json: why an attempt ended without a result, as the driver has said it.

A rank writes error.json where it can. This also says what no rank can say: that the kernel killed one, or that a second
Ctrl-C ended all of them at once.
"""

from dataclasses import dataclass
from typing import ClassVar

from stages.contract.json_file import StageFile

FAILED, INTERRUPTED = "failed", "interrupted"


@dataclass(frozen=True, kw_only=True)
class Outcome(StageFile):
    """How an attempt ended: its state, the driver's words, and what to do about it. There is none while it runs."""

    FILE_NAME: ClassVar[str] = "outcome.json"
    WHAT: ClassVar[str] = "outcome of an attempt"

    state: str  # FAILED or INTERRUPTED
    message: str = ""
    fix: str = ""
