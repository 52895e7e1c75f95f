"""On the PYTHONPATH of a test: stages are made by this file instead of by workers with engines, in every process.

Everything else is the real driver: its commands, locks, sweepers and launchers. A stage of N steps logs N rows, may be
stopped after each and goes on from there. RL reaches a reward that is best at a learning rate of 1e-3.
"""

import importlib.util
import json
import math
import os
import sys
import time
from pathlib import Path

STEP_S = float(os.environ.get("FAKE_STEP_S", "0.02"))


def launch(stage, directory, launcher, stop, on_line, on_progress, resume_command):
    from pipeline.errors import StageFailed, StageInterrupted
    from stages.contract.description import StageDescription
    from stages.contract.files import append_jsonl, file_table, read_jsonl
    from stages.contract.inputs import find_inputs
    from stages.contract.manifest import Manifest, Timing
    from stages.contract.progress import StageProgress

    told = StageDescription.read(directory)
    run_dir = Path(directory).parent.parent
    with open(run_dir / "made.log", "a") as stream:
        stream.write(f"{stage} {directory.name} {os.getpid()}\n")
    lr = told.config.get("optim", {}).get("lr", 1e-3)
    if lr == 0.5:
        raise StageFailed(f"{stage} failed on rank 0: unlucky", "try another")
    rows = read_jsonl(directory / "metrics.jsonl")
    num_steps = told.config.get("num_steps") or 3
    for step in range(len(rows) + 1, num_steps + 1):
        value = 1 - (math.log10(lr) + 3) ** 2 - 1 / step
        append_jsonl(directory / "metrics.jsonl", [{"step": step, "reward/mean": value, "train/loss": -value}])
        StageProgress(phase="train", step=step, num_steps=num_steps, updated=time.time()).write(directory)
        on_progress(StageProgress.read(directory))
        time.sleep(STEP_S)
        if stop.is_requested:
            raise StageInterrupted(f"{stage} was interrupted at step {step}; its checkpoint is kept", resume_command)
    (directory / "model").mkdir(exist_ok=True)
    (directory / "model" / "model.safetensors").write_text(json.dumps([stage, lr]))
    Manifest(
        stage=stage,
        kind=told.kind,
        version=told.version,
        fingerprint=told.fingerprint,
        inputs={role: source.fingerprint for role, source in (find_inputs(directory) or {}).items()},
        files=file_table(directory, ["model/*"]),
        metrics={"reward/mean": read_jsonl(directory / "metrics.jsonl")[-1]["reward/mean"]},
        timing=Timing(total_s=1.0),
        created="2026-01-01T00:00:00+00:00",
    ).write(directory)


class _Patch:
    """Replaces the launch of workers as its module is imported."""

    def find_spec(self, name, path=None, target=None):
        if name != "pipeline.execution.launch":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        execute = spec.loader.exec_module

        def exec_module(module):
            execute(module)
            module.launch = launch

        spec.loader.exec_module = exec_module
        return spec


sys.meta_path.insert(0, _Patch())
