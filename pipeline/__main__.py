"""The entry of the driver: `r1 COMMAND ...`, or `python -m pipeline COMMAND ...`."""

import errno
import os
import sys

from pipeline.commands import completion
from pipeline.commands.app import call
from pipeline.errors import MissingInput, PipelineError
from pipeline.execution.stop import interrupt_on_signals
from pipeline.view.console import standard_console
from pipeline.view.errors import print_error
from stages.config.quoting import print_whatever_the_locale, printable

UNUSABLE_DISK = (
    *(errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM),
    *(errno.ENOTDIR, errno.EEXIST, errno.ENAMETOOLONG, errno.ELOOP),  # no directory can be made of such a name
)
INTERRUPTED = 75
MAX_SHOWN = 200  # characters of a path


def main(arguments: list[str] | None = None) -> int:
    """Carries out one command line and shows errors as people can use them.

    Args:
        arguments: the words after the program's name; by default those it was started with.

    Returns:
        The exit code, one of `pipeline.errors.EXIT_CODES`.
    """
    print_whatever_the_locale()
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments and arguments[0] in completion.FLAGS:
        return completion.complete(arguments)
    try:
        if arguments[:1] == ["run"]:
            interrupt_on_signals()  # before the modules of the command are loaded, which takes a while
        return call(arguments)
    except PipelineError as error:
        print_error(standard_console(), error)
        return error.exit_code
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # so that the flush at exit fails nowhere
        return 0
    except OSError as error:
        if error.errno not in UNUSABLE_DISK:
            raise
        space = "free some space or " if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
        fix = f"{space}choose a directory that you may write to: runs_dir=DIRECTORY"
        print_error(standard_console(), MissingInput(_in_words(error), fix))
        return MissingInput.exit_code
    except KeyboardInterrupt:
        return INTERRUPTED


def _in_words(error: OSError) -> str:
    """What an error of the disk says, with the beginning of a long name."""
    name = printable(os.fsdecode(error.filename)) if isinstance(error.filename, (str, bytes)) else ""
    shown = name if len(name) <= MAX_SHOWN else f"{name[:MAX_SHOWN]}..."
    return f"{shown}: {error.strerror}" if shown else str(error)


if __name__ == "__main__":
    sys.exit(main())
