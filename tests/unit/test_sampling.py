"""Dynamic sampling: which groups are trained on, kept and dropped."""

from types import SimpleNamespace

import pytest

from stages.config import ConfigError, GrpoConfig
from stages.kinds.grpo.groups import GroupSampler, choose
from stages.training.rollout_log import RolloutLog
from stages.training.rollouts import Rollout, Row
from tests.support.rollouts import a_prompt

SIGNAL, FLAT = (0.0, 1.0), (1.0, 1.0)


def a_group(index: int, rewards: tuple, step: int = 0, group_size: int = 2) -> list[Row]:
    assert len(rewards) == group_size
    return [
        Row.of(Rollout(a_prompt(id=f"p{index}"), index, [1], [2], [0.0], False, "", reward=r, index=index, step=step))
        for r in rewards
    ]


def uses(rollouts: list[Row]) -> list[tuple]:
    return [(r.index, r.use, r.group) for r in rollouts[::2]]


def test_groups_with_signal_come_first_and_the_rest_is_kept():
    sampled = a_group(0, FLAT) + a_group(1, SIGNAL) + a_group(2, SIGNAL) + a_group(3, FLAT) + a_group(4, SIGNAL)
    assert uses(choose(sampled, needed=2, group_size=2)) == [
        (0, "drop", 0),
        (1, "train", 0),
        (2, "train", 1),
        (3, "drop", 3),
        (4, "keep", 4),
    ]


def test_groups_without_signal_fill_the_batch():
    assert uses(choose(a_group(0, FLAT) + a_group(1, SIGNAL) + a_group(2, FLAT), 2, 2)) == [
        (0, "train", 1),
        (1, "train", 0),
        (2, "drop", 2),
    ]


def a_sampler(rewards_of, **config) -> tuple[GroupSampler, list[range]]:
    """A sampler that draws from a table: the rewards of each prompt of the stream. Also what was asked of it."""
    asked: list[range] = []
    settings = {"num_steps": 9, "prompts_per_step": 4, "updates_per_rollout": 1, "group_size": 2, **config}
    sampler = GroupSampler(
        SimpleNamespace(seed=0, stage="s", rank=0, world_size=1), GrpoConfig(**settings), None, None, None, None
    )

    def ask(indices, first, place):
        asked.append(indices)
        return [r for i in indices for r in a_group(i, rewards_of(i), first)]

    sampler.ask, sampler.finish = ask, lambda rows, weights: rows
    return sampler, asked


def test_without_dynamic_sampling_prompts_are_taken_as_they_come():
    sampler, asked = a_sampler(lambda i: FLAT)
    assert {r.use for r in sampler.rollout(2, [], 8)} == {"train"} and asked == [range(8, 12)]


def test_refill():
    """Every third prompt has signal; 1.5 prompts for each missing group: 6 find 2, 3 find 1, 2 find none, and the last
    round draws what is missing.
    """
    sampler, asked = a_sampler(lambda i: SIGNAL if i % 3 == 0 else FLAT, oversampling=1.5, max_sampling_rounds=4)
    sampled = sampler.rollout(0, [], 0)
    assert asked == [range(6), range(6, 9), range(9, 11)] and len(sampled) == 2 * 11
    assert sorted(r.index for r in sampled if r.use == "train")[::2] == [0, 3, 6, 9]


def test_left_over_groups_are_used_first():
    sampler, asked = a_sampler(lambda i: SIGNAL, oversampling=2.0)
    first = sampler.rollout(0, [], 0)
    kept = [r for r in first if r.use == "keep"]
    assert asked == [range(8)] and len(kept) == 2 * 4
    second = sampler.rollout(1, kept, 8)
    assert (
        asked[1:] == []
        and [r.index for r in second if r.use == "train"][::2] == [4, 5, 6, 7]
        and {r.step for r in second} == {0}
    )


def test_rounds_are_bounded():
    sampler, asked = a_sampler(lambda i: FLAT, oversampling=2.0, max_sampling_rounds=3)
    sampled = sampler.rollout(0, [], 0)
    assert asked == [range(8), range(8, 16), range(16, 20)] and sum(r.use == "train" for r in sampled) == 2 * 4


def test_the_log_keeps_every_group_and_its_use(tmp_path):
    sampler, _ = a_sampler(lambda i: SIGNAL if i % 2 else FLAT, oversampling=3.0)
    sampled = sampler.rollout(0, [], 0)
    log = RolloutLog(tmp_path)
    log.write(0, sampled)
    assert log.read(0) == sampled and {r.use for r in sampled} == {"train", "keep", "drop"}
    assert log.read(1) is None


@pytest.mark.parametrize("name", ["manifest.jsonl", "rank_0.arrow"])
def test_spoiled_rollouts_are_not_used(name, tmp_path):
    sampler, _ = a_sampler(lambda i: SIGNAL)
    lines = []
    log = RolloutLog(tmp_path, say=lines.append)
    log.write(0, sampler.rollout(0, [], 0))
    path = log.path(0) / name
    content = path.read_bytes()
    spoiled = [
        content[:place] + bytes([content[place] ^ 1 << place % 8]) + content[place + 1 :]
        for place in range(0, len(content), 7)
    ]
    ends = [place + 1 for place in range(len(content)) if content[place] == ord("\n")]
    spoiled += [content[:end] for end in ends[:-1]] + [b"", b"\n", content[:-1], content + content[:20]]
    if len(ends) > 1:
        spoiled += [content[: ends[0]] + content[ends[1] :], content + content[: ends[0]]]
    for number, harmed in enumerate(spoiled):
        path.write_bytes(harmed)
        assert log.read(0) is None and len(lines) == number + 1, number
    assert lines[0] == f"WARNING: {log.path(0)} is damaged: its rollouts are not used"
    path.write_bytes(content)
    assert log.read(0) is not None and len(lines) == len(spoiled) > 50


def test_too_little_oversampling():
    with pytest.raises(ConfigError, match="at least 1"):
        GrpoConfig(oversampling=0.5)
