"""Codeforces rating of a model from the standings of real contests, by maximum likelihood.

Codeforces' rating is Elo's for many players (Mirzayanov 2015, codeforces.com/blog/entry/20762): a player of rating r
beats one of rating r_i with probability P_i(r) = 1 / (1 + 10^((r_i - r) / 400)). With w_i = 1 where the model did
better than human i in their contest, 1/2 for as well, 0 for worse, the log-likelihood of r is

    L(r) = sum_i  w_i log P_i(r) + (1 - w_i) log(1 - P_i(r)),      L'(r) = 0  <=>  sum_i P_i(r) = sum_i w_i :

the rating whose expected place among the humans is the place that was reached (CodeElo, Quan et al. 2025, arXiv
2501.01257, solves the same equation contest by contest). L is concave, so the root is the maximum; bisection finds it.

A model has no clock: it is credited with the full points of the problems it solves, and so is every human, whatever the
time and the failed attempts; equal sums are draws. The j-th sample of every problem of a contest is one participation.
The interval is a bootstrap over contests, because thousands of comparisons in one contest rest on the same few
programs.
"""

import bisect
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

LEAST, MOST, GRID = -1000.0, 5000.0, 5.0


@dataclass(frozen=True)
class Human:
    """A participant of a contest: rating before it, and which problems they solved."""

    rating: float
    solved: frozenset[str]


@dataclass(frozen=True)
class Contest:
    """A contest: the points of each problem (1 where the number of solved problems counts), and who took part."""

    id: str
    points: dict[str, float]
    humans: tuple[Human, ...]


@dataclass(frozen=True)
class Outcome:
    """What one model reached in one contest."""

    ratings: tuple[float, ...]  # of the humans, sorted
    wins: float  # against how many of them the model won, draws counted half, averaged over participations


def outcome(contest: Contest, attempts: Sequence[dict[str, bool]]) -> Outcome:
    """Ranks the participations of a model among the humans; `attempts` says for each one which problems it solved."""
    scores = sorted(sum(contest.points[problem] for problem in human.solved) for human in contest.humans)
    wins = []
    for attempt in attempts:
        own = sum(contest.points[problem] for problem, is_solved in attempt.items() if is_solved)
        below, upto = bisect.bisect_left(scores, own - 1e-9), bisect.bisect_right(scores, own + 1e-9)
        wins.append(below + (upto - below) / 2)
    return Outcome(tuple(sorted(human.rating for human in contest.humans)), statistics.fmean(wins))


def rating(outcomes: Sequence[Outcome]) -> float:
    """The rating of maximum likelihood over all contests.

    A model that beats everyone, or loses to everyone, has none: half a game is then taken away or given.

    Raises:
        ValueError: No human took part in these contests.
    """
    field = [value for one in outcomes for value in one.ratings]
    if not field:
        raise ValueError("no human took part in these contests: there is nothing to compare with")
    wins = min(max(sum(one.wins for one in outcomes), 0.5), len(field) - 0.5)
    low, high = LEAST, MOST
    while high - low > 1e-3:
        middle = (low + high) / 2
        low, high = (middle, high) if expected_wins(field, [middle])[0] < wins else (low, middle)
    return (low + high) / 2


def expected_wins(field: Sequence[float], candidates: "Sequence[float] | np.ndarray") -> "np.ndarray":
    """The expected wins sum_i P_i(r) over a field of humans, for each candidate rating r."""
    import numpy as np

    values, counts = np.unique(np.asarray(field, float), return_counts=True)  # many humans share a rating
    return (1 / (1 + 10 ** ((values - np.asarray(candidates, float)[:, None]) / 400))) @ counts


def rating_with_interval(
    outcomes: Sequence[Outcome], seed: int = 0, num_resamples: int = 1000
) -> tuple[float, float, float]:
    """The rating with the 95% percentile interval of a bootstrap over contests: (rating, low, high).

    One contest has no interval: low and high are then the rating.
    """
    best = rating(outcomes)
    if len(outcomes) < 2:
        return best, best, best
    import numpy as np

    # Between the points of the grid the expected wins are a straight line to within 0.01 rating points.
    grid = np.arange(LEAST, MOST + GRID, GRID)
    expected = np.stack([expected_wins(one.ratings, grid) for one in outcomes])
    drawn = np.random.default_rng(seed).multinomial(
        len(outcomes), [1 / len(outcomes)] * len(outcomes), size=num_resamples
    )
    games = drawn @ np.array([len(one.ratings) for one in outcomes])
    wins = np.clip(drawn @ np.array([one.wins for one in outcomes]), 0.5, games - 0.5)
    found = [np.interp(number, curve, grid) for number, curve in zip(wins, drawn @ expected)]
    low, high = np.quantile(found, [0.025, 0.975])
    return best, float(low), float(high)


def percentile(value: float, outcomes: Sequence[Outcome]) -> float:
    """The share of the humans in these contests whose rating is lower; equal ratings count half."""
    field = sorted(rating_ for one in outcomes for rating_ in one.ratings)
    below, upto = bisect.bisect_left(field, value), bisect.bisect_right(field, value)
    return (below + (upto - below) / 2) / len(field)
