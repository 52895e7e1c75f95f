"""Sharing batches out: worked examples, and invariants on random batches."""

import random

import pytest
import torch

from stages.modeling.batching import group_micro_batches_of_ranks, lay_out, lay_out_groups, micro_batches, pad_rows

CPU = torch.device("cpu")


def group_micro_batches(
    prompts: list[list[int]], completions: list[list[int]], world_size: int, rank: int, token_budget: int
) -> list[list[int]]:
    """The micro-batches of one rank, from token ids."""
    lengths = [[len(row) for row in rows] for rows in (prompts, completions)]
    return group_micro_batches_of_ranks([tuple(prompt) for prompt in prompts], *lengths, world_size, token_budget)[rank]


def test_snake_dealing():
    """Longest first, 0 1 | 1 0 | 0 1: each rank gets 18 and 15 of 33 tokens, each cut from short to long."""
    lengths = [8, 7, 6, 5, 4, 3]
    assert micro_batches(lengths, 2, 0, token_budget=100) == [[4, 3, 0]]
    assert micro_batches(lengths, 2, 1, token_budget=100) == [[5, 2, 1]]


def test_budget_counts_padding():
    """2 + 2 rows padded to 4 are 12 > 10 tokens; the pair of 2s is 4."""
    assert micro_batches([2, 2, 4], 1, 0, token_budget=10) == [[1, 0], [2]]
    assert micro_batches([2, 2, 4], 1, 0, token_budget=12) == [[1, 0, 2]]


def test_a_sequence_longer_than_the_budget_goes_alone():
    assert micro_batches([50, 1, 60], 1, 0, token_budget=10) == [[1], [0], [2]]


def test_every_rank_makes_as_many_forward_passes():
    assert micro_batches([50], 2, 0, 10) == [[0]]
    assert micro_batches([50], 2, 1, 10) == [[]]
    assert micro_batches([], 2, 0, 10) == micro_batches([], 2, 1, 10) == [[]]


@pytest.mark.parametrize("seed", range(40))
@pytest.mark.parametrize("packed", [False, True])
def test_random_batches(seed, packed):
    rng = random.Random(seed)
    lengths = [rng.randint(1, 60) for _ in range(rng.randint(0, 50))]
    world_size, budget = rng.randint(1, 5), rng.randint(1, 200)
    ranks = [micro_batches(lengths, world_size, rank, budget, packed) for rank in range(world_size)]
    assert sorted(i for rank in ranks for batch in rank for i in batch) == list(range(len(lengths)))
    assert len({len(rank) for rank in ranks}) == 1 and len(ranks[0]) >= 1
    rows = [sum(map(len, rank)) for rank in ranks]
    assert max(rows) - min(rows) <= 1
    for batch in (batch for rank in ranks for batch in rank):
        assert len(batch) <= 1 or (sum if packed else lambda x: len(x) * max(x))([lengths[i] for i in batch]) <= budget
    tokens = [sum(lengths[i] for batch in rank for i in batch) for rank in ranks]
    assert max(tokens) - min(tokens) <= max(
        lengths, default=0
    )  # snake order keeps ranks within one sequence of each other


def test_padding():
    assert pad_rows([[5, 6, 7], [8]], 0, CPU).tolist() == [[5, 6, 7], [8, 0, 0]]
    assert pad_rows([], 3, CPU).tolist() == [[3, 3]]


ROWS, IS_TARGET = [[5, 6, 7], [8, 9]], [[False, False, True], [False, True]]


def test_padded_layout():
    batch = lay_out(ROWS, IS_TARGET, 0, CPU)
    assert batch.input_ids.tolist() == [[5, 6, 7], [8, 9, 0]] and batch.longest == 3
    assert (
        batch.places_N.tolist() == [1, 3] and batch.targets_N.tolist() == [7, 9] and batch.sequence_N.tolist() == [0, 1]
    )
    assert batch.position_ids is None and batch.boundaries is None


def test_packed_layout():
    batch = lay_out(ROWS, IS_TARGET, 0, CPU, packed=True)
    assert batch.input_ids.tolist() == [[5, 6, 7, 8, 9]] and batch.position_ids.tolist() == [[0, 1, 2, 0, 1]]
    assert batch.boundaries.tolist() == [0, 3, 5] and batch.boundaries.dtype == torch.int32 and batch.longest == 3
    assert (
        batch.places_N.tolist() == [1, 3] and batch.targets_N.tolist() == [7, 9] and batch.sequence_N.tolist() == [0, 1]
    )


def test_a_layout_of_nothing_is_a_row_without_targets():
    for packed in (False, True):
        batch = lay_out([], [], 3, CPU, packed)
        assert batch.input_ids.tolist() == [[3, 3]] and len(batch.places_N) == len(batch.sequence_N) == 0


