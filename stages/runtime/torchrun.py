"""torchrun, which also writes down as JSON which ranks failed and how.

    python -m stages.runtime.torchrun OPTIONS_OF_TORCHRUN -m stages STAGE_DIRECTORY

torchrun itself only prints a table for people. Its error files (`@record`, TORCHELASTIC_ERROR_FILE) are written by the
failing ranks, so there is none of a rank that the kernel killed or that left by an exit code. The exception that
torchrun ends with, `ChildFailedError`, has all of them.
"""

import contextlib
import os
import socket
import sys
from pathlib import Path

from stages.contract.failures import RankFailure, write_failures


def main(arguments: list[str]) -> None:
    """Runs torchrun. The last argument is the stage directory; STAGE_ATTEMPT in the environment names the attempt."""
    from torch.distributed import run
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    logs = Path(arguments[-1]) / "logs" / f"attempt_{os.environ['STAGE_ATTEMPT']}"
    try:
        run.main(arguments)
    except ChildFailedError as error:
        failures = [RankFailure(rank, failure.exitcode, failure.timestamp) for rank, failure in error.failures.items()]
        with contextlib.suppress(OSError):  # a full disk
            write_failures(logs, socket.gethostname(), failures)
        raise


if __name__ == "__main__":
    main(sys.argv[1:])
