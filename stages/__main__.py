"""Worker entry: `python -m stages STAGE_DIRECTORY`, one process a rank (torchrun sets RANK and the rest), or alone.

All it needs to know is in the directory's config.json and inputs.json. Exit codes: 0 done, 64 bad input, 75 interrupted
but resumable, 1 failed; error.json says why.
"""

import contextlib
import importlib
import os
import sys

from stages.runtime import environment

KIND_MODULES = {
    "pretrain": "stages.kinds.pretrain",
    "sft": "stages.kinds.sft",
    "grpo": "stages.kinds.grpo.trainer",
    "collect": "stages.kinds.collect.stage",
    "reward_models": "stages.kinds.reward_models.stage",
    "evaluate": "stages.kinds.evaluation.stage",
}


def main(arguments: list[str]) -> int:
    if len(arguments) != 1 or not os.path.isdir(arguments[0]):
        print("usage: python -m stages STAGE_DIRECTORY (with config.json and inputs.json in it)", file=sys.stderr)
        return 64
    environment.start_without_garbage_collection()
    environment.prepare()
    from stages import judges
    from stages.data.inputs import prepare_sandbox
    from stages.runtime.worker import Worker

    with Worker(arguments[0]) as worker:
        prepare_sandbox(worker.config)
        judges.open_stage(worker)
        importlib.import_module(KIND_MODULES[worker.kind]).run(worker)
        judges.record_cost(worker)
        worker.finish()
    return worker.exit_code


if __name__ == "__main__":
    code = main(sys.argv[1:])
    with contextlib.suppress(OSError):  # a full disk
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(
        code
    )  # engines leave threads behind that can hang a normal interpreter exit; everything of ours is on disk by now
