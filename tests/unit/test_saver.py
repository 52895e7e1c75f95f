"""Checkpoints written while training goes on: what is in them, when they are begun, what happens when one cannot be
written. Real files, no engine.
"""

from types import SimpleNamespace

import pytest
import torch

from stages.config import ConfigError, SftConfig
from stages.contract import files
from stages.engines import saver as module
from stages.engines.checkpoint import newest_checkpoint
from stages.engines.saver import Saver
from stages.engines.training import in_memory
from stages.runtime.errors import Interrupted


class Rank:
    """What a saver asks of a worker."""

    def __init__(self, directory, rank=0, world_size=1):
        self.dir, self.rank, self.world_size, self.is_main = directory, rank, world_size, rank == 0
        self.stop_requested, self.at_exit, self.lines = False, [], []

    def agree(self, *flags):
        return list(flags)

    def say(self, line):
        self.lines.append(line)

    def sync_logs(self):
        pass


class Engine:
    """One tensor a rank. `broken`: what it holds cannot be written."""

    def __init__(self, rank=0, broken=False):
        self.weights, self.rank, self.broken = torch.zeros(3), rank, broken
        self.config = SimpleNamespace(zero_stage=2, offload_optimizer=False)

    def checkpoint_bytes(self):
        return 100

    def parts(self, directory, is_copied):
        (directory / "engine").mkdir(exist_ok=True)
        state = {"weights": self.weights, "broken": (lambda: 0) if self.broken else None}
        return [(directory / "engine" / f"rank{self.rank}.pt", in_memory(state) if is_copied else state)]


def a_saver(directory, rank=0, world_size=1, broken=False, sealed=lambda: None, **config) -> Saver:
    return Saver(
        Rank(directory, rank, world_size), Engine(rank, broken), SftConfig(**{"save_every": 2, **config}), sealed=sealed
    )


def weights(checkpoint, rank=0):
    return torch.load(checkpoint / "engine" / f"rank{rank}.pt", weights_only=True)["weights"].tolist()


def steps_saved(directory) -> list[str]:
    return sorted(path.name for path in (directory / "state").iterdir()) if (directory / "state").exists() else []


@pytest.mark.parametrize("in_background", [True, False])
def test_a_checkpoint_holds_what_was_there_when_it_was_begun(in_background, tmp_path):
    seals = []
    saver = a_saver(tmp_path, save_in_background=in_background, sealed=lambda: seals.append(steps_saved(tmp_path)))
    saver.step_done(1, 9)
    assert steps_saved(tmp_path) == []
    saver.engine.weights += 1
    saver.step_done(2, 9, lambda: {"probe": 7})
    saver.engine.weights += 1  # the next optimizer step
    saver.wait()
    found, progress = newest_checkpoint(saver.worker)
    assert (
        progress == {"step": 2, "world_size": 1, "zero_stage": 2, "probe": 7}
        and weights(found) == [1.0, 1.0, 1.0]
        and seals == [["step_000002"]]
    )
    assert saver.worker.lines == []  # whole: no warning


def test_only_the_last_few_are_kept_and_the_end_of_a_stage_is_not_saved(tmp_path):
    saver = a_saver(tmp_path, save_every=1, keep_checkpoints=2)
    for step in range(1, 6):
        saver.step_done(step, 5)
    saver.wait()
    assert steps_saved(tmp_path) == ["step_000003", "step_000004"]


def test_by_time(tmp_path, monkeypatch):
    """Every two minutes by the clock of rank 0, counted from the last one; rank 1's clock is not asked."""
    now = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    saver = a_saver(tmp_path, save_every=0, save_every_minutes=2)
    due = []
    for step, seconds in enumerate((60, 59, 2, 60, 60, 60), 1):
        now[0] += seconds
        saver.step_done(step, 9)
        saver.wait()
        due.append(f"step_{step:06d}" in steps_saved(tmp_path))
    assert due == [False, False, True, False, True, False]
    other = a_saver(tmp_path / "other", rank=1, save_every=0, save_every_minutes=2)
    now[0] += 1000
    assert not other._is_late()
    with pytest.raises(ConfigError, match="both 0"):
        SftConfig(save_every=0)


def test_a_stop_is_saved_before_it_is_obeyed(tmp_path):
    saver = a_saver(tmp_path, save_every=100)
    saver.worker.stop_requested = True
    with pytest.raises(Interrupted, match="stopped after step 3 of 9"):
        saver.step_done(3, 9)
    assert steps_saved(tmp_path) == ["step_000003"]


def test_what_goes_wrong_in_the_thread_is_raised_in_the_loop_and_leaves_the_one_before(tmp_path):
    saver = a_saver(tmp_path)
    saver.step_done(2, 9)
    saver.wait()
    saver.engine.broken = True
    saver.step_done(4, 9)
    saver._thread.join()
    with pytest.raises(AttributeError, match="lambda"):  # what pickle says
        saver.step_done(5, 9)
    assert steps_saved(tmp_path) == ["step_000002"]


def test_every_rank_writes_its_part_and_rank_0_seals_them(tmp_path):
    main, other = a_saver(tmp_path, world_size=2), a_saver(tmp_path, rank=1, world_size=2)
    other.engine.weights += 5
    main.save(2)
    assert steps_saved(tmp_path) == [".step_000002.tmp"]
    other.save(2)
    main.wait()
    found, _ = newest_checkpoint(main.worker)
    assert weights(found) == [0.0] * 3 and weights(found, rank=1) == [5.0] * 3
    assert set(files.read_json(found / "manifest.json")["files"]) == {
        "engine/rank0.pt",
        "engine/rank1.pt",
        "progress.json",
    }


def test_a_part_that_another_rank_cannot_write_is_not_waited_for(tmp_path):
    main, other = a_saver(tmp_path, world_size=2), a_saver(tmp_path, rank=1, world_size=2, broken=True)
    main.save(2)
    other.save(2)
    with pytest.raises(AttributeError):
        other.wait()
    with pytest.raises(
        RuntimeError, match="rank 1 could not write its part of checkpoint .step_000002.tmp: Can't pickle"
    ):
        main.wait()
    assert steps_saved(tmp_path) == []


def test_copies_share_nothing_with_the_engine_and_keep_what_is_shared():
    flat = torch.arange(6.0)
    state = {"a": flat[:2], "tied": [flat[2:4], flat[2:4]], "nested": ({"step": 3}, [flat])}
    copied = in_memory(state)
    flat.zero_()
    assert (
        copied["a"].tolist() == [0.0, 1.0]
        and copied["tied"][0].tolist() == [2.0, 3.0]
        and copied["nested"][1][0].tolist() == [0, 1, 2, 3, 4, 5]
    )
    assert (
        copied["tied"][0] is copied["tied"][1]
        and copied["nested"][0] == {"step": 3}
        and copied["a"].untyped_storage().nbytes() == 8
    )
