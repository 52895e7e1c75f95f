"""Which checkpoint a resume takes when some are damaged."""

import os
from pathlib import Path

import pytest

from stages.contract import files
from stages.engines.checkpoint import newest_checkpoint, share_of
from stages.engines.saver import superseded
from stages.engines.universal import to_universal
from tests.support.two_ranks import on_ranks

pytestmark = pytest.mark.slow  # imports DeepSpeed


class Listener:
    """What `newest_checkpoint` asks of a worker."""

    def __init__(self, directory):
        self.dir, self.lines = directory, []

    def say(self, line):
        self.lines.append(line)


def write_checkpoint(directory, step):
    checkpoint = directory / "state" / f"step_{step:06d}"
    (checkpoint / "engine").mkdir(parents=True)
    (checkpoint / "engine" / "weights.pt").write_bytes(bytes(range(200)))
    files.write_json(checkpoint / "progress.json", {"step": step})
    files.write_json(checkpoint / "manifest.json", {"files": files.file_table(checkpoint, ["**/*"])})
    return checkpoint


def flip_a_bit(checkpoint):
    data = bytearray((checkpoint / "engine/weights.pt").read_bytes())
    data[100] ^= 1
    (checkpoint / "engine/weights.pt").write_bytes(data)


DAMAGES = {
    "a flipped bit": (flip_a_bit, "engine/weights.pt"),
    "a short file": (lambda checkpoint: (checkpoint / "engine/weights.pt").write_bytes(b"abc"), "engine/weights.pt"),
    "a lost file": (lambda checkpoint: (checkpoint / "progress.json").unlink(), "progress.json"),
    "no manifest": (lambda checkpoint: (checkpoint / "manifest.json").unlink(), "manifest.json"),
    "half a manifest": (
        lambda checkpoint: (checkpoint / "manifest.json").write_text('{"files": {"engi'),
        "manifest.json",
    ),
    "another file's manifest": (lambda checkpoint: (checkpoint / "manifest.json").write_text("[1]"), "manifest.json"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_falls_back_to_the_one_before(damage, tmp_path):
    worker = Listener(tmp_path)
    older, newer = write_checkpoint(tmp_path, 5), write_checkpoint(tmp_path, 10)
    assert newest_checkpoint(worker) == (newer, {"step": 10}) and not worker.lines
    harm, name = DAMAGES[damage]
    harm(newer)
    assert newest_checkpoint(worker) == (older, {"step": 5})
    assert worker.lines == [f"WARNING: checkpoint {newer} is damaged ({name}): falling back to the one before it"]


def test_a_checkpoint_without_what_it_goes_on_with_falls_back(tmp_path):
    worker = Listener(tmp_path)
    older, newer = write_checkpoint(tmp_path, 5), write_checkpoint(tmp_path, 10)
    assert newest_checkpoint(worker, why_unusable=lambda progress: "no rollouts" if progress["step"] > 5 else None) == (
        older,
        {"step": 5},
    )
    assert worker.lines == [
        f"WARNING: checkpoint {newer} cannot be used: no rollouts: falling back to the one before it"
    ]


def test_every_flipped_bit_of_a_manifest_is_found(tmp_path):
    worker = Listener(tmp_path)
    older, newer = write_checkpoint(tmp_path, 5), write_checkpoint(tmp_path, 10)
    manifest = newer / "manifest.json"
    content = manifest.read_bytes()
    for place in range(len(content)):
        for bit in range(8):
            manifest.write_bytes(content[:place] + bytes([content[place] ^ 1 << bit]) + content[place + 1 :])
            assert newest_checkpoint(worker) == (older, {"step": 5}), (place, bit)


def test_without_a_whole_checkpoint_it_starts_over_and_says_so(tmp_path):
    worker = Listener(tmp_path)
    assert newest_checkpoint(worker) is None and not worker.lines
    flip_a_bit(write_checkpoint(tmp_path, 5))
    assert newest_checkpoint(worker) is None
    assert worker.lines[-1] == f"WARNING: none of the 1 checkpoints in {tmp_path / 'state'} can be used: starting over"


@pytest.mark.parametrize("keep, gone", [(1, [5, 10, 20, 25]), (2, [5, 20, 25]), (5, [20, 25])])
def test_damaged_checkpoints_do_not_take_the_place_of_new_ones(tmp_path, keep, gone):
    """Those of steps 20 and 25 were damaged, the run went back to 10 and has come to 15."""
    written = {step: write_checkpoint(tmp_path, step) for step in (5, 10, 15, 20, 25)}
    assert superseded(tmp_path / "state", written[15], keep) == [written[step] for step in gone]


def test_a_checkpoint_that_deepspeed_cannot_convert_says_why(tmp_path):
    (tmp_path / "[odd] name").mkdir()
    (tmp_path / "[odd] name" / "engine").mkdir()
    with pytest.raises(RuntimeError, match=r"(?s)could not convert .*\[odd\] name/engine.* \(exit code 1\): .*Error"):
        to_universal(tmp_path / "[odd] name" / "engine", tmp_path / "whole" / "engine")


@pytest.mark.parametrize("world_size", [1, 2, 3, 8])
def test_every_file_is_verified_by_one_rank_and_by_the_one_that_loads_it(world_size):
    names = [
        f"engine/zero_pp_rank_{rank}_mp_rank_00_{kind}_states.pt" for rank in range(4) for kind in ("model", "optim")
    ]
    names += [
        "engine/mp_rank_00_model_states.pt",
        "progress.json",
        "engine/bf16_zero_pp_rank_1_mp_rank_00_optim_states.pt",
    ]
    table = {name: {"sha256": "", "bytes": place + 1} for place, name in enumerate(names)}
    shares = [share_of(table, rank, world_size) for rank in range(world_size)]
    assert sorted(name for share in shares for name in share) == sorted(names)
    for rank, share in enumerate(shares):
        mine = [name for name in names if f"zero_pp_rank_{rank}_" in name]
        assert set(mine) <= set(share)


def _found_on(rank, world_size):
    directory = Path(os.environ["CHECKPOINTS"])
    read, sha256 = [], files.sha256
    files.sha256 = lambda path: read.append(path.name) or sha256(path)
    listener = Listener(directory)
    found = newest_checkpoint(
        listener, why_unusable=lambda progress: "gone" if rank and progress["step"] == 10 else None
    )
    return [found and found[0].name, listener.lines, read]


def test_a_damaged_part_is_found_by_its_rank_and_all_ranks_fall_back(tmp_path, monkeypatch):
    """One rank reads the damage, another lacks a file beside the checkpoint: both ranks go on from the same one."""
    monkeypatch.setenv("CHECKPOINTS", str(tmp_path))
    for step in (5, 10, 15):
        checkpoint = write_checkpoint(tmp_path, step)
        for rank in range(2):
            (checkpoint / "engine" / f"zero_pp_rank_{rank}_optim_states.pt").write_bytes(bytes([rank]) * 100)
        (checkpoint / "manifest.json").unlink()
        files.write_json(checkpoint / "manifest.json", {"files": files.file_table(checkpoint, ["**/*"])})
    (checkpoint / "engine" / "zero_pp_rank_1_optim_states.pt").write_bytes(bytes(100))
    first, second = on_ranks(_found_on, 2, tmp_path)
    assert first[0] == second[0] == "step_000005" and first[1] == second[1]
    assert "step_000015 is damaged (engine/zero_pp_rank_1_optim_states.pt)" in first[1][0]
    assert "step_000010 cannot be used: gone" in first[1][1]
    assert "zero_pp_rank_1_optim_states.pt" not in first[2] and "zero_pp_rank_0_optim_states.pt" not in second[2]
    assert sorted(first[2] + second[2]) == sorted(
        ["weights.pt", "progress.json"] * 3
        + [f"zero_pp_rank_{rank}_optim_states.pt" for rank in (0, 1) for _ in range(3)]
    )
