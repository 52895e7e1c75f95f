"""What the reward models minimise and which rows they see, worked by hand."""

import math
from types import SimpleNamespace

import pytest
import torch

from stages.config import RewardModelsConfig
from stages.kinds.reward_models.data import Labelled, Pair
from stages.kinds.reward_models.objectives import HelpfulObjective, SafetyObjective, correlation, fraction
from stages.kinds.reward_models.stage import one_epoch

WORKER = SimpleNamespace(seed=0, stage="reward_models")
PAIRS = [Pair([1, n], [2, n, n], is_holdout=n == 2) for n in range(5)]
LABELS = [Labelled([n], is_safe=n % 3 == 0, is_holdout=n == 4) for n in range(9)]


def test_pairs_are_rows_side_by_side_without_those_held_out():
    objective = HelpfulObjective(WORKER, RewardModelsConfig(batch_size=4), PAIRS)
    assert objective.rows == [[1, 0], [2, 0, 0], [1, 1], [2, 1, 1], [1, 3], [2, 3, 3], [1, 4], [2, 4, 4]]
    assert sorted(objective.batch_at(0)) == sorted(objective.batch_at(1)) == [0, 1, 2, 3]
    assert objective.batch_at(1) == HelpfulObjective(WORKER, objective.config, PAIRS).batch_at(1)


def test_bradley_terry():
    """Rewards 2 and 1 of one pair, 0 and 0 of another, in a batch of four: (log(1 + 1/e) + log 2 + l2 x 5 / 2) / 4."""
    objective = HelpfulObjective(WORKER, RewardModelsConfig(reward_l2=0.1), PAIRS)
    loss = objective.loss_of(torch.tensor([2.0, 1.0, 0.0, 0.0]), [0, 1], 4)
    assert loss.item() == pytest.approx((math.log(1 + math.exp(-1)) + math.log(2) + 0.1 * 5 / 2) / 4)


def test_a_batch_has_as_many_safe_as_unsafe_labels():
    objective = SafetyObjective(WORKER, RewardModelsConfig(batch_size=4), LABELS)
    assert objective.rows == [[0], [1], [2], [3], [5], [6], [7], [8]]
    for step in range(4):
        assert [objective.trained[i].is_safe for i in objective.batch_at(step)] == [True, True, False, False]


def test_cross_entropy():
    """A reward of 0 for a safe one, 1 for an unsafe one, in a batch of two: (log 2 + log(1 + e)) / 2."""
    objective = SafetyObjective(WORKER, RewardModelsConfig(), LABELS)
    loss = objective.loss_of(torch.tensor([0.0, 1.0]), [0, 1], 2)
    assert loss.item() == pytest.approx((math.log(2) + math.log(1 + math.e)) / 2)


def test_one_epoch_sees_each_row_that_is_not_held_out():
    assert one_epoch(PAIRS, 4) == 1 and one_epoch(PAIRS, 3) == 2 and one_epoch(LABELS, 4) == 2


def test_shares_and_correlations_of_nothing():
    assert math.isnan(fraction(torch.tensor([], dtype=torch.bool))) and fraction(torch.tensor([True, False])) == 0.5
    assert correlation([1.0, 2.0], [3.0, 5.0]) == pytest.approx(1) and correlation([1.0, 2.0], [3.0, 3.0]) == 0
