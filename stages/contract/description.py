"""config.json: what a stage is to do. The driver writes it before the launch; it is all that a worker is told."""

from dataclasses import dataclass, field
from typing import Any, ClassVar

from stages.contract.json_file import LEFT_OUT_IF_NONE, StageFile


@dataclass(frozen=True, kw_only=True)
class StageDescription(StageFile):
    """A stage, its configuration, and what identifies its result."""

    FILE_NAME: ClassVar[str] = "config.json"
    WHAT: ClassVar[str] = "stage's configuration"

    stage: str  # its name in the recipe
    kind: str  # which worker runs it: a key of stages.config.KINDS
    version: int = 0  # of the code of its kind, stages.config.VERSIONS
    fingerprint: str = ""  # SHA-256 of all that decides its result
    seed: int = 0
    run: str = ""
    config: dict[str, Any]  # the configuration class of its kind, as plain data
    data_files: dict[str, str] = field(default_factory=dict)  # key of a data source -> hash of its content
    command: str | None = field(default=None, metadata=LEFT_OUT_IF_NONE)  # the command line that makes this stage
    commit: str | None = field(default=None, metadata=LEFT_OUT_IF_NONE)  # of this repository; "-dirty": with changes
