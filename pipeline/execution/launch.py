"""Starts a stage's workers with torchrun and watches them: relays what rank 0 says, and passes stop requests on."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from pipeline.configuration.schema import LauncherConfig
from pipeline.errors import PipelineError, StageInterrupted
from pipeline.execution import stall
from pipeline.execution.failure import explain
from pipeline.execution.guard import TORCHRUN
from pipeline.execution.nodes import Caller, network_of
from pipeline.execution.stop import StopRequest
from pipeline.paths import REPOSITORY
from stages.contract.files import link
from stages.contract.outcome import FAILED, INTERRUPTED, Outcome
from stages.contract.progress import StageProgress

POLL_S = 0.1
# progress bars and notes of libraries
NOISE = re.compile(r"\d+%\|.*\||\[[\d:]+[<,][^\]]*(?:it/s|s/it)\]|^\[rank\d+\]:\[W|^Triton is installed")


def launch(
    stage: str,
    directory: Path,
    launcher: LauncherConfig,
    stop: StopRequest,
    on_line: Callable[[str], None],
    on_progress: Callable[[StageProgress], None],
    resume_command: str,
) -> None:
    """Runs the workers of one stage to their end: `python -m stages DIRECTORY`, once a rank.

    Args:
        stage: Name of the stage, for messages.
        directory: Its prepared directory, with config.json and inputs.json.
        launcher: How many processes, and where.
        stop: Asked again and again; when it is requested, the workers write a checkpoint and end.
        on_line: Gets each new line of rank 0's log.
        on_progress: Gets the content of progress.json, several times a second.
        resume_command: The command line that an error tells people to type.

    Raises:
        StageInterrupted: The workers were stopped and have written a checkpoint.
        MissingInput: An input cannot be used, or the disk is full.
        StageFailed: Anything else.
    """
    attempt, logs = _new_attempt(directory)
    (directory / "error.json").unlink(missing_ok=True)
    caller = Caller(directory, launcher, attempt) if launcher.name == "torchrun" else None
    with open(logs / "driver.log", "wb") as driver_log:
        guard = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "pipeline.execution.guard",
                str(os.getpid()),
                *_command(directory, launcher, caller),
            ],
            stdin=subprocess.DEVNULL,
            stdout=driver_log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=worker_environment(launcher, attempt),
        )
    relay = LineRelay(logs / "rank0.log", on_line)
    lost: list[str] = []
    try:
        lost = _watch(guard, directory, launcher, stop, relay, on_progress, caller)
    finally:
        end_guard(guard)
        relay.poll()
        if caller:
            if guard.returncode and not lost and not stop.is_requested:
                lost = caller.not_answering()
            caller.end()
    if guard.returncode != 0 or not (directory / "manifest.json").exists():
        error = explain(stage, directory, logs, guard.returncode, stop.is_requested, resume_command, lost)
        _note_outcome(logs, error)
        raise error


def _note_outcome(logs: Path, error: PipelineError) -> None:
    """Writes down why the attempt ended, for `status`; a disk that is full keeps nobody from hearing it now."""
    state = INTERRUPTED if isinstance(error, StageInterrupted) else FAILED
    with contextlib.suppress(OSError):
        Outcome(state=state, message=str(error).splitlines()[0], fix=error.fix).write(logs)


def _command(directory: Path, launcher: LauncherConfig, caller: Caller | None) -> list[str]:
    if caller is None:
        return worker_command(directory, launcher)
    return node_command(directory, launcher, caller.call.endpoint, caller.call.id, is_host=True)


def node_command(directory: Path, launcher: LauncherConfig, endpoint: str, call: str, is_host: bool) -> list[str]:
    """The command that starts one machine's ranks where each machine is started by itself.

    Args:
        directory: The stage's directory.
        launcher: Of the run; its `address` is this machine's.
        endpoint: host:port where the machines find each other.
        call: What tells this launch from others.
        is_host: Whether the endpoint is on this machine.
    """
    return [
        *_torchrun(launcher),
        f"--nnodes={launcher.num_nodes}",
        "--rdzv-backend=c10d",
        f"--rdzv-endpoint={endpoint}",
        f"--rdzv-id={call}",
        f"--rdzv-conf=is_host={int(is_host)},join_timeout={int(launcher.join_timeout_s)}",
        *([f"--local-addr={launcher.address}"] if launcher.address else []),
        "-m",
        "stages",
        str(directory),
    ]


def _torchrun(launcher: LauncherConfig) -> list[str]:
    """torchrun with what is alike everywhere."""
    return [
        sys.executable,
        "-m",
        TORCHRUN,
        f"--nproc-per-node={launcher.num_processes}",
        "--monitor-interval=0.2",
        "--log-dir=/dev/null",  # each rank writes its own log; directories in /tmp would outlive a killed torchrun
    ]


def worker_command(directory: Path, launcher: LauncherConfig) -> list[str]:
    """The command that starts all ranks: torchrun on this machine, or one torchrun on each node by srun."""
    torchrun, worker = _torchrun(launcher), ["-m", "stages", str(directory)]
    if launcher.name == "local":
        return [*torchrun, "--standalone", *worker]
    nodes = os.environ.get("SLURM_JOB_NODELIST", "localhost")
    first_node = os.environ.get("SLURM_JOB_FIRST_NODE") or _first_node(nodes)
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
    if match is None:
        raise PipelineError(f"SLURM_JOB_NODELIST={node_list} is no list of hosts", "set SLURM_JOB_FIRST_NODE=HOST")
    return f"{match[1]}{match[2] or ''}"


def worker_environment(launcher: LauncherConfig, attempt: int) -> dict[str, str]:
    """The environment of the workers; what the engines need is set there by `stages.runtime.environment`."""
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
        "STAGE_DEVICE": launcher.device,
        "OMP_NUM_THREADS": threads,
        "MKL_NUM_THREADS": threads,
        "OPENBLAS_NUM_THREADS": threads,
        **grace,
        **network_of(launcher.address),
        **launcher.environment,
    }


def _new_attempt(directory: Path) -> tuple[int, Path]:
    """(number, log directory) of the next attempt, which is made."""
    logs = directory / "logs"
    attempt = 1 + max((int(path.name.removeprefix("attempt_")) for path in logs.glob("attempt_*")), default=0)
    (logs / f"attempt_{attempt}").mkdir(parents=True)
    link(logs / "latest", f"attempt_{attempt}")
    return attempt, logs / f"attempt_{attempt}"


class LineRelay:
    """Hands every new whole line of a growing log file to a function; libraries' progress bars stay in the file."""

    def __init__(self, path: Path, on_line: Callable[[str], None], keeps_noise: bool = False):
        self.path, self.on_line, self.position, self.keeps_noise = path, on_line, 0, keeps_noise

    def poll(self) -> None:
        """Reads what is new in the file; a line that is still being written waits for the next time."""
        if not self.path.exists():
            return
        with open(self.path, "rb") as stream:
            stream.seek(self.position)
            new = stream.read()
        whole = new[: new.rfind(b"\n") + 1]
        self.position += len(whole)
        for line in whole.decode("utf-8", errors="replace").splitlines():
            if self.keeps_noise or (line.strip() and not NOISE.search(line)):
                self.on_line(line)


