"""Which version of this program's own source makes a stage."""

import functools
import subprocess

from pipeline.paths import REPOSITORY

GIT_S = 5  # git answers in milliseconds; on a network disk that hangs it is not waited for


@functools.cache
def source_commit() -> str | None:
    """The commit of the source, with "-dirty" where files differ from it; None where it is no git repository."""
    if not (REPOSITORY / ".git").exists():
        return None
    command = ["git", "-C", str(REPOSITORY), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=GIT_S, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None
