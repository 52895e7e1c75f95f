"""From the exception that ended a stage to what its exit code and its error report say."""

from pathlib import Path

from stages.config import ConfigError
from stages.contract import exit_codes, files
from stages.contract.error_report import INPUT, ErrorReport
from stages.runtime import disk
from stages.runtime.distributed import collective_timeout
from stages.runtime.errors import CollectiveTimeout, HasFix, InputError, Interrupted, Passing
from stages.runtime.heartbeat import timeout_message


def cause_of(error: BaseException, stage_dir: Path, logs: Path, rank: int, world_size: int) -> BaseException:
    """What really ended the stage: a full disk or a rank that was waited for in vain, else the error itself.

    Args:
        error: What was raised.
        stage_dir: The stage directory; the disk it is on is looked at.
        logs: The directory of the attempt's logs, with the heartbeats of all ranks.
        rank: The rank that it was raised on.
        world_size: How many ranks there are.
    """
    checkpoint_bytes = max((files.size(path) for path in stage_dir.glob("state/**/step_*")), default=0)
    disk_full = disk.as_disk_full(error, stage_dir, checkpoint_bytes + disk.MIB)
    if disk_full is not None:
        return disk_full
    message = timeout_message(error, rank, world_size, logs, collective_timeout().total_seconds())
    return CollectiveTimeout(message) if message else error


def exit_code_of(cause: BaseException) -> int:
    """The exit code that tells the driver how the stage ended."""
    if isinstance(cause, Interrupted):
        return exit_codes.INTERRUPTED
    return exit_codes.BAD_INPUT if is_bad_input(cause) else exit_codes.FAILED


def is_bad_input(cause: BaseException) -> bool:
    """Whether the user must do something before the same command can go on."""
    return isinstance(cause, (InputError, ConfigError, disk.DiskFull))


def report_of(cause: BaseException, rank: int, log: str) -> ErrorReport:
    """The error report of a rank whose log is `log`, relative to the stage directory."""
    return ErrorReport(
        kind=INPUT if is_bad_input(cause) else type(cause).__name__,
        message=str(cause),
        fix=cause.fix if isinstance(cause, HasFix) else "",
        rank=rank,
        log=log,
        is_passing=isinstance(cause, Passing),
    )