def _watch(
    guard: subprocess.Popen,
    directory: Path,
    launcher: LauncherConfig,
    stop: StopRequest,
    relay: LineRelay,
    on_progress: Callable[[StageProgress], None],
    caller: Caller | None = None,
) -> list[str]:
    """Returns when the workers have ended, have had the time that a stop request leaves them, or a machine is lost.

    Returns:
        The machines that are lost.
    """
    deadline: float | None = None
    last_warning = time.time()
    while guard.poll() is None:
        relay.poll()
        if caller:
            caller.post()
            if lost := caller.lost():
                return lost
        progress = StageProgress.find(directory)
        if progress is not None:
            on_progress(progress)
        if time.time() - max(last_warning, progress.updated if progress else 0.0) > launcher.stall_after_s:
            last_warning = time.time()
            relay.on_line(f"WARNING: {stall.describe(directory, launcher.stall_after_s) or 'the workers do not start'}")
        if stop.is_requested and deadline is None:
            deadline = time.monotonic() + launcher.grace_s
            guard.send_signal(signal.SIGUSR1)
        if deadline is not None and (stop.count > 1 or time.monotonic() > deadline):
            break
        time.sleep(POLL_S)
    return []


def end_guard(guard: subprocess.Popen) -> None:
    """Ends the guard, which kills its descendants first, so that nothing is left running."""
    if guard.poll() is None:
        guard.terminate()
        try:
            guard.wait(timeout=20)
        except subprocess.TimeoutExpired:
            guard.kill()
            guard.wait()
