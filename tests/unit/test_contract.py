"""The files that both halves read and write: every key has a type, other versions are read, damage is named."""

import json

import pytest

from stages.contract.description import StageDescription
from stages.contract.error_report import ErrorReport
from stages.contract.files import FileEntry
from stages.contract.heartbeat import Heartbeat, heartbeats
from stages.contract.inputs import StageInput, find_inputs, read_inputs, write_inputs
from stages.contract.json_file import DamagedFile
from stages.contract.manifest import Manifest, Timing, Tokens, verify
from stages.contract.progress import StageProgress

MANIFEST = Manifest(
    stage="r1_zero",
    kind="grpo",
    version=3,
    fingerprint="f" * 64,
    inputs={"policy": "e" * 64},
    files={"model/a.bin": FileEntry(sha256="0" * 64, bytes=4)},
    metrics={"reward/mean": 1.5},
    timing=Timing(total_s=10, startup_s=2.5, rank_s=20, attempts=2),
    tokens=Tokens(sampled=7, trained=8),
    peak_memory_gib=1.5,
    created="2026-01-01T00:00:00+00:00",
    versions={"torch": "2.13.0"},
)
FILES = [
    MANIFEST,
    StageDescription(stage="s", kind="sft", version=2, fingerprint="f", seed=1, run="r", config={"a": {"b": [1]}}),
    StageProgress(phase="train", step=3, num_steps=9, updated=2.0, started=1.0, message="loss 0.5"),
    ErrorReport(kind="input", message="no rows", fix="add some", rank=1, log="logs/attempt_1/rank1.log"),
]


@pytest.mark.parametrize("file", FILES, ids=lambda file: type(file).__name__)
def test_what_is_written_is_read(file, tmp_path):
    assert type(file).find(tmp_path) is None
    with pytest.raises(FileNotFoundError):
        type(file).read(tmp_path)
    file.write(tmp_path)
    assert type(file).read(tmp_path) == file


def test_the_keys_on_the_disk_are_those_of_the_documentation(tmp_path):
    for file in FILES:
        file.write(tmp_path)
    keys = {path.name: list(json.loads(path.read_text())) for path in tmp_path.iterdir()}
    assert keys == {
        "manifest.json": [
            *("stage", "kind", "version", "fingerprint", "inputs", "files", "metrics", "timing", "tokens"),
            *("peak_memory_gib", "created", "versions"),
        ],
        "config.json": ["stage", "kind", "version", "fingerprint", "seed", "run", "config", "data_files"],
        "progress.json": ["phase", "step", "num_steps", "updated", "started", "eta_s", "message"],
        "error.json": ["kind", "message", "fix", "rank", "log", "is_passing"],
    }
    Heartbeat(rank=0, updated=1.0).write_path(tmp_path / "rank0.json")
    assert list(json.loads((tmp_path / "rank0.json").read_text())) == [
        *("rank", "phase", "step", "since", "updated", "at", "waits_in", "started", "startup_s")
    ]


def test_inputs_name_a_template_only_where_there_is_one(tmp_path):
    inputs = {
        "policy": StageInput(stage="base", fingerprint="e" * 64, path="/runs/base/eeeeeeee", model_dir=None),
        "other": StageInput(fingerprint="d" * 64, path="/models/m", model_dir="/models/m", template="chat"),
    }
    write_inputs(tmp_path, inputs)
    assert read_inputs(tmp_path) == inputs
    assert json.loads((tmp_path / "inputs.json").read_text()) == {
        "policy": {"stage": "base", "fingerprint": "e" * 64, "path": "/runs/base/eeeeeeee", "model_dir": None},
        "other": {
            "stage": None,
            "fingerprint": "d" * 64,
            "path": "/models/m",
            "model_dir": "/models/m",
            "template": "chat",
        },
    }


def test_files_of_other_versions_are_read(tmp_path):
    """A newer version may add keys, an older one lacks some; what is not understood takes its default."""
    (tmp_path / "manifest.json").write_text(
        '{"files": {"a": {"sha256": "0", "bytes": 1, "blocks": 2}}, "timing": {"total_s": 3, "queue_s": 1}, '
        '"metrics": [], "tokens": {"sampled": 1.5}, "new": 1}'
    )
    assert Manifest.read(tmp_path) == Manifest(
        files={"a": FileEntry(sha256="0", bytes=1)}, timing=Timing(total_s=3), tokens=Tokens()
    )


@pytest.mark.parametrize(
    "text, reason",
    [
        ("", "it is not JSON"),
        ('{"files": {"a"', "it is not JSON"),
        ("[]", "an object is expected, not a list"),
        ("{}", "its key 'files' is missing"),
        ('{"files": 3}', "files: an object is expected, not 3"),
        ('{"files": {"model/a.bin": null}}', "files.model/a.bin: an object is expected, not None"),
        ('{"files": {"model/a.bin": {"bytes": 1}}}', "files.model/a.bin: its key 'sha256' is missing"),
        ('{"files": {"a": {"sha256": "0", "bytes": true}}}', "files.a.bytes: an integer is expected, not True"),
    ],
)
def test_what_is_no_manifest_says_why(text, reason, tmp_path):
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(DamagedFile) as caught:
        Manifest.read(tmp_path)
    assert str(caught.value).startswith(f"{tmp_path / 'manifest.json'} is not a manifest: {reason}")
    assert Manifest.find(tmp_path) is None
    verdict = verify(tmp_path)
    assert verdict.is_there and verdict.manifest is None and verdict.problems == [str(caught.value)]


def test_inputs_that_cannot_be_read_name_the_role(tmp_path):
    (tmp_path / "inputs.json").write_text('{"policy": {"stage": "base", "path": "/runs"}}')
    with pytest.raises(DamagedFile, match=r"is not a stage's inputs: policy: its key 'fingerprint' is missing"):
        read_inputs(tmp_path)
    assert find_inputs(tmp_path) is None


def test_a_stage_without_a_manifest_is_not_there_and_not_damaged(tmp_path):
    verdict = verify(tmp_path)
    assert not verdict.is_there and verdict.manifest is None and verdict.problems == []


def test_damaged_heartbeats_are_left_out(tmp_path):
    Heartbeat(rank=1, phase="train", step=2, updated=5.0).write_path(Heartbeat.path(tmp_path, 1))
    (tmp_path / "rank0.json").write_text('{"rank": 0, "upd')
    assert [beat.rank for beat in heartbeats(tmp_path)] == [1]
