"""`clean` deletes what nobody needs and nothing else."""

import dataclasses
import time
from io import StringIO

import pytest
from rich.console import Console

from pipeline.commands import clean, unneeded
from pipeline.errors import RunLocked
from pipeline.execution.lock import RunLock
from stages.contract.description import StageDescription
from stages.contract.inputs import StageInput, write_inputs
from stages.contract.manifest import Manifest
from stages.contract.progress import StageProgress
from tests.support.command_line import r1
from tests.support.synthetic_run import fingerprint, stage_dir, write_run

BASE, CHECKPOINT = "base", "state/step_000005/manifest.json"


def add_directory(run_dir, stage, name, inputs=None, manifest=None, files=("model/model.safetensors",)):
    """A stage directory that `latest` does not point to."""
    directory = run_dir / stage / name
    for file in files:
        (directory / file).parent.mkdir(parents=True, exist_ok=True)
        (directory / file).write_bytes(b"x" * 1000)
    StageDescription(stage=stage, kind="grpo", fingerprint=name + "0" * 56, config={}).write(directory)
    write_inputs(directory, inputs or {})
    if manifest is not False:
        (manifest or Manifest(files={})).write(directory)
    return directory


def entry(directory):
    return StageInput(
        stage=directory.parent.name,
        fingerprint=directory.name + "0" * 56,
        path=str(directory),
        model_dir=str(directory / "model"),
    )


@pytest.fixture
def run_dir(tmp_path):
    return write_run(tmp_path / "runs" / "demo", ("base", "r1_zero", "cold_start"), unfinished="cold_start")


def found(run_dir, **options) -> dict:
    return {str(item.path.relative_to(run_dir)): item.why for item in unneeded.find(run_dir, **options).items}


def everything(run_dir) -> set:
    return {str(path.relative_to(run_dir)) for path in run_dir.rglob("*")} - {".lock"}


def run_clean(run_dir, *flags: bool) -> str:
    output = Console(file=StringIO(), width=200)
    clean.clean_run(run_dir, output, *flags)
    return output.file.getvalue()


def test_a_tidy_run_has_nothing_to_delete(run_dir):
    before = everything(run_dir)
    assert found(run_dir) == {} and "nothing to delete" in run_clean(run_dir, True, True, True)
    assert everything(run_dir) == before


def test_superseded_directories_go_but_not_what_is_made_from_them(run_dir):
    old = add_directory(run_dir, "base", "00000001")
    used = add_directory(run_dir, "base", "00000002")
    of_used = add_directory(run_dir, "student_base", "00000003")
    write_inputs(stage_dir(run_dir, "r1_zero"), {"policy": entry(used)})
    write_inputs(used, {"policy": entry(of_used)})
    assert found(run_dir) == {"base/00000001": "superseded"}
    # the run was copied: its inputs name the old place
    moved = dataclasses.replace(entry(old), path="/elsewhere/runs/demo/base/00000001")
    write_inputs(stage_dir(run_dir, "r1_zero"), {"policy": moved})
    assert set(found(run_dir)) == {"base/00000002", "student_base/00000003"}


def test_what_an_unfinished_stage_needs_stays(run_dir):
    old, gone = add_directory(run_dir, "base", "00000001"), add_directory(run_dir, "base", "00000002")
    add_directory(run_dir, "r1_zero", "00000004", {"policy": entry(old)}, manifest=False, files=(CHECKPOINT,))
    files = ("logs/attempt_1/rank0.log", "rollouts/step_000000/rank_0.arrow")  # nothing to resume
    add_directory(run_dir, "r1_zero", "00000005", {"policy": entry(gone)}, manifest=False, files=files)
    assert set(found(run_dir)) == {"base/00000002", "r1_zero/00000005"}
    assert any("r1_zero/00000004 was superseded but can be resumed" in note for note in unneeded.find(run_dir).notes)
    assert set(found(run_dir, with_unfinished=True)) == {
        "base/00000001",
        "base/00000002",
        "r1_zero/00000004",
        "r1_zero/00000005",
    }
    # the latest one, not finished: never deleted
    write_inputs(stage_dir(run_dir, "cold_start"), {"policy": entry(old)})
    assert set(found(run_dir, with_unfinished=True)) == {"base/00000002", "r1_zero/00000004", "r1_zero/00000005"}


def test_what_another_run_reads_stays(run_dir):
    used = add_directory(run_dir, "base", "00000001")
    data = add_directory(run_dir, "cold_start_data", "00000003", files=("data/train.parquet",))
    add_directory(run_dir, "base", "00000002")
    other = add_directory(run_dir.parent / "mine", "evaluate", "00000008")
    config = {"data": {"path": str(data / "data/train.parquet")}}
    StageDescription(stage="evaluate", kind="evaluate", config=config).write(other)
    add_directory(
        run_dir.parent / "mine",
        "r1_zero",
        "00000009",
        {"policy": StageInput(fingerprint="e" * 64, path=str(used / "model"))},
    )
    assert set(found(run_dir)) == {"base/00000002"}


