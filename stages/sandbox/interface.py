"""What every backend of the sandbox has: build a program once, run it often, each time in a fresh box, under limits."""

from dataclasses import dataclass, field
from typing import Protocol

MIB = 2**20


class SandboxError(RuntimeError):
    """The sandbox itself failed: no verdict about the program."""


@dataclass(frozen=True)
class Limits:
    """Limits of one run; a program that goes over one is killed, with everything it started."""

    cpu_s: float = 4.0  # processor seconds of all processes of the program together
    wall_s: float = 13.0  # seconds on the clock: for programs that sleep or wait
    memory_mib: int = 512  # all processes together, files in the scratch included
    processes: int = 32  # processes and threads
    scratch_mib: int = 64  # files in the scratch directory
    scratch_files: int = 2000  # their number
    output_mib: int = 16  # standard output and standard error, each


@dataclass(frozen=True)
class Program:
    """A program that is ready to run, or that does not compile."""

    language: str
    files: dict[str, bytes] = field(default_factory=dict)  # of its scratch directory, by name
    compile_error: str = ""  # why it cannot be run


@dataclass(frozen=True)
class Result:
    """How a run ended."""

    # "ok" (exit code 0), "error" (another one, or a signal), or the limit it went over: "time", "memory", "files" or
    # "output"
    status: str
    exit_code: int | None
    stdout: bytes
    stderr: bytes  # its end
    wall_s: float  # seconds on the clock, the start of the box included


class Executor(Protocol):
    """A backend. Its methods may be called from several threads at once."""

    def setup_problem(self, limits: Limits) -> str | None:
        """Why no program can be run here under these limits, and what to do about it; None where all is well.

        Runs a small program each time.
        """
        ...

    def build(self, language: str, source: str, companions: dict[str, bytes] | None = None) -> Program:
        """Makes a program ready to run; compiles it where the language is compiled.

        Args:
            language: A name of LANGUAGES.
            source: The text of the program.
            companions: More files of the scratch directory, by name.

        Raises:
            SandboxError: The sandbox failed.
        """
        ...

    def run(self, program: Program, stdin: bytes, limits: Limits) -> Result:
        """Runs a program once, in a fresh box.

        Raises:
            SandboxError: The sandbox failed.
        """
        ...
