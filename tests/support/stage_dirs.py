"""Stage directories without the driver: written by hand, run with torchrun or as a lone worker, killed where a test
wants it.
"""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil

from stages.config import KINDS, VERSIONS, from_dict
from stages.contract.description import StageDescription
from stages.contract.files import read_json, read_jsonl
from stages.contract.inputs import StageInput, write_inputs
from stages.contract.manifest import Manifest
from stages.logged_rollouts import read
from tests.support.paths import REPOSITORY

TIMEOUT_S = 300


def write_stage(
    directory: Path, kind: str, config: dict, inputs: dict[str, Path] | None = None, stage: str = "", seed: int = 0
) -> Path:
    """config.json and inputs.json. `inputs`: role -> stage directory, or HF model directory."""
    from_dict(KINDS[kind], config, kind)  # a mistake in the test shows here
    stage = stage or directory.name
    directory.mkdir(parents=True)
    StageDescription(
        stage=stage,
        kind=kind,
        version=VERSIONS[kind],
        fingerprint="f" * 64,
        seed=seed,
        run="test",
        config=config,
    ).write(directory)
    write_inputs(directory, {role: _input(path) for role, path in (inputs or {}).items()})
    return directory


def _input(path: Path) -> StageInput:
    if (path / "config.json").exists() and not (path / "manifest.json").exists():  # an HF model directory
        return StageInput(path=str(path), model_dir=str(path), fingerprint="e" * 64)
    model_dir = str(path / "model") if (path / "model").exists() else None
    return StageInput(stage=path.name, path=str(path), model_dir=model_dir, fingerprint="f" * 64)


class StageRun:
    """One attempt at a stage in its own process group; nothing of it outlives the `with` block."""

    def __init__(
        self,
        directory: Path,
        num_processes: int = 2,
        program: list[str] | None = None,
        environment: dict[str, str] | None = None,
        prefix: Sequence[str] = (),
    ):
        self.directory = directory
        launcher = [
            "-m",
            "torch.distributed.run",
            "--standalone",
            f"--nproc-per-node={num_processes}",
            "--monitor-interval=0.1",
        ]
        command = [
            *prefix,
            sys.executable,
            *(launcher if num_processes > 1 else []),
            *(program or ["-m", "stages"]),
            str(directory),
        ]
        self.output = directory / "launcher.log"
        with open(self.output, "ab") as stream:
            self.process = subprocess.Popen(
                command,
                cwd=REPOSITORY,
                stdout=stream,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY), **(environment or {})},
            )

    def __enter__(self) -> "StageRun":
        return self

    def __exit__(self, *error) -> None:
        self.kill()

    def wait(self) -> int:
        return self.process.wait(timeout=TIMEOUT_S)

    def wait_for_step(self, step: int) -> None:
        """Returns when `step` is in metrics.jsonl."""
        self.wait_for(
            lambda: any(row["step"] >= step for row in read_jsonl(self.directory / "metrics.jsonl")), f"step {step}"
        )

    def wait_for_checkpoint(self, step: int) -> None:
        """Returns when the checkpoint of `step` is whole; it is written in the background, so that a later step may be
        in metrics.jsonl before.
        """
        self.wait_for((self.directory / f"state/step_{step:06d}").exists, f"checkpoint of step {step}")

    def wait_for(self, has_come: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + TIMEOUT_S
        while not has_come():
            assert self.process.poll() is None, f"ended before {what}\n{self.log()}"
            assert time.monotonic() < deadline, f"no {what} in {TIMEOUT_S} s\n{self.log()}"
            time.sleep(0.01)

    def ranks(self) -> list[psutil.Process]:
        """The worker processes."""
        children = [
            p for p in psutil.Process(self.process.pid).children(recursive=True) if str(self.directory) in p.cmdline()
        ]
        return children or [psutil.Process(self.process.pid)]

    def kill(self) -> None:
        """SIGKILL to the launcher; the workers die with it."""
        workers = psutil.Process(self.process.pid).children(recursive=True) if self.process.poll() is None else []
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(timeout=30)
        _, left = psutil.wait_procs(workers, timeout=10)
        for process in left:
            process.kill()
        assert not left, f"workers outlived their launcher: {left}"

    def log(self) -> str:
        """What there is to read when it failed: the last lines of the newest attempt's ranks and of the launcher."""
        parts = [path.read_text(errors="replace")[-3000:] for path in sorted(self.directory.glob("logs/latest/*.log"))]
        return "\n".join([*parts, self.output.read_text(errors="replace")[-3000:]])

    def rank_exit_codes(self) -> set[int]:
        """Exit codes of the workers as torchrun names them."""
        return {int(code) for code in re.findall(r"exitcode\s*: (-?\d+)", self.output.read_text(errors="replace"))}


def run_stage(directory: Path, num_processes: int = 2) -> Path:
    """Runs a stage that must finish; returns its directory."""
    with StageRun(directory, num_processes) as attempt:
        assert attempt.wait() == 0, attempt.log()
    assert (directory / "manifest.json").exists()
    return directory


def run_script(script: Path, *arguments: object, num_processes: int = 1) -> dict:
    """Runs a test's own script with torchrun; returns the JSON that rank 0 wrote to the path in its last argument."""
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        f"--nproc-per-node={num_processes}",
        str(script),
        *map(str, arguments),
    ]
    process = subprocess.Popen(
        command,
        cwd=REPOSITORY,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY)},
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        output, _ = process.communicate(timeout=TIMEOUT_S)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 0, output[-6000:]
    return read_json(Path(arguments[-1]))


def end_process(code: int = 0) -> None:
    """The end of a script that starts engines. Their threads can end a normal exit of the interpreter with SIGABRT, or
    hang it.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def steps(directory: Path) -> list[dict]:
    """metrics.jsonl without what a clock decides."""
    return [
        {name: value for name, value in row.items() if not name.startswith(("time/", "perf/"))}
        for row in read_jsonl(directory / "metrics.jsonl")
    ]


def sampled(directory: Path, step: int) -> list[dict]:
    """The logged rollouts of a step, with their texts."""
    return list(read(directory, step)[1])


def manifest(directory: Path) -> Manifest:
    return Manifest.read(directory)


def attempt_log(directory: Path, rank: int = 0) -> str:
    return (directory / "logs" / "latest" / f"rank{rank}.log").read_text()
