"""The child process of the commands that read data: the driver loads no engine, and no grader."""

import os
import subprocess
import sys

from pipeline.errors import MissingInput, StageFailed, StageInterrupted
from pipeline.paths import REPOSITORY

EXIT_BAD_INPUT = 64  # of the child process: what it read cannot be used
EXIT_UNGRADED_ROWS = 65  # of the child process: it has said which rows it cannot grade


def relay(command: list[str], interrupted: str) -> int:
    """Runs a child process and passes its stderr on; its last line `error: ...` becomes our error.

    Args:
        command: the child process.
        interrupted: what is said when it is interrupted.

    Returns:
        The driver's exit code: 0, or that of bad input where the child has said what it is.
    """
    python_path = os.pathsep.join(part for part in (str(REPOSITORY), os.environ.get("PYTHONPATH", "")) if part)
    child = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": python_path}, stderr=subprocess.PIPE, text=True)
    assert child.stderr is not None
    error = ""
    try:
        for line in child.stderr:
            if line.startswith("error: "):
                error = line.removeprefix("error: ").strip()
            else:
                print(line, end="", file=sys.stderr, flush=True)
        child.wait()
    except KeyboardInterrupt:
        child.wait()
        raise StageInterrupted(interrupted, "the same command again") from None
    if child.returncode == EXIT_BAD_INPUT:
        raise MissingInput(error or "the data cannot be used", "change the key that the message names, or the data")
    if child.returncode == EXIT_UNGRADED_ROWS:
        return MissingInput.exit_code
    if child.returncode:
        raise StageFailed(f"the data process ended with exit code {child.returncode}", "its message stands above")
    return 0
