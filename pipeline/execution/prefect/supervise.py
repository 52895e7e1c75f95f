"""The process that a Prefect worker starts for a deployed run: `python -m pipeline.execution.prefect.supervise`.

It starts Prefect's own engine as a child in a session of its own, and passes the worker's SIGTERM on. Two things would
go wrong without it:

* After Cancel a worker waits for 30 s, which no setting changes, and then kills what it has started. A checkpoint of a
  large model takes longer. The worker kills this process, and the engine goes on until its checkpoint is written, for
  as long as `launcher.grace_s` allows.
* A worker whose server does not answer for some minutes gives up, and ends what it has started. Then nobody has asked
  for an end: the engine is left alone and finishes its stages.

The engine writes into a file, which this process copies to its own output: a pipe would break with the worker.
"""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from types import FrameType
from typing import IO
from uuid import UUID

POLL_S = 0.2


def main() -> int:
    """Runs the engine of the flow run that the environment names, and returns its exit code; 0 if it is left alone."""
    with tempfile.TemporaryFile() as output:
        engine = subprocess.Popen(
            [sys.executable, "-m", "prefect.engine"],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            # a request to a server that has gone away is tried twice: with Prefect's five times a run waits for minutes
            env={"PREFECT_CLIENT_MAX_RETRIES": "2", **os.environ},
        )
        return _Supervisor(engine, output).wait()


class _Supervisor:
    def __init__(self, engine: subprocess.Popen, output: IO[bytes]):
        self.engine, self.output = engine, output
        self.is_asked = False  # whether the worker wants an end
        self._copied = 0  # bytes of the engine's output
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self.is_asked = True

    def wait(self) -> int:
        is_passed_on = False
        while self.engine.poll() is None:
            if self.is_asked and not is_passed_on:
                if not _is_server_there():
                    self._say("the worker ends without a Prefect server; the run goes on by itself")
                    return 0
                self.engine.send_signal(signal.SIGTERM)
                is_passed_on = True
            self._copy()
            time.sleep(POLL_S)
        self._copy()
        return self.engine.returncode if self.engine.returncode >= 0 else 128 - self.engine.returncode

    def _copy(self) -> None:
        """Copies what is new in the engine's output; a worker that has ended reads it no more."""
        new = os.pread(self.output.fileno(), 2**20, self._copied)
        self._copied += len(new)
        with contextlib.suppress(OSError):
            if new:
                os.write(sys.stdout.fileno(), new)

    def _say(self, text: str) -> None:
        with contextlib.suppress(OSError):
            os.write(sys.stdout.fileno(), f"{text}\n".encode())


def _is_server_there() -> bool:
    """Whether Prefect's server answers. Prefect takes seconds to load, so that is done when this is asked."""
    from pipeline.execution.prefect.watch import UNREACHABLE, state_of_flow_run

    os.environ["PREFECT_CLIENT_MAX_RETRIES"] = "1"
    try:
        state_of_flow_run(UUID(os.environ["PREFECT__FLOW_RUN_ID"]))
    except UNREACHABLE:
        return False
    return True


if __name__ == "__main__":
    sys.exit(main())
