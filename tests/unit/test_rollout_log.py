"""The log of rollouts: what comes back from disk, on how many ranks, and what an older version wrote."""

import errno
from dataclasses import fields, replace

import numpy as np
import pytest

from stages.contract import rollout_files
from stages.contract.records import write_record_file
from stages.contract.rollout_files import BATCH_TOKENS, COLUMNS, MANIFEST, Shard, read_plain
from stages.training.rollout_log import RolloutLog
from stages.training.rollouts import Rollout, Row, bring
from tests.support.rollouts import a_prompt, answered

RNG = np.random.default_rng(0)


def a_rollout(group: int, length: int = 5, **more) -> Rollout:
    """A rollout with random tokens; the prompts of a group are the same."""
    return Rollout(
        a_prompt(id=f"p{group}"),
        group,
        np.full(2 + group, group),
        RNG.integers(0, 2**31 - 1, length),
        -RNG.exponential(0.3, length),
        is_truncated=length > 5,
        completion=answered("28"),
        reward=0.1 * group,
        reward_parts={"accuracy": 0.1 * group, "format": 1.0},
        index=10 + group,
        step=3,
        **more,
    )


def rows_of(*rollouts: Rollout) -> list[Row]:
    return [Row.of(rollout) for rollout in rollouts]


def assert_same_tokens(row: Row, rollout: Rollout) -> None:
    assert row.here is not None
    for name, dtype in COLUMNS.items():
        mine, expected = getattr(row.here, name), getattr(rollout, name)
        if expected is None:
            assert mine is None
        else:
            assert mine.dtype == dtype and mine.tobytes() == np.asarray(expected, dtype).tobytes()
    assert row.here.prompt == rollout.prompt


def test_everything_comes_back_with_its_bits(tmp_path):
    rollouts = [
        a_rollout(0),
        a_rollout(0, 9, version=np.arange(9, dtype=np.int32)),
        a_rollout(1, 1, old_logprobs=[-0.1]),
        a_rollout(0, 7, grader_error="math: killed"),
    ]
    rows = rows_of(*rollouts)
    rows[1].use, rows[1].advantage, rows[3].use = "drop", -0.3, "keep"
    log = RolloutLog(tmp_path)
    log.write(3, rows)
    again = log.read(3)
    assert again == rows and all(row.here is None for row in again)
    log.load(3, again)
    for row, rollout in zip(again, rollouts, strict=True):
        assert_same_tokens(row, rollout)
    assert log.rows(3) == rows and log.read(4) is None and log.rows(4) == []
    assert log.has(3) and not log.has(4)
    assert [(row.oldest_version, row.mean_version) for row in again[:2]] == [(None, None), (0, 4.0)]


def test_a_few_are_loaded_and_the_others_are_not(tmp_path):
    rollouts = [a_rollout(group) for group in range(6)]
    log = RolloutLog(tmp_path)
    log.write(0, rows_of(*rollouts))
    rows = log.read(0)
    log.load(0, rows[2:4])
    assert [row.here is not None for row in rows] == [False, False, True, True, False, False]
    assert_same_tokens(rows[2], rollouts[2])


def test_texts_are_made_of_tokens_where_they_are_asked_for(tmp_path):
    log = RolloutLog(tmp_path)
    log.write(0, rows_of(a_rollout(0), a_rollout(1)))
    rows = log.read(0)
    log.load(0, rows)
    asked = []
    shown = bring(rows[1:], lambda ids: asked.append(ids.tolist()) or "text")
    assert [row.here.completion for row in shown] == ["text"] and asked == [rows[1].here.completion_ids.tolist()]
    drawn = rows_of(a_rollout(0))
    assert bring(drawn, lambda ids: "other")[0].here.completion == answered("28")


