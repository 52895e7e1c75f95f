"""`python -m stages.sandbox [BACKEND [URL [PYTHON]]]` says in one line whether programs can be run here.

The exit code is 0 or 1. The driver asks before it launches anything.
"""

import sys

from stages.sandbox import Limits, executor


def main(arguments: list[str]) -> int:
    """Prints the line; returns the exit code."""
    backend, url, python = [*arguments, "", "", ""][:3]
    problem = executor(backend or "bubblewrap", url, python=python or None).setup_problem(Limits())
    print(problem or f"programs can be run ({backend or 'bubblewrap'})")
    return 1 if problem else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
