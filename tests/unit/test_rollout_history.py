"""Which rollouts and prompts a GRPO stage goes on with, from its logs alone. Worked by hand."""

import functools
import json
import shutil
from dataclasses import replace
from types import SimpleNamespace

import pytest

from stages.config import GrpoConfig
from stages.kinds.grpo.history import RolloutHistory
from stages.training.rollouts import Rollout, Row
from tests.support.rollouts import a_prompt
from tests.support.two_ranks import on_ranks

SETTINGS = {"num_steps": 12, "prompts_per_step": 2, "group_size": 2}


def a_history(directory, *rollbacks: dict, **config) -> RolloutHistory:
    """The history of a stage that was rolled back so; what it says goes to `lines`."""
    (directory / "skipped.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rollbacks))
    worker = SimpleNamespace(dir=directory, seed=0, stage="s", rank=0, world_size=1, say=lambda line: None)
    return RolloutHistory(worker, GrpoConfig(**{**SETTINGS, **config}))


def a_group(index: int, use: str = "train", step: int = 0, kind: str = "math") -> list[Row]:
    prompt = a_prompt(kind, id=f"p{index}")
    rows = [
        Row.of(Rollout(prompt, index, [1], [2], [0.0], False, "", reward=reward, index=index, step=step))
        for reward in (0.0, 1.0)
    ]
    return [replace(row, use=use) for row in rows]


def test_a_rollout_is_split_into_equal_parts_at_random_and_alike_each_time(tmp_path):
    history = a_history(tmp_path, updates_per_rollout=3)
    rollouts = [rollout for index in range(6) for rollout in a_group(index)]
    parts = [history.share(rollouts, number) for number in (3, 4, 5)]
    assert [len(part) for part in parts] == [4] * 3
    assert sorted(id(r) for part in parts for r in part) == sorted(map(id, rollouts))
    assert parts == [history.share(rollouts, number) for number in (3, 4, 5)]
    assert parts[0] != rollouts[:4] and parts[0] != history.share(rollouts, 0)  # shuffled, each rollout otherwise
    assert a_history(tmp_path, updates_per_rollout=1).share(rollouts, 7) == rollouts


def test_without_dynamic_sampling_prompts_are_numbered_by_the_step(tmp_path):
    assert a_history(tmp_path, updates_per_rollout=1).left_over(5, reasoning_only=False) == ([], 5 * 2)


def test_what_dynamic_sampling_left_is_used_next(tmp_path):
    history = a_history(tmp_path, updates_per_rollout=1, oversampling=2.0)
    assert history.left_over(0, reasoning_only=False) == ([], 0)
    kept, general = a_group(3, "keep"), a_group(4, "keep", kind="capital")
    history.log.write(0, a_group(0) + a_group(1) + a_group(2, "drop") + kept + general)
    assert history.left_over(1, reasoning_only=False) == (kept + general, 5)
    assert history.left_over(1, reasoning_only=True) == (kept, 5)


def test_prompts_that_a_rollback_left_out_are_not_used_again(tmp_path):
    """Batch 1 was left out, and with it prompt 3; its rollout had drawn the stream up to prompt 7."""
    row = {"batches": [1], "indices": [3], "prompts": ["p3"], "next_index": 8}
    history = a_history(tmp_path, row, updates_per_rollout=1, oversampling=2.0)
    history.log.write(0, a_group(0) + a_group(1) + a_group(3, "keep") + a_group(4, "keep"))
    left_over, start = history.left_over(2, reasoning_only=False)
    assert [r.index for r in left_over] == [4, 4] and start == 8
    assert history.left_over(1, reasoning_only=False)[1] == 5  # before the batch the row says nothing


def test_rollouts_that_are_spoiled_while_the_stage_runs_end_it(tmp_path):
    history = a_history(tmp_path, updates_per_rollout=1, oversampling=2.0)
    with pytest.raises(RuntimeError, match="rollouts 2 were spoiled while the stage ran"):
        history.left_over(3, reasoning_only=False)


def test_what_a_rollback_says_of_its_batches(tmp_path):
    history = a_history(tmp_path, updates_per_rollout=2)
    rollouts = a_group(4) + a_group(5) + a_group(6) + a_group(7)
    history.log.write(2, rollouts + a_group(8, "keep"))
    said = history.describe([3])
    assert said["indices"] == sorted({r.index for r in history.share(rollouts, 3)}) != []
    assert said["prompts"] == [f"p{index}" for index in said["indices"]] and said["next_index"] == 9
    assert history.describe([2, 3])["indices"] == [4, 5, 6, 7]
    assert history.describe([9]) == {"prompts": [], "indices": [], "next_index": 0}  # it was never sampled


def test_which_checkpoints_can_be_gone_on_from(tmp_path):
    """Rollouts of two updates. One that has begun must be there; one that begins is sampled again."""
    history = a_history(tmp_path, updates_per_rollout=2)
    assert history.why_unusable(4) is None
    assert history.why_unusable(5) == "rollouts 4 are missing, of which updates before step 5 were made"
    history.log.write(4, a_group(0))
    assert history.why_unusable(5) is None


def _why_unusable_on(directory, rank: int, world_size: int) -> list:
    """What the ranks tell each other of a checkpoint whose reference rank 0, which alone reads it, finds damaged."""
    from stages.kinds.grpo.trainer import GrpoTrainer
    from stages.runtime.distributed import gather_objects

    history = a_history(directory, updates_per_rollout=2)
    why = None if rank else "its reference is damaged"
    trainer = SimpleNamespace(history=history, reference=SimpleNamespace(why_unusable=lambda identity: why))
    return gather_objects([GrpoTrainer._why_unusable(trainer, {"step": 5, "reference": {"step": 4}})])


def test_all_ranks_look_for_rollouts_where_one_finds_a_damaged_reference(tmp_path):
    """Looking for them is collective: a rank that left it out would be told something else than it asked."""
    rollouts = "rollouts 4 are missing, of which updates before step 5 were made"
    for found in on_ranks(functools.partial(_why_unusable_on, tmp_path), 2, tmp_path):
        assert found == ["its reference is damaged", rollouts]


def test_a_checkpoint_needs_what_dynamic_sampling_left_over(tmp_path):
    history = a_history(tmp_path, updates_per_rollout=1, oversampling=2.0)
    assert history.why_unusable(0) is None  # nothing comes before
    assert history.why_unusable(3) == "rollouts 2 are missing, which may have left some for the next ones"
    history.log.write(2, a_group(0))
    assert history.why_unusable(3) is None
    shutil.rmtree(history.log.path(2))
    history.log.write(3, a_group(0))
    assert history.why_unusable(3) is None  # its own rollouts are there


@pytest.mark.parametrize("config, kept", [({}, [4, 6]), ({"oversampling": 2.0}, [2, 4, 6])])
def test_what_no_checkpoint_asks_for_is_dropped(config, kept, tmp_path):
    """The oldest checkpoint is of step 5, in the middle of rollout 4; with dynamic sampling it needs rollout 2 too."""
    history = a_history(tmp_path, updates_per_rollout=2, **config)
    for step in (0, 2, 4, 6):
        history.log.write(step, a_group(step))
    history.drop_before(5)
    assert [step for step in (0, 2, 4, 6) if history.log.read(step)] == kept
