"""Run by torchrun: stage directories one after the other in the same processes, each to its end or until a stop is
asked for in a given step.

torchrun ... several_stages.py CASES_JSON RESULT_JSON      CASES: [[directory, step of the stop request or null], ...]
"""

import gc
import importlib
import json
import sys
from pathlib import Path

from stages.runtime import environment

environment.prepare()

from stages.__main__ import KIND_MODULES  # noqa: E402
from stages.contract import files  # noqa: E402
from stages.runtime.worker import Worker  # noqa: E402
from tests.support.stage_dirs import end_process  # noqa: E402


class StoppedWorker(Worker):
    """A worker that is asked to stop, as by SIGTERM, while it logs a step."""

    stop_step: int | None = None

    def log_step(self, step, metrics):
        super().log_step(step, metrics)
        self.stop_requested |= step == self.stop_step


def run_case(directory: str, stop_step: int | None) -> int:
    """The exit code that the stage would end with."""
    with StoppedWorker(directory) as worker:
        worker.stop_step = stop_step
        importlib.import_module(KIND_MODULES[worker.kind]).run(worker)
        worker.finish()
    gc.collect()
    return worker.exit_code


def main(cases: str, result: str) -> None:
    codes = [run_case(*case) for case in json.loads(cases)]
    files.write_json(Path(result), codes)


if __name__ == "__main__":
    main(*sys.argv[1:])
    end_process()