def test_many_tokens_are_written_in_batches(tmp_path):
    rollouts = [a_rollout(group // 3, BATCH_TOKENS // 2 - 1) for group in range(7)]
    log = RolloutLog(tmp_path)
    log.write(0, rows_of(*rollouts))
    assert len(Shard(log.path(0) / "rank_0.arrow").starts) == 1 + 3  # the third batch has the last one alone
    rows = log.read(0)
    log.load(0, rows)
    for row, rollout in zip(rows, rollouts, strict=True):
        assert_same_tokens(row, rollout)


def written_by(directory, world_size: int, rollouts: list[Rollout]) -> list[Row]:
    """A log as so many ranks write it, each its own shard; rank 0 has the last word."""
    rows = [replace(Row.of(rollout), rank=place % world_size) for place, rollout in enumerate(rollouts)]
    entries = {}
    for rank in range(world_size):
        mine = [row for row in rows if row.rank == rank]
        for place, row in enumerate(mine):
            row.shard, row.place = rank, place
        name = rollout_files.shard_name(rank)
        shard = [{"prompt": vars(row.here.prompt), **{key: getattr(row.here, key) for key in COLUMNS}} for row in mine]
        entries[name] = rollout_files.write_shard(rollout_files.step_path(directory, 0) / name, shard)
    names = [field.name for field in fields(Row) if field.name not in ("here", "rank")]
    plain = [{name: getattr(row, name) for name in names} for row in rows]
    rollout_files.write_manifest(rollout_files.step_path(directory, 0), entries, plain)
    return rows


@pytest.mark.parametrize("written, read", [(1, 2), (2, 1), (4, 3), (3, 5)])
def test_another_number_of_ranks_goes_on_with_it(written, read, tmp_path):
    """Each rollout is at home on one rank, whoever wrote it."""
    rollouts = [a_rollout(group) for group in range(9)]
    written_by(tmp_path, written, rollouts)
    ranks = []
    for rank in range(read):
        log = RolloutLog(tmp_path, rank, read)
        ranks.append(log.read(0))
        log.load(0, ranks[-1])
    for place, rollout in enumerate(rollouts):
        here = [rows[place] for rows in ranks if rows[place].here is not None]
        assert len(here) == 1 and {rows[place].rank for rows in ranks} == {place % written % read}
        assert_same_tokens(here[0], rollout)


def test_each_rank_looks_at_its_own_shards(tmp_path):
    written_by(tmp_path, 2, [a_rollout(0), a_rollout(1)])
    (rollout_files.step_path(tmp_path, 0) / "rank_1.arrow").write_bytes(b"spoiled")
    lines = []
    assert RolloutLog(tmp_path, 0, 2, lines.append).read(0) is not None and not lines
    assert RolloutLog(tmp_path, 1, 2, lines.append).read(0) is None and len(lines) == 1
    assert RolloutLog(tmp_path, 0, 1, lines.append).read(0) is None and len(lines) == 2


def test_what_was_ended_before_its_manifest_does_not_count(tmp_path):
    """An attempt on three ranks was killed; the next one, on one, leaves nothing of it."""
    log = RolloutLog(tmp_path)
    written_by(tmp_path, 3, [a_rollout(group) for group in range(3)])
    (log.path(0) / MANIFEST).unlink()
    lines = []
    assert RolloutLog(tmp_path, say=lines.append).read(0) is None and not lines
    log.write(0, rows_of(a_rollout(5)))
    assert sorted(path.name for path in log.path(0).iterdir()) == [MANIFEST, "rank_0.arrow"]
    assert [row.index for row in log.read(0)] == [15]


def older_row(rollout: Rollout, **more) -> dict:
    """A line of step_000000.jsonl, as versions before 0.3 wrote it."""
    row = {name: value for name, value in vars(rollout).items() if name not in ("measures", "version")}
    arrays = {name: None if row[name] is None else row[name].tolist() for name in COLUMNS if name in row}
    return {**row, "prompt": vars(rollout.prompt), **arrays, "advantage": 0.0, "use": "train", **more}


def test_what_an_older_version_wrote_is_gone_on_with(tmp_path):
    rollouts = [a_rollout(0), a_rollout(1, 8, old_logprobs=[-0.5] * 8), a_rollout(2)]
    uses = [{}, {"advantage": -0.25}, {"use": "keep"}]
    write_record_file(tmp_path / "step_000000.jsonl", [older_row(r, **use) for r, use in zip(rollouts, uses)])
    ranks = []
    for rank in range(2):
        log = RolloutLog(tmp_path, rank, 2)
        ranks.append(log.read(0))
        log.load(0, ranks[-1])
    assert ranks[0] == ranks[1] and [row.rank for row in ranks[0]] == [0, 1, 0]
    assert [(row.use, row.advantage) for row in ranks[0]] == [("train", 0.0), ("train", -0.25), ("keep", 0.0)]
    expected = [
        replace(Row.of(r), rank=row.rank, use=row.use, advantage=row.advantage) for r, row in zip(rollouts, ranks[0])
    ]
    assert ranks[0] == expected
    for place, rollout in enumerate(rollouts):
        assert_same_tokens(ranks[place % 2][place], rollout)
    plain = list(read_plain(tmp_path, 0)[1])
    assert plain[1]["old_logprobs"] == [-0.5] * 8 and plain[1]["completion"] == answered("28")
    RolloutLog(tmp_path).write(0, RolloutLog(tmp_path).read(0))  # logged anew
    assert [path.name for path in tmp_path.iterdir()] == ["step_000000"]


def test_damage_to_what_an_older_version_wrote_is_told(tmp_path):
    path = tmp_path / "step_000000.jsonl"
    write_record_file(path, [older_row(a_rollout(0))])
    path.write_bytes(path.read_bytes()[:-9])
    lines = []
    assert RolloutLog(tmp_path, say=lines.append).read(0) is None
    assert lines == [f"WARNING: {path} is damaged: its rollouts are not used"]


def test_rollouts_of_both_kinds_are_dropped(tmp_path):
    log = RolloutLog(tmp_path)
    for step in (1, 3, 5):
        log.write(step, rows_of(a_rollout(step)))
    for step in (0, 2, 6):
        write_record_file(rollout_files.older_path(tmp_path, step), [older_row(a_rollout(step))])
    log.drop_before(2)
    assert rollout_files.logged_steps(tmp_path) == [2, 3, 5, 6]
    log.drop_after(3)
    assert rollout_files.logged_steps(tmp_path) == [2, 3]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step_000002.jsonl", "step_000003"]


def test_chosen_rollouts_as_plain_data(tmp_path):
    rollouts = [a_rollout(0), a_rollout(1), a_rollout(1, 3)]
    RolloutLog(tmp_path).write(4, rows_of(*rollouts))
    every, chosen = read_plain(tmp_path, 4, lambda rows: [row for row in rows if row["group"] == 1])
    chosen = list(chosen)
    assert len(every) == 3 and [row["num_completion_tokens"] for row in chosen] == [5, 3]
    assert chosen[1]["completion_ids"] == rollouts[2].completion_ids.tolist()
    assert chosen[1]["prompt"]["id"] == "p1" and chosen[1]["old_logprobs"] is None


def test_plain_data_is_made_of_one_rollout_at_a_time(tmp_path, monkeypatch):
    RolloutLog(tmp_path).write(0, rows_of(a_rollout(0), a_rollout(1), a_rollout(2)))
    places, row = [], Shard.row
    monkeypatch.setattr(Shard, "row", lambda shard, place: places.append(place) or row(shard, place))
    _, chosen = read_plain(tmp_path, 0)
    assert places == [] and next(chosen)["group"] == 0 and places == [0]


def test_a_full_disk_leaves_nothing_half_written(tmp_path, monkeypatch):
    def full(self, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(rollout_files._Hashed, "write", full)
    with pytest.raises(OSError) as raised:
        RolloutLog(tmp_path).write(0, rows_of(a_rollout(0)))
    assert raised.value.errno == errno.ENOSPC  # by which the stage knows what to say
    assert list((tmp_path / "step_000000").iterdir()) == []
