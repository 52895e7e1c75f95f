"""Which checkpoint a resume takes when some are damaged."""

import pytest

from stages.contract import files
from stages.engines.checkpoint import newest_checkpoint
from stages.engines.saver import superseded
from stages.engines.universal import to_universal

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
