"""How much memory there is: of each GPU, and of each machine."""

import functools
import shutil
import subprocess
from pathlib import Path

from pipeline.configuration.schema import RunConfig
from pipeline.planning.devices import is_on_gpus, num_gpus

GIB = 2**30
MEMINFO = Path("/proc/meminfo")
LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))  # of a container
ASK_S = 10.0  # how long nvidia-smi may take


def gpu_gib(run: RunConfig) -> float | None:
    """GiB of each GPU: what the launcher says, and not more than this machine's have; None where nothing is known."""
    if not is_on_gpus(run):
        return None
    launcher = run.launcher
    own = _smallest_card() if launcher.name == "local" and num_gpus() else None
    return _smaller(launcher.gpu_memory_gib, own)


def host_gib(run: RunConfig) -> float | None:
    """GiB of each machine that ranks work on, in the same way."""
    launcher = run.launcher
    is_elsewhere = launcher.name != "local" or (launcher.device == "gpu" and num_gpus() == 0)
    return _smaller(launcher.host_memory_gib, None if is_elsewhere else here_gib())


def _smaller(*sizes: float | None) -> float | None:
    return min((size for size in sizes if size is not None), default=None)


@functools.cache
def here_gib() -> float | None:
    """GiB of this machine, or of the container that this is; None where it does not tell."""
    try:
        line = next(line for line in MEMINFO.read_text().splitlines() if line.startswith("MemTotal:"))
        found = [int(line.split()[1]) * 1024]
    except (OSError, StopIteration, ValueError, IndexError):
        return None
    for path in LIMITS:
        try:
            found.append(int(path.read_text()))
        except (OSError, ValueError):  # not there, or "max"
            continue
    return min(found) / GIB


@functools.cache
def _smallest_card() -> float | None:
    """GiB of the smallest GPU of this machine, as its driver says; None where there is no nvidia-smi."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return None
    command = [program, "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=ASK_S)
        return min(float(line) for line in done.stdout.split()) / 1024
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None
