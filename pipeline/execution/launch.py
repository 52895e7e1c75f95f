"""Starts a stage's worker processes with torchrun, relays what rank 0 says, passes stop requests on, and explains
failures.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from pipeline.configuration.schema import LauncherConfig
from pipeline.errors import MissingInput, PipelineError, StageFailed, StageInterrupted
from pipeline.execution import stall
from pipeline.execution.stop import StopRequest
from pipeline.paths import REPOSITORY
from stages.contract.files import find_json, link

POLL_S = 0.1
SHOWN_LINES = 15
EXIT_INTERRUPTED = 75
FULL_BYTES = 2**20  # a disk with less free has no room for a worker's error report
NOISE = re.compile(
    r"\d+%\|.*\||\[[\d:]+<[^\]]*it/s\]|^\[rank\d+\]:\[W|^Triton is installed"
)  # progress bars and notes of libraries


def launch(
    stage: str,
    directory: Path,
    launcher: LauncherConfig,
    stop: StopRequest,
    on_line: Callable[[str], None],
    on_progress: Callable[[dict], None],
    resume_command: str,
) -> None:
    """Runs `python -m stages DIRECTORY` to its end. Raises StageInterrupted, MissingInput or StageFailed."""
    attempt, logs = _new_attempt(directory)
    (directory / "error.json").unlink(missing_ok=True)
    with open(logs / "driver.log", "wb") as driver_log:
        guard = subprocess.Popen(
            [sys.executable, "-m", "pipeline.execution.guard", str(os.getpid()), *worker_command(directory, launcher)],
            stdin=subprocess.DEVNULL,
            stdout=driver_log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=worker_environment(launcher, attempt),
        )
    relay = LineRelay(logs / "rank0.log", on_line)
    try:
        _watch(guard, directory, launcher, stop, relay, on_progress)
    finally:
        _end(guard)
        relay.poll()
    if guard.returncode != 0 or not (directory / "manifest.json").exists():
        raise explain(stage, directory, logs, guard.returncode, stop.is_requested, resume_command)


def worker_command(directory: Path, launcher: LauncherConfig) -> list[str]:
    """torchrun on this machine, or one torchrun a node by srun."""
    torchrun = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        f"--nproc-per-node={launcher.num_processes}",
        "--monitor-interval=0.2",
        "--log-dir=/dev/null",
    ]  # each rank writes its own log; directories in /tmp would outlive a killed torchrun
    worker = ["-m", "stages", str(directory)]
    if launcher.name == "local":
        return [*torchrun, "--standalone", *worker]
    first_node = os.environ.get("SLURM_JOB_FIRST_NODE") or _first_node(
        os.environ.get("SLURM_JOB_NODELIST", "localhost")
    )
    return [
        "srun",
        f"--nodes={launcher.num_nodes}",
        "--ntasks-per-node=1",
        "--kill-on-bad-exit=1",
        *torchrun,
        f"--nnodes={launcher.num_nodes}",
        "--rdzv-backend=c10d",
        f"--rdzv-endpoint={first_node}:{launcher.rendezvous_port}",
        f"--rdzv-id={os.environ.get('SLURM_JOB_ID', '0')}",
        *worker,
    ]


def _first_node(node_list: str) -> str:
    """The first host of Slurm's compact list: "gpu[03-05,9]" -> "gpu03"."""
    match = re.match(r"([^,\[]+)(?:\[([^\],-]+))?", node_list)
    return f"{match[1]}{match[2] or ''}"


def worker_environment(launcher: LauncherConfig, attempt: int) -> dict[str, str]:
    """The environment of the workers; what the engines need is set by `stages.runtime.environment` itself."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "HYDRA_"))}
    threads = str(launcher.threads_per_process)
    # under srun a stop request reaches the ranks by way of torchrun, which gives them 30 s unless it is told otherwise
    grace = {"TORCH_ELASTIC_SHUTDOWN_TIMEOUT": str(int(launcher.grace_s))} if launcher.name == "slurm" else {}
    path = os.pathsep.join(part for part in (str(REPOSITORY), inherited.get("PYTHONPATH", "")) if part)
    return {
        **inherited,
        "PYTHONPATH": path,
        "PYTHONUNBUFFERED": "1",
        "STAGE_ATTEMPT": str(attempt),
        "STAGE_COLLECTIVE_TIMEOUT_S": str(launcher.collective_timeout_s),
        "OMP_NUM_THREADS": threads,
        "MKL_NUM_THREADS": threads,
        "OPENBLAS_NUM_THREADS": threads,
        **grace,
        **launcher.environment,
    }


def _new_attempt(directory: Path) -> tuple[int, Path]:
    logs = directory / "logs"
    attempt = 1 + max((int(path.name.removeprefix("attempt_")) for path in logs.glob("attempt_*")), default=0)
    (logs / f"attempt_{attempt}").mkdir(parents=True)
    link(logs / "latest", f"attempt_{attempt}")
    return attempt, logs / f"attempt_{attempt}"


class LineRelay:
    """Hands every new whole line of a growing log file to a function; libraries' progress bars stay in the file."""

    def __init__(self, path: Path, on_line: Callable[[str], None]):
        self.path, self.on_line, self.position = path, on_line, 0

    def poll(self) -> None:
        if not self.path.exists():
            return
        with open(self.path, "rb") as stream:
            stream.seek(self.position)
            new = stream.read()
        whole = new[: new.rfind(b"\n") + 1]
        self.position += len(whole)
        for line in whole.decode("utf-8", errors="replace").splitlines():
            if line.strip() and not NOISE.search(line):
                self.on_line(line)


