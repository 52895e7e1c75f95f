"""No wrong answer is paid: a few thousand tries of scripts/red_team.py, and that they are what they say they are."""

from fractions import Fraction
from random import Random

import pytest

from scripts.red_team_tools.expressions import value_of, wrong_formula
from scripts.red_team_tools.numbers import differ, draw_number, other_number, write
from scripts.red_team_tools.search import search
from scripts.red_team_tools.sentences import around

TRIES = {"math": 600, "integer": 1500, "choice": 1500, "exact": 1500}


@pytest.mark.parametrize("verifier", TRIES)
def test_no_wrong_answer_is_paid_and_right_ones_are(verifier):
    outcome = search(seed=14, tries=TRIES[verifier], verifiers=(verifier,))
    assert outcome.num_tries[verifier] > TRIES[verifier] / 2
    assert not outcome.paid, [(one.how, one.prompt.answer, one.completion) for one in outcome.paid[:10]]
    assert outcome.num_right_paid[verifier] >= 0.95 * outcome.num_right[verifier] > 0


def test_the_same_seed_draws_the_same_answers():
    one, other = (around(Fraction(7, 3), Random(5)) for _ in range(2))
    assert one == other


def test_another_number_is_another_number():
    draw = Random(0)
    for _ in range(2000):
        value = draw_number(draw, is_integer=draw.random() < 0.5)
        assert differ(value, other_number(value, draw)) and write(value, draw)
    assert not differ(Fraction(1, 3), Fraction("0.33333")) and differ(Fraction(3), Fraction(-3))


def test_formulas_are_evaluated_without_a_grader():
    tree = ("/", ("+", "x", 1), ("^", "X", 2))
    assert value_of(tree, {"x": Fraction(3), "X": Fraction(2)}) == 1
    assert value_of(("/", "x", ("-", "x", "x")), {"x": Fraction(3)}) is None
    draw = Random(0)
    assert all(case.reference != case.answer for case in (wrong_formula(draw) for _ in range(200)))
