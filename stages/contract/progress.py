"""progress.json: where a running stage is. Rank 0 writes it about once a second; the driver shows it."""

from dataclasses import dataclass
from typing import ClassVar

from stages.contract.json_file import StageFile

DONE = "done"
INTERRUPTED = "interrupted"


@dataclass(frozen=True, kw_only=True)
class StageProgress(StageFile):
    """The phase and the step of a stage, and when it was there. Times are Unix times, in seconds."""

    FILE_NAME: ClassVar[str] = "progress.json"
    WHAT: ClassVar[str] = "stage's progress"

    phase: str = ""  # start, rollout, reward, train, sync, save, sample, export, ...; at the end DONE or INTERRUPTED
    step: int = 0
    num_steps: int = 0
    updated: float = 0.0  # when this was written; 0: not known
    started: float = 0.0  # when the attempt began; 0: not known
    eta_s: float | None = None  # seconds that are left, where they can be estimated
    message: str = ""

    @property
    def has_ended(self) -> bool:
        """Whether the workers wrote it as their last one."""
        return self.phase in (DONE, INTERRUPTED)
