"""Statistics of k samples a problem: means with intervals over problems, pass@k, cons@k, paired tests.

All are pure functions, with a seed where they draw.

Samples of one problem are not independent, so problems are what is resampled: with k samples of each, the mean over
samples of a resampled set of problems is the mean of their problem means (a bootstrap clustered by problem, Efron &
Tibshirani 1993, sec. 8.3).
"""

import math
import statistics
from collections.abc import Sequence

NUM_RESAMPLES = 10_000
CONFIDENCE = 0.95


def pass_at_k(num_samples: int, num_correct: int, k: int) -> float:
    """Unbiased estimate of P(at least one of k samples is right): 1 - C(n-c, k) / C(n, k). Chen et al. 2021, eq. 1.

    >>> pass_at_k(4, 1, 2)  # of the 6 pairs of 4 samples, 3 hold the right one
    0.5
    """
    if not 0 < k <= num_samples:
        raise ValueError(f"pass@{k} of {num_samples} samples: k must lie between 1 and the number of samples")
    return 1.0 - math.comb(num_samples - num_correct, k) / math.comb(num_samples, k)


def consensus(votes: Sequence[str | None], scores: Sequence[float]) -> float:
    """cons@k of one problem: the score of the most frequent answer.

    `votes` are the answers in a form in which equivalent answers are equal. Completions without an answer (None) do not
    vote; where none votes the score is 0. A tie counts as one of the tied answers drawn at random: the mean of their
    scores. The score of an answer is the mean score of the samples that gave it (one value, if the verifier is
    consistent).

    >>> consensus(["46", "46", "12", None], [1, 1, 0, 0]), consensus(["46", "12"], [1, 0])
    (1.0, 0.5)
    """
    of_answer: dict[str, list[float]] = {}
    for vote, score in zip(votes, scores, strict=True):
        if vote is not None:
            of_answer.setdefault(vote, []).append(score)
    if not of_answer:
        return 0.0
    most = max(map(len, of_answer.values()))
    return statistics.fmean(statistics.fmean(found) for found in of_answer.values() if len(found) == most)


def mean_with_interval(means: Sequence[float], seed: int = 0) -> tuple[float, float, float]:
    """The mean of one number a problem, with the 95% percentile interval of the bootstrap: (mean, low, high).

    Where all problems agree, or there is only one, the interval is the mean itself: a resample cannot differ. Such an
    interval says nothing about problems that were not asked.
    """
    mean = statistics.fmean(means)
    if len(set(means)) == 1:
        return mean, mean, mean
    import numpy as np

    values, rng, found = np.asarray(means, float), np.random.default_rng(seed), []
    for count in _batches(len(values)):
        found.append(values[rng.integers(len(values), size=(count, len(values)), dtype=np.int32)].mean(1))
    low, high = np.quantile(np.concatenate(found), [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return mean, float(low), float(high)


def paired_difference(first: Sequence[float], second: Sequence[float], seed: int = 0) -> dict[str, float]:
    """The second minus the first on the same problems, in order: {"difference", "low", "high", "p"}.

    The interval is the bootstrap's over problems. p is the two-sided permutation test of "on each problem the two
    models could be swapped": the signs of the differences are flipped, all 2^n ways where n <= 13, else 10,000 random
    ones, and the observed one is counted among them (Phipson & Smyth 2010). Problems without a difference cannot tell
    the models apart and drop out of p.
    """
    differences = [b - a for a, b in zip(first, second, strict=True)]
    mean, low, high = mean_with_interval(differences, seed)
    return {
        "difference": mean,
        "low": low,
        "high": high,
        "p": sign_flip_p([value for value in differences if value], seed),
    }


def sign_flip_p(differences: Sequence[float], seed: int = 0) -> float:
    """The share of the sign flips whose sum is at least as far from 0 as the observed one."""
    if not differences:
        return 1.0
    import numpy as np

    values = np.asarray(differences, float)
    observed = abs(values.sum()) * (1 - 1e-12) - 1e-12  # sums of the same numbers in another order are equal
    if len(values) <= 13:
        flips = 1 - 2 * ((np.arange(2 ** len(values))[:, None] >> np.arange(len(values))) & 1)
        return float((abs(flips @ values) >= observed).mean())
    rng, extreme = np.random.default_rng(seed), 1
    for count in _batches(len(values)):
        flips = 1 - 2 * rng.integers(2, size=(count, len(values)), dtype=np.int8)
        extreme += int((abs(flips @ values) >= observed).sum())
    return extreme / (NUM_RESAMPLES + 1)


def _batches(width: int, most: int = 2**22) -> list[int]:
    """Sizes of batches of resamples; a batch of rows of `width` numbers fits in memory."""
    size = min(NUM_RESAMPLES, max(1, most // width))
    return [min(size, NUM_RESAMPLES - start) for start in range(0, NUM_RESAMPLES, size)]
