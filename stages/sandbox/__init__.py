"""Runs programs that nobody has read: what a model wrote, in a sandbox, under limits.

`executor(config)` gives the backend that a configuration names; it has `problem()`, `build(language, source)` and `run(program, ...)`.
docs/sandbox.md has the threat model: what is held back, by what, and what is not. Standard library only.
"""
from stages.sandbox.executor import Executor, Limits, Program, Result, SandboxError, executor

__all__ = ["Executor", "Limits", "Program", "Result", "SandboxError", "executor"]
