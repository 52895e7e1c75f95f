"""Rows go to every rank and tokens to the rank that trains on them, with all their bits."""

import functools
import time
from unittest import mock

import numpy as np
import pytest

from stages.contract import rollout_files
from stages.training.exchange import deliver, give_back, windows
from stages.training.rollout_log import RolloutLog
from stages.training.rollouts import Rollout, Row, bring, gather
from tests.support.rollouts import a_prompt, a_row
from tests.support.two_ranks import on_ranks

LENGTHS = [3, 9, 1, 4, 7, 2]


def a_rollout(group: int) -> Rollout:
    """The same on every rank; some have logprobs of the trainer, some versions."""
    rng, length = np.random.default_rng(group), LENGTHS[group]
    return Rollout(
        a_prompt(id=f"p{group}"),
        group,
        rng.integers(0, 100, group),  # the first one has no tokens
        rng.integers(0, 2**31 - 1, length),
        rng.normal(size=length),
        False,
        f"text {group}",
        reward=float(group),
        old_logprobs=rng.normal(size=length) if group % 2 else None,
        version=np.full(length, group, np.int32) if group in (1, 2) else None,
    )


def bits(*arrays: np.ndarray | None) -> list[bytes | None]:
    return [None if array is None else array.tobytes() for array in arrays]


def tokens_of(rollout) -> list[bytes | None]:
    return bits(
        rollout.prompt_ids, rollout.completion_ids, rollout.rollout_logprobs, rollout.old_logprobs, rollout.version
    )


def _slowly(function):
    def call(*arguments):
        time.sleep(0.5)
        function(*arguments)

    return call


def on_a_rank(directory, rank: int, world_size: int) -> dict:
    own = [a_rollout(group) for group in range(len(LENGTHS)) if group % world_size == rank]
    rows = gather(own, rank)
    here = [row.group for row in rows if row.here is not None]
    wanted = [[5, 0, 1], [2, 4, 3, 0]][:world_size]  # one row for both, another order
    delivered = [tokens_of(tokens) for tokens in deliver(rows, wanted, rank)]
    log = RolloutLog(directory, rank, world_size)
    with mock.patch.object(rollout_files, "write_manifest", _slowly(rollout_files.write_manifest)):
        log.write(0, rows)
    logged = log.read(0)  # at once, on any rank
    log.load(0, logged)
    replayed = [tokens_of(tokens) for tokens in deliver(logged, wanted, rank)]
    held = [[0, 1, 2], [3, 4, 5]] if world_size == 2 else [list(range(6))]
    give_back(rows, held, [np.full(LENGTHS[i], i + 0.25, np.float32) for i in held[rank]], rank)
    return {
        "rows": [(row.group, row.reward, row.rank, row.num_tokens) for row in rows],
        "here": here,
        "delivered": delivered == replayed and delivered,
        "given": {row.group: row.here.old_logprobs.tolist() for row in rows if row.here is not None},
        "has": all(row.has_old_logprobs for row in rows),
        "texts": [row.here.completion for row in bring(logged[1:4], lambda ids: f"{len(ids)} tokens")],
        "nothing": deliver(rows, [[] for _ in range(world_size)], rank),
    }


@pytest.mark.parametrize("world_size", [1, 2])
def test_each_rank_gets_what_it_trains_on(world_size, tmp_path):
    if world_size == 1:
        ranks = [on_a_rank(tmp_path / "log", 0, 1)]
    else:
        ranks = on_ranks(functools.partial(on_a_rank, tmp_path / "log"), 2, tmp_path)
    wanted = [[5, 0, 1], [2, 4, 3, 0]]
    for rank, found in enumerate(ranks):
        assert found["rows"] == [(g, float(g), g % world_size, g + LENGTHS[g]) for g in range(len(LENGTHS))]
        assert found["here"] == list(range(rank, len(LENGTHS), world_size))
        assert found["delivered"] == [tokens_of(a_rollout(group)) for group in wanted[rank]]
        assert found["given"] == {g: [g + 0.25] * LENGTHS[g] for g in found["here"]} and found["has"]
        assert found["texts"] == ["9 tokens", "1 tokens", "4 tokens"] and found["nothing"] == []


def test_a_row_travels_without_its_tokens():
    import pickle

    row = a_row("text", num_tokens=10**6)
    assert len(pickle.dumps(row)) < 1000 and pickle.loads(pickle.dumps(row)).here is None


def test_tokens_come_in_time_and_not_all_at_once():
    """Two ranks with four micro-batches each; the larger of the two decides when a window is full."""
    rows = [Row.of(a_rollout(group)) for group in range(6)]
    assert [row.num_tokens for row in rows] == [3, 10, 3, 7, 11, 7]
    shares = [[[0], [1], [2], []], [[3], [4], [5], []]]
    assert list(windows(shares, rows, most=100)) == [range(4)]
    assert list(windows(shares, rows, most=18)) == [range(2), range(2, 4)]
    assert list(windows(shares, rows, most=1)) == [range(1), range(1, 2), range(2, 3), range(3, 4)]
    assert list(windows([[[]]], rows)) == [range(1)]
