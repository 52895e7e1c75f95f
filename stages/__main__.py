"""Worker entry: `python -m stages STAGE_DIRECTORY`, one process for each rank, or one alone.

torchrun sets RANK and the like where there are several. All that a worker needs to know is in config.json and
inputs.json of the directory. Its exit code is one of `stages.contract.exit_codes`; error.json says why it failed.
"""

import contextlib
import importlib
import os
import sys
from typing import TYPE_CHECKING

from stages.contract import exit_codes
from stages.contract.error_report import ErrorReport
from stages.contract.json_file import DamagedFile
from stages.runtime import environment

if TYPE_CHECKING:
    from stages.runtime.worker import Worker

KIND_MODULES = {
    "pretrain": "stages.kinds.pretrain",
    "sft": "stages.kinds.sft",
    "grpo": "stages.kinds.grpo.trainer",
    "collect": "stages.kinds.collect.stage",
    "reward_models": "stages.kinds.reward_models.stage",
    "evaluate": "stages.kinds.evaluation.stage",
}


def main(arguments: list[str]) -> int:
    """Runs the stage of a prepared directory; returns the exit code."""
    usage = "usage: python -m stages STAGE_DIRECTORY (with config.json and inputs.json in it)"
    if len(arguments) != 1 or not os.path.isdir(arguments[0]):
        missing = "" if len(arguments) != 1 else f"{arguments[0]} is not a directory; "
        print(f"{missing}{usage}", file=sys.stderr)
        return exit_codes.BAD_INPUT
    terminal = os.dup(2)  # the worker's own output goes to its log
    if why := environment.number_problem(environment.LAUNCHER_NUMBERS):
        print(why, file=sys.stderr)
        return exit_codes.BAD_INPUT
    environment.start_without_garbage_collection()
    environment.prepare()
    import torch

    from stages import judges
    from stages.data.inputs import prepare_sandbox
    from stages.engines.finite import require_finite_inputs
    from stages.modeling.loading import require_outside_models
    from stages.runtime.devices import device_problem
    from stages.runtime.errors import InputError, environment_errors
    from stages.runtime.worker import Worker

    try:
        prepared = Worker(arguments[0])
    except (OSError, DamagedFile) as error:
        latest = os.path.join(arguments[0], "latest")
        hint = f"; did you mean {latest}?" if os.path.isdir(latest) else ""
        print(f"{arguments[0]} is not a prepared stage directory: {error}{hint}", file=sys.stderr)
        return exit_codes.BAD_INPUT
    with prepared as worker:
        if why := environment.number_problem(environment.LIBRARY_NUMBERS):
            raise InputError(why)
        if why := device_problem(torch.cuda.device_count()):
            raise InputError(why)
        require_outside_models(worker.inputs.values())
        require_finite_inputs(worker)
        prepare_sandbox(worker.config)
        judges.open_stage(worker)
        with environment_errors():
            importlib.import_module(KIND_MODULES[worker.kind]).run(worker)
        judges.record_cost(worker)
        worker.finish()
    if worker.exit_code != exit_codes.DONE:
        with contextlib.suppress(OSError):  # nobody looks any more
            os.write(terminal, f"{_ending(worker)}\n".encode("utf-8", "backslashreplace"))
    return worker.exit_code


def _ending(worker: "Worker") -> str:
    """Why a stage ended without a result, and what to do, for the terminal that it was started from."""
    if worker.exit_code == exit_codes.INTERRUPTED:
        return f"{worker.stage} was interrupted: {worker.ending}. The same command continues"
    report = ErrorReport.find(worker.dir)
    fix = f"\n  fix: {report.fix}" if report and report.fix else ""
    return f"{worker.stage} failed (exit code {worker.exit_code}): {worker.ending}{fix}\n  log: {worker.log_path}"


if __name__ == "__main__":
    code = main(sys.argv[1:])
    with contextlib.suppress(OSError):  # a full disk
        sys.stdout.flush()
        sys.stderr.flush()
    # engines leave threads behind that can hang a normal exit of the interpreter; all that must last is on the disk
    os._exit(code)
