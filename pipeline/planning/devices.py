"""The GPUs of this machine, counted without a driver call, and what a launcher that wants them is told."""

import os
from pathlib import Path

from pipeline.configuration.schema import LauncherConfig, RunConfig
from pipeline.errors import MessageAndFix

MOST_CPU_THREADS = 2  # of a rank in recipes for a CPU
DEVICES = Path("/dev")
WITHOUT_FILES = ("dxg", "kfd")  # of WSL and of AMD: GPUs that are not counted here


def num_gpus() -> int | None:
    """The NVIDIA GPUs that this process may use; None where that cannot be told from files."""
    if any((DEVICES / name).exists() for name in WITHOUT_FILES):
        return None
    present = sum(1 for path in DEVICES.glob("nvidia[0-9]*") if path.name.removeprefix("nvidia").isdecimal())
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None or not present:
        return present
    names = [name.strip() for name in visible.split(",")]
    named = next((place for place, name in enumerate(names) if name in ("", "-1")), len(names))  # CUDA stops there
    return named if any(not name.isdecimal() for name in names[:named]) else min(named, present)


def is_for_gpus(run: RunConfig) -> bool:
    """Whether the configuration is one for GPUs, wherever it is planned.

    The launcher says so: `launcher=gpu` and `launcher=slurm` give each rank four threads or more, a recipe for a CPU
    one or two; `launcher=laptop` hides GPUs from its ranks. Or something that is for GPUs only: bf16, 6 to 8 times
    slower than fp32 on a CPU; state that is kept in host memory; an engine that several GPUs share. fp32 says nothing:
    it runs on both.
    """
    if run.launcher.environment.get("CUDA_VISIBLE_DEVICES") == "":
        return False
    return (
        run.launcher.threads_per_process > MOST_CPU_THREADS
        or run.deepspeed.precision == "bf16"
        or run.deepspeed.offload_optimizer
        or run.deepspeed.offload_parameters
        or run.rollout.tensor_parallel > 1
    )


def is_on_gpus(run: RunConfig) -> bool:
    """Whether the ranks will work on GPUs: where the launcher asks for them, or its machine has some."""
    if run.launcher.environment.get("CUDA_VISIBLE_DEVICES") == "":
        return False
    count = num_gpus()
    if run.launcher.device == "gpu" or run.launcher.name != "local" or count is None:
        return run.launcher.device == "gpu" or is_for_gpus(run)
    return count > 0


def check_devices(config: RunConfig) -> list[MessageAndFix]:
    """A launcher for GPUs on a machine without one, and more ranks than GPUs.

    With launcher=torchrun this machine is one of those that work; each of the others looks at itself before its workers
    load anything (stages/runtime/devices.py). With launcher=slurm the nodes have the GPUs, and the allocation says how
    many.
    """
    launcher = config.launcher
    if launcher.name == "slurm":
        return _of_allocation(launcher)
    count = num_gpus()
    if count is None:
        return []
    if launcher.device == "gpu" and not count:
        hidden = " (CUDA_VISIBLE_DEVICES hides what there is)" if _is_hidden() else ""
        message = f"launcher.device=gpu, but this machine has no NVIDIA GPU{hidden}"
        on_processors = "choose launcher=cpu" if launcher.name == "local" else "add launcher.device=any for processors"
        return [(message, f"plan and run where there is one, or {on_processors}")]
    if count and launcher.num_processes > count:
        gpus = "1 GPU" if count == 1 else f"{count} GPUs"
        message = f"launcher.num_processes={launcher.num_processes}, but this machine has {gpus}: each rank needs one"
        return [(message, f"launcher.num_processes={count}")]
    return []


def _of_allocation(launcher: LauncherConfig) -> list[MessageAndFix]:
    """What the Slurm allocation that this process is in has too little of; nothing outside of one."""
    if "SLURM_JOB_ID" not in os.environ:
        return []
    errors = []
    nodes, gpus = (_number_of(name) for name in ("SLURM_JOB_NUM_NODES", "SLURM_GPUS_ON_NODE"))
    if nodes and launcher.num_nodes > nodes:
        message = f"launcher.num_nodes={launcher.num_nodes}, but the Slurm allocation has {nodes} node(s)"
        errors.append((message, f"launcher.num_nodes={nodes}, or ask Slurm for more (--nodes)"))
    if gpus and launcher.device == "gpu" and launcher.num_processes > gpus:
        asked = f"launcher.num_processes={launcher.num_processes}"
        message = f"{asked}, but Slurm gives {gpus} GPU(s) of a node: each rank needs one"
        errors.append((message, f"launcher.num_processes={gpus}, or ask Slurm for more (--gpus-per-node)"))
    return errors


def _number_of(name: str) -> int:
    """The number in an environment variable; 0 where there is none."""
    text = os.environ.get(name, "")
    return int(text) if text.isdecimal() else 0


def device_notes(config: RunConfig) -> list[str]:
    """A line where a configuration for GPUs is run on a CPU all the same."""
    if config.launcher.name != "local" or num_gpus() != 0 or config.launcher.device == "gpu":
        return []
    if config.deepspeed.precision != "bf16":
        return []
    return ["deepspeed.precision=bf16 without a GPU is 6 to 8 times slower than fp32: deepspeed.precision=fp32"]


def _is_hidden() -> bool:
    return any(path.name.removeprefix("nvidia").isdecimal() for path in DEVICES.glob("nvidia[0-9]*"))
