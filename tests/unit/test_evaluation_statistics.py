"""Statistics of an evaluation on numbers worked by hand, and beside scipy's."""

import itertools
import math
import random

import pytest

from stages.kinds.evaluation.comparison import compare
from stages.kinds.evaluation.statistics import consensus, mean_with_interval, paired_difference, pass_at_k, sign_flip_p


@pytest.mark.parametrize(
    "n, c, k, expected",
    [
        (4, 1, 2, 1 / 2),  # 3 of the 6 pairs hold the right sample
        (5, 2, 3, 9 / 10),  # 1 of the 10 triples holds neither
        (10, 3, 1, 3 / 10),  # pass@1 is the mean
        (4, 0, 4, 0),
        (4, 4, 1, 1),
        (16, 1, 16, 1),
        (16, 15, 2, 1),
    ],
)
def test_pass_at_k(n, c, k, expected):
    assert pass_at_k(n, c, k) == pytest.approx(expected, abs=1e-12)


def test_pass_at_k_is_the_share_of_the_subsets_that_hold_a_right_sample():
    right = [True, False, False, True, False, False, False]
    for k in range(1, 8):
        subsets = list(itertools.combinations(right, k))
        assert pass_at_k(7, 2, k) == pytest.approx(sum(map(any, subsets)) / len(subsets))


@pytest.mark.parametrize("n, c, k", [(4, 1, 5), (4, 1, 0)])
def test_pass_at_k_of_more_samples_than_there_are(n, c, k):
    with pytest.raises(ValueError, match=f"pass@{k} of 4 samples"):
        pass_at_k(n, c, k)


@pytest.mark.parametrize(
    "votes, scores, expected",
    [
        (["28", "28", "27", "26"], [1, 1, 0, 0], 1.0),
        (["27", "27", "28", "26"], [0, 0, 1, 0], 0.0),
        (["27", "28", "28", "27"], [0, 1, 1, 0], 0.5),  # a tie of two: one of them at random
        (["27", "28", "26", None], [0, 1, 0, 0], 1 / 3),  # a tie of three
        ([None, None, None, "28"], [0, 0, 0, 1], 1.0),  # who does not answer does not vote
        ([None, None], [0, 0], 0.0),
    ],
)
def test_consensus(votes, scores, expected):
    assert consensus(votes, scores) == pytest.approx(expected)


def test_consensus_does_not_depend_on_the_order():
    votes, scores = ["a", "b", "b", "a", None], [1, 0, 0, 1, 0]
    assert {consensus(*zip(*order)) for order in itertools.permutations(list(zip(votes, scores)))} == {0.5}


def test_the_interval_of_two_problems_is_that_of_their_three_resamples():
    """0 and 1: resampled means 0, 1/2, 1 with probabilities 1/4, 1/2, 1/4; the 2.5% and 97.5% quantiles are 0 and 1."""
    assert mean_with_interval([0.0, 1.0]) == (0.5, 0.0, 1.0)


def test_the_interval_is_as_wide_as_the_normal_one_for_many_problems():
    values = [random.Random(i).random() for i in range(400)]
    mean, low, high = mean_with_interval(values)
    error = math.sqrt(sum((value - mean) ** 2 for value in values) / 400 / 400)
    assert mean == pytest.approx(sum(values) / 400)
    assert high - low == pytest.approx(2 * 1.96 * error, rel=0.04) and low < mean < high
    assert mean_with_interval(values) == (mean, low, high) != mean_with_interval(values, seed=1)


def test_samples_of_one_problem_are_not_independent():
    """10 problems with 16 equal samples each: the interval is that of 10 numbers, not of 160."""
    means = [1.0] * 5 + [0.0] * 5
    _, low, high = mean_with_interval(means)
    assert (low, high) == (0.2, 0.8)


def test_the_interval_where_nothing_differs():
    assert mean_with_interval([1.0] * 30) == (1.0, 1.0, 1.0) and mean_with_interval([0.25]) == (0.25, 0.25, 0.25)


def test_the_paired_test_by_hand():
    """Differences 1, 1, 1, 1: 2 of the 16 sign flips are as extreme. 3, 1, -1: the sums are +-5, +-3, +-3, +-1, so 6 of
    8 reach |3|.
    """
    assert paired_difference([0, 0, 0, 0], [1, 1, 1, 1]) == {"difference": 1.0, "low": 1.0, "high": 1.0, "p": 2 / 16}
    assert sign_flip_p([3, 1, -1]) == 6 / 8
    assert paired_difference([0.5, 1], [0.5, 1]) == {"difference": 0.0, "low": 0.0, "high": 0.0, "p": 1.0}


def test_pairing_sees_what_two_intervals_cannot():
    """Problems differ a lot, the models little but always: the intervals overlap, the paired test is sure."""
    hardness = [i / 100 for i in range(96)]
    first, second = hardness, [value + 0.02 + 0.02 * (i % 2) for i, value in enumerate(hardness)]
    assert mean_with_interval(first)[2] > mean_with_interval(second)[1]
    found = paired_difference(first, second)
    assert (
        found["difference"] == pytest.approx(0.03) and 0.02 < found["low"] < found["high"] < 0.04 and found["p"] < 0.001
    )


def test_the_paired_test_is_as_sure_as_it_says():
    """Under the null hypothesis p < 0.05 comes 5% of the time."""
    rng, hits = random.Random(0), 0
    for _ in range(300):
        hits += sign_flip_p([rng.gauss(0, 1) for _ in range(12)]) <= 0.05
    assert 5 <= hits <= 28  # 15 expected, standard deviation 3.8


def test_statistics_agree_with_scipy():
    import numpy as np
    import scipy.stats as scipy_stats

    rng = np.random.default_rng(0)
    differences = rng.normal(0.1, 1, size=60)
    theirs = scipy_stats.permutation_test(
        (differences,), np.mean, permutation_type="samples", n_resamples=9999, rng=np.random.default_rng(1)
    )
    assert sign_flip_p(list(differences)) == pytest.approx(theirs.pvalue, abs=0.02)
    interval = scipy_stats.bootstrap(
        (differences,), np.mean, n_resamples=9999, method="percentile", rng=np.random.default_rng(1)
    ).confidence_interval
    assert mean_with_interval(list(differences))[1:] == pytest.approx((interval.low, interval.high), abs=0.02)


def test_every_pair_of_models_is_compared_on_every_set():
    rows = compare({"aime24": {"a": [0, 0, 1], "b": [1, 1, 1], "c": [0, 0, 1]}, "math500": {"a": [1.0], "b": [0.0]}})
    assert [(row["set"], row["model"], row["against"], row["difference"]) for row in rows] == [
        ("aime24", "b", "a", pytest.approx(2 / 3, abs=1e-6)),
        ("aime24", "c", "a", 0),
        ("aime24", "c", "b", pytest.approx(-2 / 3, abs=1e-6)),
        ("math500", "b", "a", -1),
    ]
    assert rows[0]["p"] == 0.5 and rows[0]["n"] == 3
