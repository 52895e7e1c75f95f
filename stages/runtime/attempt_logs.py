"""logs/attempt_N: what one attempt at a stage prints, a file for each rank. A resume never overwrites."""

import os
import sys
from io import TextIOWrapper
from pathlib import Path

from stages.contract import files


class AttemptLogs:
    """The logs of this attempt: its number, its directory, and the file of this rank."""

    def __init__(self, stage_dir: Path, rank: int):
        """Finds the number of the attempt: the launcher names it, a lone worker takes the next free one."""
        self.root = stage_dir / "logs"
        self.rank = rank
        self.is_launched = bool(os.environ.get("STAGE_ATTEMPT"))
        if self.is_launched:
            self.attempt = int(os.environ["STAGE_ATTEMPT"])
        else:
            self.attempt = 1 + sum(1 for _ in self.root.glob(f"attempt_*/{self.file_name}"))

    @property
    def file_name(self) -> str:
        """Name of this rank's log."""
        return f"rank{self.rank}.log"

    @property
    def directory(self) -> Path:
        """Where all ranks of this attempt write."""
        return self.root / f"attempt_{self.attempt}"

    def redirect_output(self) -> None:
        """Lets all that this process prints go to its log, from now on; the libraries' output too."""
        self.directory.mkdir(parents=True, exist_ok=True)
        if self.rank == 0 and not self.is_launched:
            files.link(self.root / "latest", self.directory.name)
        descriptor = os.open(self.directory / self.file_name, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
            os.dup2(descriptor, stream.fileno())
        os.close(descriptor)
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, TextIOWrapper):  # logs are UTF-8, whatever the locale is
                stream.reconfigure(encoding="utf-8", errors="backslashreplace", line_buffering=True)