def test_a_packed_budget_counts_tokens_alone():
    """2 + 2 + 4 are 8 tokens without padding."""
    assert micro_batches([2, 2, 4], 1, 0, token_budget=8, packed=True) == [[2, 0, 1]]
    assert micro_batches([2, 2, 4], 1, 0, token_budget=7, packed=True) == [[2, 0], [1]]


def test_packed_rows_are_filled_by_best_fit():
    """Neighbours in length would need three rows of 8 for 2 3 | 5 | 6; best fit pairs 6 + 2 and 5 + 3."""
    assert micro_batches([2, 3, 5, 6], 1, 0, token_budget=8, packed=True) == [[3, 0], [2, 1]]
    assert micro_batches([6, 5, 4, 4, 2, 3], 1, 0, token_budget=8, packed=True) == [
        [0, 4],
        [1, 5],
        [2, 3],
    ]  # 24 tokens in 3 rows of 8
    assert micro_batches([9, 1], 1, 0, token_budget=8, packed=True) == [
        [0],
        [1],
    ]  # one sequence alone may exceed the budget


def test_best_fit_loses_no_sequence_and_is_the_same_on_every_rank():
    import random

    rng = random.Random(3)
    lengths = [rng.randint(1, 100) for _ in range(61)]
    rows = [micro_batches(lengths, 4, rank, 120, packed=True) for rank in range(4)]
    assert (
        sorted(i for rank in rows for row in rank for i in row) == list(range(61))
        and len({len(rank) for rank in rows}) == 1
    )
    assert all(sum(lengths[i] for i in row) <= 120 for rank in rows for row in rank)


def test_groups_stay_together_and_pay_for_their_prompt_once():
    """Two prompts of 2, each with completions of 1 and 2: a group is 2 + 3 = 5 tokens, both are 10."""
    prompts, completions = [[1, 2], [3, 4], [1, 2], [3, 4]], [[5], [8, 9], [6, 7], [8]]
    assert group_micro_batches(prompts, completions, 1, 0, token_budget=10) == [[2, 0, 1, 3]]
    assert group_micro_batches(prompts, completions, 1, 0, token_budget=9) == [[2, 0, 1], [3]]
    assert group_micro_batches(prompts, completions, 1, 0, token_budget=5) == [[2, 0], [1, 3]]
    assert group_micro_batches(prompts, completions, 1, 0, token_budget=1) == [[2], [0], [1], [3]]
    assert group_micro_batches(prompts, completions, 2, 0, token_budget=10) == [[2, 3]]
    assert group_micro_batches(prompts, completions, 2, 1, token_budget=10) == [[0, 1]]
    assert (
        group_micro_batches(prompts[:1], completions[:1], 2, 1, token_budget=10)
        == group_micro_batches([], [], 1, 0, 10)
        == [[]]
    )


@pytest.mark.parametrize("seed", range(20))
def test_random_groups(seed):
    rng = random.Random(seed)
    prompts = [[group] * (1 + group) for group in range(rng.randint(0, 6)) for _ in range(rng.randint(1, 8))]
    rng.shuffle(prompts)
    completions = [[9] * rng.randint(1, 40) for _ in prompts]
    world_size, budget = rng.randint(1, 4), rng.randint(1, 150)
    ranks = [group_micro_batches(prompts, completions, world_size, rank, budget) for rank in range(world_size)]
    assert sorted(i for rank in ranks for batch in rank for i in batch) == list(range(len(prompts)))
    assert len({len(rank) for rank in ranks}) == 1 and len(ranks[0]) >= 1
    for batch in (batch for rank in ranks for batch in rank if batch):
        layout = lay_out_groups([prompts[i] for i in batch], [completions[i] for i in batch], pad_id=0)
        assert len(batch) == 1 or layout.input_ids.shape[1] <= budget
        assert layout.input_ids.shape[1] == sum({prompts[i][0]: len(prompts[i]) for i in batch}.values()) + sum(
            len(completions[i]) for i in batch
        )


def test_layout_of_groups():
    """Prompt 5 6 once for two completions, 7 for one: the first token of each is predicted from its prompt's last
    place.
    """
    batch = lay_out_groups([[5, 6], [5, 6], [7]], [[1], [2, 3], [4]], pad_id=0)
    assert batch.input_ids.tolist() == [[5, 6, 1, 2, 3, 7, 4]] and batch.position_ids.tolist() == [
        [0, 1, 2, 2, 3, 0, 1]
    ]
    assert (
        batch.boundaries.tolist() == [0, 2, 3, 5, 6, 7]
        and batch.prefixes.tolist() == [-1, 0, 0, -1, 3]
        and batch.longest == 4
    )
    assert (
        batch.places_N.tolist() == [1, 1, 3, 5]
        and batch.targets_N.tolist() == [1, 2, 3, 4]
        and batch.sequence_N.tolist() == [0, 1, 1, 2]
    )
    assert lay_out_groups([], [], pad_id=3).input_ids.tolist() == [[3, 3]]
