"""The batch script under a Slurm of two small programs: asked to stop, it leaves a checkpoint and goes back into the
queue; the next job ends the run.
"""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import psutil

from stages.contract.progress import StageProgress
from tests.support.stage_dirs import REPOSITORY
from tests.support.waiting import wait_for

SRUN = """#!/bin/bash
echo "$@" >> "$SLURM_LOG"
while [[ "$1" == --* ]]; do shift; done
exec "$@"  # signals reach the task, as srun passes them on
"""
SCONTROL = """#!/bin/bash
echo "scontrol $@" >> "$SLURM_LOG"
"""


def job(tmp_path: Path) -> subprocess.Popen:
    """The script as Slurm starts it on the first node."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {
        **os.environ,
        "PATH": os.pathsep.join((str(tmp_path / "bin"), str(Path(sys.executable).parent), os.environ["PATH"])),
        "SLURM_JOB_ID": "4711",
        "SLURM_JOB_NUM_NODES": "1",
        "SLURM_JOB_NODELIST": "localhost",
        "SLURM_LOG": str(tmp_path / "slurm.log"),
    }
    overrides = [
        f"runs_dir={tmp_path / 'runs'}",
        "+stage=base",
        "stages.base.num_steps=150",
        "launcher.num_processes=2",
        "launcher.device=any",  # no GPU is needed
        f"launcher.rendezvous_port={port}",
        "launcher.threads_per_process=1",
    ]
    return subprocess.Popen(
        ["bash", "scripts/slurm.sbatch", *overrides],
        cwd=REPOSITORY,
        env=environment,
        start_new_session=True,
        stdout=open(tmp_path / "job.log", "a"),
        stderr=subprocess.STDOUT,
    )


def test_a_job_that_must_go_comes_back(tmp_path):
    (tmp_path / "bin").mkdir()
    for name, text in (("srun", SRUN), ("scontrol", SCONTROL)):
        (tmp_path / "bin" / name).write_text(text)
        (tmp_path / "bin" / name).chmod(0o755)
    first = job(tmp_path)
    try:
        assert wait_for(
            lambda: any(
                "step 50/150" in path.read_text() for path in tmp_path.glob("runs/tiny/base/*/logs/attempt_1/rank0.log")
            ),
            240,
        ), (tmp_path / "job.log").read_text()
        first.send_signal(signal.SIGTERM)  # --signal=B:TERM: the batch shell alone
        assert first.wait(timeout=120) == 75, (tmp_path / "job.log").read_text()
    finally:
        for process in psutil.Process(first.pid).children(recursive=True) if first.poll() is None else []:
            process.kill()
    seen = (tmp_path / "slurm.log").read_text().splitlines()
    assert (
        seen[0].startswith("--nodes=1 --ntasks-per-node=1 --kill-on-bad-exit=1")
        and "--rdzv-endpoint=localhost:" in seen[0]
    )
    assert seen[1:] == ["scontrol requeue 4711"]
    (directory,) = (path for path in (tmp_path / "runs/tiny/base").iterdir() if path.is_dir() and not path.is_symlink())
    assert list(directory.glob("state/step_*/manifest.json")) and StageProgress.read(directory).phase == "interrupted"
    second = job(tmp_path)
    assert second.wait(timeout=400) == 0, (tmp_path / "job.log").read_text()
    assert (directory / "manifest.json").exists() and (tmp_path / "slurm.log").read_text().count("scontrol") == 1
    assert "resumed from step_" in (directory / "logs/latest/rank0.log").read_text()
