"""Sets up the process of a worker, in one place, before the first heavy import."""

import ctypes
import gc
import os
import re
import signal
import sys
import threading
import time
import warnings
from collections.abc import Sequence

# What libraries say to each other about names that one of them still uses: (message, module that is blamed). Nobody who
# runs a stage can do anything about it, and some come at every step.
HIDDEN_WARNINGS = (
    # DeepSpeed 0.19 gathers and reduces parameters under ZeRO-3 by the names that torch 2.13 replaced.
    (r"`torch\.distributed\.(all_gather_into_tensor|reduce_scatter_tensor)` is deprecated", r"torch\.distributed\."),
    # torch 2.13 makes a leaf of its own trees as it is imported.
    (r"`isinstance\(treespec, LeafSpec\)` is deprecated", r"torch\.utils\._pytree"),
    # vLLM 0.32 looks through all names of torch.distributed for functions that it wraps.
    (r"`torch\.distributed\.reduce_op` is deprecated", r"vllm\.triton_utils\.dispatcher"),
)


ABOVE = "STAGE_ABOVE_PID"  # a process that those with this variable in their environment do not outlive

# Variables that have to be whole numbers: those of the launcher, and those that libraries read as they start.
LAUNCHER_NUMBERS = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_PORT")
LIBRARY_NUMBERS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "VLLM_CPU_KVCACHE_SPACE")


def number_problem(names: Sequence[str]) -> str | None:
    """Why the value of one of these variables cannot be used, and what to do; None where all can, or are not set.

    A library that reads another text there fails far from the cause, or takes all cores without a word.
    """
    for name in names:
        value = os.environ.get(name, "").strip()
        if value and not re.fullmatch(r"[0-9]+(,[0-9]+)*", value):  # OpenMP takes a number for each level
            return f"{name}={value!r} in the environment is not a whole number: mend or unset it"
    return None


def prepare(dies_with_parent: bool = True) -> None:
    """Sets what torch, DeepSpeed and vLLM read at import time, and ties this process's life to its launcher's.

    `dies_with_parent`: without it the process lives on by itself.
    """
    for name, value in {
        "RANK": "0",
        "LOCAL_RANK": "0",
        "WORLD_SIZE": "1",
        "LOCAL_WORLD_SIZE": "1",
        "MASTER_ADDR": "127.0.0.1",
        "OMP_NUM_THREADS": "1",
        "KMP_BLOCKTIME": "0",
        "OMP_WAIT_POLICY": "PASSIVE",  # threads that spin for long collapse on shared cores
        "GOMP_SPINCOUNT": "2000",  # some microseconds: less than it takes to wake a thread up
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "DO_NOT_TRACK": "1",
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # the engine lives in the trainer's process
        "VLLM_NO_USAGE_STATS": "1",
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "VLLM_LOGGING_LEVEL": "ERROR",
        "TRANSFORMERS_VERBOSITY": "error",
        "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
    }.items():
        os.environ.setdefault(name, value)
    if os.environ["WORLD_SIZE"] == os.environ["LOCAL_WORLD_SIZE"]:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", _loopback())
    if "MASTER_PORT" not in os.environ:
        os.environ["MASTER_PORT"] = str(_free_port())
    if not _has_gpu():
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
        # vLLM would compile one small function for 3 to 30 s, and need a compiler for it
        os.environ.setdefault("TORCHDYNAMO_DISABLE", "1")
    for message, module in HIDDEN_WARNINGS:
        warnings.filterwarnings("ignore", message=message, category=FutureWarning, module=module)
    if dies_with_parent:
        die_with_parent()


def start_without_garbage_collection() -> None:
    """Turns the search for reference cycles off, until `collect_garbage`.

    What libraries make at import stays. Python would look through it again and again, which takes a quarter of the
    processor time of the imports.
    """
    gc.disable()


def collect_garbage() -> None:
    """Turns the search for reference cycles on again, for what is made from now on."""
    if not gc.isenabled():
        gc.freeze()
        gc.enable()


def _loopback() -> str:
    """The device that gloo uses on one machine; it would look the host name up, which fails without a network."""
    return "lo0" if sys.platform == "darwin" else "lo"


def _has_gpu() -> bool:
    return os.path.exists("/dev/nvidiactl") or os.path.exists("/dev/kfd")


def _free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def parent_of(pid: int) -> int | None:
    """The process id of the parent of a process; None where there is no such process."""
    import psutil

    try:
        return psutil.Process(pid).ppid()
    except psutil.Error:
        return None


def _ancestors() -> set[int]:
    """The process ids of this process's parent, of its parent, and so on."""
    import psutil

    return {process.pid for process in psutil.Process().parents()}


def die_with_parent() -> None:
    """Makes this process end when its launcher does, however that ends.

    On Linux the kernel kills it; elsewhere a thread looks for a new parent every two seconds. A launcher that died
    before is noticed where it has left its process id in the environment: STAGE_GUARD_PID is that of the launcher's
    own parent, STAGE_ABOVE_PID that of the launcher or of a process above it.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    parent = os.getppid()
    guard = os.environ.get("STAGE_GUARD_PID")
    if guard and parent_of(parent) != int(guard):
        os._exit(1)  # the launcher died before the kernel was asked, and the guard with it
    above = os.environ.get(ABOVE)
    if above and int(above) not in _ancestors():
        os._exit(1)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(2)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, daemon=True, name="parent-watch").start()
