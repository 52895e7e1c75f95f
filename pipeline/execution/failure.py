"""Says why the workers of a stage ended without a result: which rank, why, its last lines, and what to do."""

import os
import re
import shutil
import signal
from collections.abc import Sequence
from pathlib import Path

from pipeline.errors import Lost, MissingInput, PipelineError, StageFailed, StageInterrupted
from pipeline.execution import stall
from pipeline.planning.action import checkpoint_steps
from stages.contract import exit_codes
from stages.contract.error_report import ErrorReport
from stages.contract.failures import RankFailure, read_failures
from stages.contract.progress import INTERRUPTED, StageProgress

SHOWN_LINES = 15
NO_SPACE = "No space left on device"
FULL_BYTES = 2**20  # a disk with less free has no room for a worker's error report


def explain(
    stage: str,
    directory: Path,
    logs: Path,
    exit_code: int,
    was_stopped: bool,
    resume_command: str,
    lost: Sequence[str] = (),
) -> PipelineError:
    """The error to raise for workers that have ended without a manifest.

    Args:
        stage: Name of the stage.
        directory: Its directory, with the error.json of the rank that failed, if that could write one.
        logs: The log directory of this attempt.
        exit_code: That of torchrun.
        was_stopped: Whether the driver had asked the workers to stop.
        resume_command: The command line that goes on with the stage.
        lost: The machines that do not answer any more.
    """
    fix = f"continue with: {resume_command}"
    if lost:
        who = f"machine {lost[0]} does" if len(lost) == 1 else f"machines {', '.join(lost)} do"
        kept = _what_is_kept(directory, (StageProgress.find(directory) or StageProgress()).step)
        return Lost(
            f"{stage} was ended: the {who} not answer any more; {kept}",
            f"start `r1 join` there again, or go on without: launcher.num_nodes=N, or launcher=cpu; then {fix}",
        )
    rank, code = root_failure(read_failures(logs))
    error = ErrorReport.find(directory)
    progress = StageProgress.find(directory) or StageProgress()
    has_left_early = error is None and (code == exit_codes.INTERRUPTED or progress.phase == INTERRUPTED)
    if was_stopped or has_left_early:  # the latter: srun or Slurm stopped the ranks
        where = f" at step {progress.step}" if progress.step else ""
        return StageInterrupted(f"{stage} was interrupted{where}; {_what_is_kept(directory, progress.step)}", fix)
    if error is not None and error.is_bad_input:
        return MissingInput(f"{stage}: {error.message}", error.fix or f"mend the input, then: {resume_command}")
    if error is not None and code is not None and code < 0 and error.rank != rank:
        error = None  # what another rank says of the one that was killed
    if error is not None and error.rank is not None:
        rank = error.rank
    is_full = shutil.disk_usage(directory).free < FULL_BYTES if error is None else NO_SPACE in error.message
    if is_full:
        return MissingInput(
            f"{stage} found no space left on the disk of {directory}",
            f"free some space there; nothing that was finished is lost; then {fix}",
        )
    if error is not None and error.fix:
        fix = f"{error.fix}; then {fix}"
    log = next(path for path in (logs / f"rank{rank}.log", logs / "driver.log") if path.exists())
    if error is None and (named := _variables_in(_text(log))):
        fix = f"mend or unset {named} in the environment, which the log names; then {fix}"
    words = stall.last_words(logs) if code == -signal.SIGABRT else ""
    seen = f"\n  at its end: {words}" if words else ""
    failed = Lost if error is not None and error.is_passing else StageFailed
    return failed(
        f"{stage} failed on rank {rank}: {failure_kind(error, code, exit_code)}{seen}\n{_last_lines(log)}\n"
        f"  log: {log}",
        fix,
    )


def _what_is_kept(directory: Path, step: int) -> str:
    """From where an interrupted stage goes on: a second Ctrl-C leaves no time for a checkpoint."""
    kept = checkpoint_steps(directory)
    if kept and step and kept[-1] < step:
        return f"it continues from the checkpoint of step {kept[-1]}"
    is_kept = bool(kept) or any((directory / "state").glob("*"))  # a builder keeps records instead
    return "its checkpoint is kept" if is_kept else "it had no checkpoint yet"


def root_failure(failures: list[RankFailure]) -> tuple[int, int | None]:
    """(rank, exit code) of the failure that caused the others; (0, None) where there is none.

    A rank ended by a signal comes first: its peers then fail with lost connections, often before torchrun looks, and
    torchrun itself ends ranks with SIGTERM only. Otherwise it is the one that torchrun saw first.

    >>> root_failure([RankFailure(0, 1, 100.0), RankFailure(1, -9, 101.0)])
    (1, -9)
    """
    killed = [failure for failure in failures if failure.exit_code < 0 and failure.exit_code != -signal.SIGTERM]
    if not failures:
        return 0, None
    first = min(killed or failures, key=lambda failure: failure.time)
    return first.rank, first.exit_code


def failure_kind(error: ErrorReport | None, code: int | None, exit_code: int) -> str:
    """One line: the exception that the worker reported, or the signal that ended it.

    Args:
        error: What a rank reported, None where there is no report.
        code: Exit code of the rank that failed, None where it is unknown; -9 or 137 for signal 9.
        exit_code: That of torchrun, for want of a better one.
    """
    if error is not None:
        return f"{error.kind}: {error.message}"
    code = exit_code if code is None else code
    number = 0
    if code < 0:
        number = -code
    elif 128 < code < 160:  # as a shell says it
        number = code - 128
    if number == signal.SIGKILL:
        return (
            "killed (signal 9), most likely by the kernel for want of memory: lower micro_batch_tokens, "
            "rollout.max_sequences or launcher.num_processes"
        )
    if number:
        return f"ended by signal {number} ({signal.Signals(number).name})"
    return f"exit code {code}, without an error report"


def _last_lines(log: Path) -> str:
    """The end of the failing rank's log; where it wrote nothing (only rank 0 reports steps), the end of rank 0's."""
    whose, lines = "its log", _text(log).splitlines()
    if not lines:
        whose, lines = "rank 0's log (its own is empty)", _text(log.with_name("rank0.log")).splitlines()
    return "\n".join([f"  last lines of {whose}:", *(f"    {line}" for line in lines[-SHOWN_LINES:])])


def _variables_in(log: str) -> str:
    """The environment variables of libraries that are set and that the end of a log names.

    A library that does not accept its own variable fails as it is imported, before a worker can report anything.
    """
    end = "\n".join(log.splitlines()[-SHOWN_LINES:])
    return ", ".join(name for name in sorted(os.environ) if "_" in name and re.search(rf"\b{re.escape(name)}\b", end))


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
