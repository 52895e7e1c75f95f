"""The command line as a user types it."""

import os
import subprocess
import sys
from pathlib import Path

from tests.support.paths import REPOSITORY


def r1(*arguments: str, cwd: Path | None = None, **environment: str) -> subprocess.CompletedProcess:
    """Runs `python -m pipeline ARGUMENTS` to its end, from the checkout, with these environment variables added."""
    return subprocess.run(
        [sys.executable, "-m", "pipeline", *arguments],
        capture_output=True,
        text=True,
        cwd=cwd or REPOSITORY,
        timeout=300,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "COLUMNS": "160", **environment},
    )
