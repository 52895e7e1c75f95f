"""A disk that fills up (a small tmpfs) ends a stage with what is needed where; what was finished stays, and the same
command continues.
"""

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import torch
from safetensors.torch import save_file

from stages.contract.error_report import ErrorReport
from stages.contract.files import append_jsonl, read_jsonl, write_atomic
from stages.runtime import disk
from tests.support.small_disk import small_disk
from tests.support.stage_dirs import REPOSITORY, StageRun, attempt_log, run_stage, steps, write_stage

SFT = {
    "num_epochs": 1000,
    "max_steps": 9,
    "batch_size": 4,
    "max_tokens": 64,
    "save_every": 2,
    "keep_checkpoints": 9,
    "optim": {"lr": 1e-3},
}


def refused(directory: Path, num_processes: int = 1) -> ErrorReport:
    """The error report of a stage that must end with 64."""
    with StageRun(directory, num_processes) as attempt:
        return ended(attempt)


def ended(attempt: StageRun) -> ErrorReport:
    code = attempt.wait()
    assert code == 64 or 64 in attempt.rank_exit_codes(), attempt.log()
    error = ErrorReport.read(attempt.directory)
    assert (
        error.kind == "input" and "free at least" in error.fix and str(attempt.directory) in error.message + error.fix
    )
    assert not (attempt.directory / "manifest.json").exists()
    return error


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


@pytest.fixture(scope="module")
def undisturbed(base, sft_data, stage_root) -> Path:
    return run_stage(
        write_stage(stage_root / "disk_undisturbed", "sft", SFT, {"policy": base, "data": sft_data}, stage="sft"),
        num_processes=1,
    )


def test_a_checkpoint_that_does_not_fit_is_not_begun(undisturbed, base, sft_data, tmp_path):
    with small_disk(tmp_path / "disk", 5500) as place:
        directory = write_stage(place.path / "sft", "sft", SFT, {"policy": base, "data": sft_data})
        message = refused(directory).message
        kept = names(directory / "state")
        assert kept and kept[0] == "step_000002" and len(kept) < 4 and not any(name.startswith(".") for name in kept)
        assert f"checkpoint step_{2 * len(kept) + 2:06d} needs" in message and "MiB free" in message
        place.resize(32_000)
        run_stage(directory, num_processes=1)
        assert f"resumed from {kept[-1]}" in attempt_log(directory) and steps(directory) == steps(undisturbed)
        assert (directory / "model/model.safetensors").read_bytes() == (
            undisturbed / "model/model.safetensors"
        ).read_bytes()
        assert not (directory / "error.json").exists() and not (directory / ".reserve").exists()


def test_an_export_that_does_not_fit_leaves_no_half_model(undisturbed, base, sft_data, tmp_path):
    with small_disk(tmp_path / "disk", 5500) as place:
        directory = write_stage(
            place.path / "sft", "sft", {**SFT, "save_every": 100}, {"policy": base, "data": sft_data}
        )
        with StageRun(directory, 1) as attempt:
            attempt.wait_for_step(1)
            (place.path / "taken").write_bytes(os.urandom(5500 * 1024 - used(place.path) - 300 * 1024))
            message = ended(attempt).message
        assert "is full" in message and not (directory / "model").exists() and len(steps(directory)) == 9
        (place.path / "taken").unlink()
        run_stage(directory, num_processes=1)
        assert (directory / "model/model.safetensors").read_bytes() == (
            undisturbed / "model/model.safetensors"
        ).read_bytes()


def used(path: Path) -> int:
    status = os.statvfs(path)
    return (status.f_blocks - status.f_bfree) * status.f_frsize


def test_a_log_that_cannot_grow_ends_the_stage_cleanly(base, sft_data, tmp_path):
    with small_disk(tmp_path / "disk", 16_000) as place:
        directory = write_stage(
            place.path / "sft",
            "sft",
            {**SFT, "max_steps": 300, "save_every": 100, "keep_checkpoints": 2},
            {"policy": base, "data": sft_data},
        )
        with StageRun(directory, 2) as attempt:
            attempt.wait_for_checkpoint(100)
            place.fill()
            assert "is full" in ended(attempt).message
        assert names(directory / "state") == ["step_000100"]
        place.make_room()
        run_stage(directory)
        assert "resumed from step_000100" in attempt_log(directory) and [
            row["step"] for row in steps(directory)
        ] == list(range(1, 301))


def test_libraries_that_hide_a_full_disk_are_understood(tmp_path):
    tensor = torch.zeros(2**20)
    with small_disk(tmp_path / "disk", 2048) as place:
        for write in (torch.save, lambda tensors, path: save_file(tensors, path)):
            directory = place.path / "checkpoint"
            with (
                pytest.raises(disk.DiskFull, match="is full.*needed") as caught,
                disk.all_or_nothing(directory, tensor.nbytes),
            ):
                directory.mkdir()
                write({"weights": tensor}, directory / "weights")
            assert not directory.exists() and "free at least 4.0 MiB on the disk of" in caught.value.fix
        place.fill()
        path = place.path / "note.json"
        for write in (lambda: write_atomic(path, b"x" * 5000), lambda: append_jsonl(path, [{"step": 1}])):
            with pytest.raises(OSError) as caught:
                write()
            assert disk.as_disk_full(caught.value, place.path)
        assert set(names(place.path)) <= {"ballast", "note.json"} and read_jsonl(path) == []
    assert disk.as_disk_full(OSError(5, "Input/output error"), tmp_path) is None
    assert (
        disk.as_disk_full(RuntimeError("inline_container.cc: unexpected pos"), tmp_path) is None
    )  # with room on the disk it is something else


def test_the_driver_ends_with_3_and_the_same_command_continues(tmp_path):
    with small_disk(tmp_path / "disk", 48_000) as place:
        command = [
            "+stage=base",
            "orchestrator=none",
            "launcher.min_free_gib=0",
            "stages.base.num_steps=60",
            "stages.base.save_every=10",
            f"runs_dir={place.path}",
        ]
        (place.path / "taken").write_bytes(os.urandom(30_000 * 1024))
        done = r1("run", *command)
        assert done.returncode == 3 and "base needs 0.02 GiB for checkpoints" in done.stdout, done.stdout
        assert not list(place.path.glob("tiny/base/*/logs"))
        (place.path / "taken").unlink()
        driver = subprocess.Popen(
            [sys.executable, "-m", "pipeline", "run", *command], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True
        )
        try:
            StageRun.wait_for(
                Launched(driver),
                lambda: list(place.path.glob("tiny/base/*/state/step_*/manifest.json")),
                "a checkpoint",
            )
            place.fill()
            out, _ = driver.communicate(timeout=120)
        finally:
            end(driver)
        # the log finds the disk full, or the next checkpoint has no room: whichever comes first
        assert (
            driver.returncode == 3
            and f"the disk of {place.path}" in out
            and "error base: " in out
            and "fix: free at least" in out
        ), out
        place.make_room()
        assert "continues from step" in r1("plan", *command).stdout
        assert r1("run", *command).returncode == 0


class Launched:
    """What `StageRun.wait_for` asks of a process."""

    def __init__(self, process):
        self.process = process

    def log(self) -> str:
        return ""


def r1(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "pipeline", *arguments],
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
        timeout=300,
        env={**os.environ, "COLUMNS": "160"},
    )


def end(process: subprocess.Popen) -> None:
    """Its whole family."""
    if process.poll() is None:
        family = psutil.Process(process.pid).children(recursive=True)
        process.kill()
        psutil.wait_procs(family, timeout=10)