def _watch(
    guard: subprocess.Popen,
    directory: Path,
    launcher: LauncherConfig,
    stop: StopRequest,
    relay: LineRelay,
    on_progress: Callable[[dict], None],
) -> None:
    """Until the workers end: lines, progress, stalls, stop requests."""
    deadline, reported = None, time.time()
    while guard.poll() is None:
        relay.poll()
        progress = find_json(directory / "progress.json", {})
        on_progress(progress)
        if time.time() - max(reported, progress.get("updated", 0)) > launcher.stall_after_s:
            reported = time.time()
            relay.on_line(f"WARNING: {stall.describe(directory, launcher.stall_after_s) or 'the workers do not start'}")
        if stop.is_requested and deadline is None:
            deadline = time.monotonic() + launcher.grace_s
            guard.send_signal(signal.SIGUSR1)
        if deadline is not None and (stop.count > 1 or time.monotonic() > deadline):
            return
        time.sleep(POLL_S)


def _end(guard: subprocess.Popen) -> None:
    """Leaves nothing running: the guard kills its descendants when told to end."""
    if guard.poll() is None:
        guard.terminate()
        try:
            guard.wait(timeout=20)
        except subprocess.TimeoutExpired:
            guard.kill()
            guard.wait()


def explain(
    stage: str, directory: Path, logs: Path, exit_code: int, was_stopped: bool, resume_command: str
) -> PipelineError:
    """Why the workers ended without a manifest, as an error that names the rank, its last lines, its log and the next
    command.
    """
    fix = f"continue with: {resume_command}"
    rank, code = root_failure(_text(logs / "driver.log"))
    error = find_json(directory / "error.json")
    progress = find_json(directory / "progress.json", {})
    if was_stopped or (
        not error and (code == EXIT_INTERRUPTED or progress.get("phase") == "interrupted")
    ):  # the latter: srun or Slurm stopped the ranks
        step = progress.get("step", 0)
        return StageInterrupted(
            f"{stage} was interrupted{f' at step {step}' if step else ''}; its checkpoint is kept", fix
        )
    if (
        isinstance(error, dict)
        and error.get("kind") != "input"
        and code is not None
        and code < 0
        and error.get("rank") != rank
    ):
        error = None  # what a peer says of the rank that was killed
    if isinstance(error, dict):
        rank = error.get("rank", rank)
    if isinstance(error, dict) and error.get("kind") == "input":
        return MissingInput(
            f"{stage}: {error.get('message')}", error.get("fix") or f"mend the input, then: {resume_command}"
        )
    if "No space left on device" in str(error) or (error is None and shutil.disk_usage(directory).free < FULL_BYTES):
        return MissingInput(
            f"{stage} found no space left on the disk of {directory}",
            f"free some space there; nothing that was finished is lost; then {fix}",
        )
    if isinstance(error, dict) and error.get("fix"):
        fix = f"{error['fix']}; then {fix}"
    log = next(path for path in (logs / f"rank{rank}.log", logs / "driver.log") if path.exists())
    seen = f"\n  at its end: {words}" if code == -signal.SIGABRT and (words := stall.last_words(logs)) else ""
    return StageFailed(
        f"{stage} failed on rank {rank}: {failure_kind(error, code, exit_code)}{seen}\n{_last_lines(log)}\n  log: "
        f"{log}",
        fix,
    )


def _last_lines(log: Path) -> str:
    """The end of the failing rank's log; where it wrote nothing (only rank 0 reports steps), the end of rank 0's."""
    whose, lines = "its log", _text(log).splitlines()
    if not lines:
        whose, lines = "rank 0's log (its own is empty)", _text(log.with_name("rank0.log")).splitlines()
    return "\n".join([f"  last lines of {whose}:", *(f"    {line}" for line in lines[-SHOWN_LINES:])])


def root_failure(torchrun_log: str) -> tuple[int, int | None]:
    """(rank, exit code) of the failure that caused the others; (0, None) where torchrun reports none.

    A rank ended by a signal comes first: its peers then fail with lost connections, often before torchrun looks, and
    torchrun itself ends ranks with SIGTERM only. Otherwise the one that torchrun saw first.

    >>> root_failure("rank : 1 (local_rank: 1)\n exitcode : -9 (pid: 7)\nRoot Cause (first observed failure):\n rank :
    0\n exitcode : 1") (1, -9)
    """
    found = [
        (int(rank), int(code))
        for rank, code in re.findall(r"\brank\s*:\s*(\d+).*?exitcode\s*:\s*(-?\d+)", torchrun_log, re.DOTALL)
    ]
    killed = [failure for failure in found if failure[1] < 0 and failure[1] != -signal.SIGTERM]
    return killed[0] if killed else found[-1] if found else (0, None)  # torchrun prints the root cause last


def failure_kind(error: dict | None, code: int | None, exit_code: int) -> str:
    """One line: the exception the worker reported, or the signal that ended it."""
    if isinstance(error, dict):
        return f"{error.get('kind')}: {error.get('message')}"
    code = exit_code if code is None else code
    number = -code if code < 0 else code - 128 if 128 < code < 160 else 0
    if number == signal.SIGKILL:
        return (
            "killed (signal 9), most likely by the kernel for want of memory: lower micro_batch_tokens, "
            "rollout.max_sequences or launcher.num_processes"
        )
    if number:
        return f"ended by signal {number} ({signal.Signals(number).name})"
    return f"exit code {code}, without an error report"


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
