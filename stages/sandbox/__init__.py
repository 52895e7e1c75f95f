"""Runs programs that nobody has read: what a model wrote, in a sandbox, under limits.

`executor(config)` gives the backend that a configuration names; it has `setup_problem()`, `build(language, source)` and
`run(program, ...)`. docs/sandbox.md has the threat model: what is held back, by what, and what is not. Standard library
only.
"""

from functools import cache

from stages.sandbox.interface import Executor, Limits, Program, Result, SandboxError

__all__ = ["Executor", "Limits", "Program", "Result", "SandboxError", "executor"]


@cache
def executor(backend: str, url: str = "", token: str = "", python: str | None = None) -> Executor:
    """The one executor of these settings."""
    if backend == "piston":
        from stages.sandbox.piston import Piston

        return Piston(url, token)
    from stages.sandbox.bubblewrap import Bubblewrap

    return Bubblewrap(python)
