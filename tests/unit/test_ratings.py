"""Codeforces ratings on made-up contests with known answers."""

import math
import random

import pytest

from stages.kinds.evaluation.ratings import Contest, Human, Outcome, outcome, percentile, rating, rating_with_interval


def field(*ratings: float) -> tuple[float, ...]:
    return tuple(sorted(ratings))


@pytest.mark.parametrize(
    "wins, expected",
    [
        (50, 1500),  # as good as a field of equals
        (100 / 11 * 10, 1900),  # odds of 10 to 1 are 400 points
        (100 / 11, 1100),
        (75, 1500 + 400 * math.log10(3)),
    ],
)
def test_a_field_of_equals_has_a_closed_form(wins, expected):
    assert rating([Outcome((1500.0,) * 100, wins)]) == pytest.approx(expected, abs=0.01)


def test_two_players_of_different_strength():
    """r between 1300 and 1700 with one win in two games: 1500 by symmetry. 1.5 wins: the root of the expected place,
    checked by inserting it.
    """
    assert rating([Outcome(field(1300, 1700), 1)]) == pytest.approx(1500, abs=0.01)
    found = rating([Outcome(field(1300, 1700), 1.5)])
    assert sum(1 / (1 + 10 ** ((other - found) / 400)) for other in (1300, 1700)) == pytest.approx(1.5, abs=1e-4)


def test_the_root_is_the_maximum_of_the_likelihood():
    rng = random.Random(0)
    humans = [rng.gauss(1500, 300) for _ in range(40)]
    won = [rng.random() < 0.6 for _ in humans]

    def likelihood(r):
        chances = [1 / (1 + 10 ** ((other - r) / 400)) for other in humans]
        return sum(math.log(p if w else 1 - p) for p, w in zip(chances, won))

    found = rating([Outcome(field(*humans), sum(won))])
    assert likelihood(found) > max(likelihood(found + step) for step in (-5, -1, 1, 5))


def test_contests_count_together():
    """Half of a strong field and half of a weak one: between the two, not the mean of two separate answers."""
    found = rating([Outcome((2000.0,) * 10, 5), Outcome((1200.0,) * 10, 5)])
    assert found == pytest.approx(1600, abs=0.01)


def test_who_beats_everyone_has_no_maximum_and_is_given_half_a_loss():
    assert rating([Outcome((1500.0,) * 10, 10)]) == pytest.approx(1500 + 400 * math.log10(9.5 / 0.5), abs=0.01)
    assert rating([Outcome((1500.0,) * 10, 0)]) == pytest.approx(1500 - 400 * math.log10(9.5 / 0.5), abs=0.01)


def test_an_empty_field_is_an_error():
    with pytest.raises(ValueError, match="no human took part"):
        rating([Outcome((), 0)])


CONTEST = Contest(
    "1",
    {"A": 500, "B": 1000, "C": 1750},
    (
        Human(1200, frozenset("A")),
        Human(1500, frozenset("AB")),
        Human(1900, frozenset("ABC")),
        Human(1400, frozenset()),
        Human(1600, frozenset("C")),
    ),
)


def test_a_contest_is_scored_by_points_with_draws_half():
    """A and B: 1,500 points. Behind: 0 and 500. Equal: one. Ahead: 1,750 and 3,250."""
    assert outcome(CONTEST, [{"A": True, "B": True, "C": False}]) == Outcome(field(1200, 1400, 1500, 1600, 1900), 2.5)
    assert outcome(CONTEST, [{"A": False, "B": False, "C": False}]).wins == 0.5  # as good as the one who solved nothing
    assert outcome(CONTEST, [{"C": True}]).wins == 3 + 0.5


def test_several_participations_are_averaged():
    assert outcome(CONTEST, [{"A": True, "B": True}, {}]).wins == (2.5 + 0.5) / 2


def test_a_human_measured_as_a_model_is_is_given_about_their_rating():
    """A made-up model of known strength against fields of humans, each solving a problem with Elo's probability."""
    rng, true = random.Random(1), 1700.0

    def solves(strength, hardness):
        return rng.random() < 1 / (1 + 10 ** ((hardness - strength) / 400))

    outcomes = []
    for number in range(40):
        problems = {str(i): hardness for i, hardness in enumerate(range(1000, 2600, 100))}
        humans = tuple(
            Human(r, frozenset(p for p, hardness in problems.items() if solves(r, hardness)))
            for r in (rng.gauss(1600, 250) for _ in range(150))
        )
        contest = Contest(str(number), dict.fromkeys(problems, 1.0), humans)
        outcomes.append(
            outcome(contest, [{p: solves(true, hardness) for p, hardness in problems.items()} for _ in range(4)])
        )
    found, low, high = rating_with_interval(outcomes)
    assert found == pytest.approx(true, abs=60) and low < found < high and high - low < 120


def test_the_interval_comes_from_contests_not_from_comparisons():
    same = [Outcome((1500.0,) * 1000, 500)] * 10
    assert rating_with_interval(same)[1:] == pytest.approx((1500, 1500), abs=0.01)
    mixed = [Outcome((1500.0,) * 1000, 300), Outcome((1500.0,) * 1000, 700)] * 5
    found, low, high = rating_with_interval(mixed)
    assert found == pytest.approx(1500, abs=0.01) and low < 1440 and high > 1560
    assert rating_with_interval(mixed[:1])[0] == rating_with_interval(mixed[:1])[1]


def test_percentile():
    outcomes = [Outcome(field(1000, 1200, 1400, 1600), 0)]
    assert [percentile(value, outcomes) for value in (900, 1300, 1400, 2000)] == [0, 0.5, 0.625, 1]
