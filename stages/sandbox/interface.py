"""What every backend of the sandbox has: build a program once, run it often, each time in a fresh box, under limits."""

from dataclasses import dataclass, field
from typing import Protocol

MIB = 2**20


class SandboxError(RuntimeError):
    """The sandbox itself failed: no verdict about the program."""


@dataclass(frozen=True)
class Limits:
    """Of one run. What goes over is killed, with everything it started."""

    cpu_s: float = 4.0  # processor seconds of all processes of the program together
    wall_s: float = 13.0  # seconds on the clock: for programs that sleep or wait
    memory_mib: int = 512  # all processes together, files in the scratch included
    processes: int = 32  # processes and threads
    scratch_mib: int = 64  # files in the scratch directory
    scratch_files: int = 2000  # their number
    output_mib: int = 16  # standard output and standard error, each


@dataclass(frozen=True)
class Program:
    """A program that is ready to run: the files of its scratch directory and how it is started. `compile_error`: why it
    is not.
    """

    language: str
    files: dict[str, bytes] = field(default_factory=dict)
    compile_error: str = ""


@dataclass(frozen=True)
class Result:
    """How a run ended. `status`: "ok" (exit code 0), "error" (another one, or a signal), or the limit it went over:
    "time", "memory", "files", "output".
    """

    status: str
    exit_code: int | None
    stdout: bytes
    stderr: bytes
    wall_s: float


class Executor(Protocol):
    """A backend. Thread-safe."""

    def problem(self, limits: Limits) -> str | None:
        """Why no program can be run here under these limits, and what to do about it; None where all is well. Runs a
        small program each time.
        """
        ...

    def build(self, language: str, source: str, companions: dict[str, bytes] | None = None) -> Program:
        """Compiles where the language is compiled. `companions`: more files of the scratch directory."""
        ...

    def run(self, program: Program, stdin: bytes, limits: Limits) -> Result: ...