def test_unreadable_inputs_keep_every_superseded_directory(run_dir):
    add_directory(run_dir, "base", "00000001")
    (stage_dir(run_dir, "r1_zero") / "inputs.json").write_text('{"policy": {"sta')
    assert found(run_dir) == {} and "cannot be read" in unneeded.find(run_dir).notes[0]


def test_leftovers_of_stages(run_dir):
    """State of finished stages, forced results, temporary files, old logs; the state of an unfinished stage stays."""
    done, unfinished = stage_dir(run_dir, "r1_zero"), stage_dir(run_dir, "cold_start")
    for directory in (done, unfinished):
        for name in (
            CHECKPOINT,
            "logs/attempt_1/rank0.log",
            "logs/attempt_2/rank0.log",
            ".progress.json.77.tmp",
            "state/.step_000010.tmp/engine/weights.pt",
            ".reserve",
        ):
            (directory / name).parent.mkdir(parents=True, exist_ok=True)
            (directory / name).write_bytes(b"x" * 100)
        (directory / "logs/latest").symlink_to("attempt_2")
    add_directory(run_dir, "base", f"{fingerprint('base')[:8]}.old-1")
    a, b = (str(directory.relative_to(run_dir)) for directory in (done, unfinished))
    expected = {
        f"base/{fingerprint('base')[:8]}.old-1": "kept aside by force=true",
        f"{a}/state": "only for resuming, and the stage is done",
        **{f"{path}/{name}": "temporary" for path in (a, b) for name in (".progress.json.77.tmp", ".reserve")},
        f"{b}/state/.step_000010.tmp": "temporary",
    }
    assert found(run_dir) == expected
    assert set(found(run_dir, with_logs=True)) == set(expected) | {f"{a}/logs/attempt_1", f"{b}/logs/attempt_1"}
    before = everything(run_dir)
    text = run_clean(run_dir, False, True, False)
    assert (
        "nothing was deleted" in text
        and "clean run=demo" in text
        and "--yes --logs" in text
        and everything(run_dir) == before
    )
    text = run_clean(run_dir, True, False, False)
    removed = before - everything(run_dir)
    assert "7 things" in text and "freed" in text and everything(run_dir) < before
    assert all(any(path == gone or path.startswith(f"{gone}/") for gone in expected) for path in removed)
    assert (unfinished / CHECKPOINT).exists() and (done / "logs/attempt_1").exists() and found(run_dir) == {}


def test_a_directory_that_a_lone_worker_uses_stays(run_dir):
    directory = add_directory(run_dir, "base", "00000001", manifest=False, files=("state/.step_000010.tmp/weights.pt",))
    StageProgress(phase="train", step=3, updated=time.time()).write(directory)
    assert found(run_dir, with_unfinished=True) == {}
    StageProgress(phase="train", step=3, updated=time.time() - 1000).write(directory)
    assert found(run_dir) == {"base/00000001": "superseded"}


def test_links_are_not_followed(run_dir, tmp_path):
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "precious").write_bytes(b"x" * 5000)
    directory = add_directory(run_dir, "base", "00000001", files=("model/weights",))
    (directory / "link").symlink_to(tmp_path / "outside")
    (item,) = unneeded.find(run_dir).items
    assert item.num_bytes < 5000
    run_clean(run_dir, True, False, False)
    assert not directory.exists() and (tmp_path / "outside" / "precious").exists()


def test_a_held_run_is_refused(run_dir):
    add_directory(run_dir, "base", "00000001")
    with RunLock(run_dir), pytest.raises(RunLocked):
        run_clean(run_dir, True, False, False)
    assert (run_dir / "base" / "00000001").exists()


def test_the_command(run_dir):
    add_directory(run_dir, "base", "00000001")
    runs = f"runs_dir={run_dir.parent}"
    shown = r1("clean", runs)
    assert shown.returncode == 0 and "base/00000001" in shown.stdout and (run_dir / "base" / "00000001").exists()
    with RunLock(run_dir):
        assert r1("clean", runs, "--yes").returncode == 5
    assert r1("clean", runs, "--yse").returncode == 2 and r1("clean", runs, "run=nothing").returncode == 3
    assert r1("clean", "run=demo", runs, "--yes").returncode == 0 and not (run_dir / "base" / "00000001").exists()
    assert (run_dir / "base/latest/config.json").exists()
