"""The verifiers' common interface: batches of several verifiers, and graders that fail."""

import sys
from types import ModuleType

import pytest

from stages.prompting.prompt import Prompt
from stages.rewards import grading as verifiers
from stages.rewards.grading import (
    VERIFIERS,
    Explanation,
    Grade,
    explain,
    grade,
    grade_many,
    reference_problem_many,
    vote_many,
)


def a_prompt(answer: str, verifier: str) -> Prompt:
    return Prompt("p", "what?", "file", "reasoning", "en", answer, verifier)


@pytest.fixture
def a_verifier(monkeypatch):
    """Puts a verifier made of these functions into the table, as `own`."""

    def put(**functions) -> None:
        module = ModuleType("tests.own")
        for name, function in functions.items():
            setattr(module, name, function)
        monkeypatch.setitem(sys.modules, "tests.own", module)
        monkeypatch.setitem(verifiers.VERIFIERS, "own", "tests.own")

    return put


def test_a_batch_keeps_its_order_over_verifiers():
    pairs = [
        ("<answer>46</answer>", a_prompt("46", "integer")),
        ("<answer>paris</answer>", a_prompt("Paris", "exact")),
        ("<answer>9</answer>", a_prompt("46", "integer")),
        ("paris", a_prompt("Paris", "exact")),
    ]
    assert grade_many(pairs) == [Grade(1.0), Grade(1.0), Grade(0.0), Grade(0.0)]
    assert vote_many(pairs) == ["46", "paris", "9", None]
    assert reference_problem_many([a_prompt("x", "integer"), a_prompt("x", "exact")]) == [
        "'x' is not one integer",
        None,
    ]
    assert grade_many([]) == []


def test_a_crash_is_an_explained_zero(a_verifier):
    def crashes(completion, prompt):
        return 1.0 if completion == "good" else 1 / 0

    a_verifier(grade=crashes)
    good, bad = grade_many([("good", a_prompt("1", "own")), ("bad", a_prompt("1", "own"))])
    assert good == Grade(1.0) and bad == Grade(0.0, "own: ZeroDivisionError: division by zero")
    assert grade("bad", a_prompt("1", "own")) == 0.0


def test_a_crash_of_a_whole_batch_is_an_explained_zero_for_each(a_verifier):
    def crashes(pairs):
        raise OSError("no sandbox\nhere")

    a_verifier(grade_many=crashes)
    grades = grade_many(
        [("a", a_prompt("1", "own")), ("<answer>1</answer>", a_prompt("1", "integer")), ("b", a_prompt("1", "own"))]
    )
    assert grades == [
        Grade(0.0, "own: OSError: no sandbox here"),
        Grade(1.0),
        Grade(0.0, "own: OSError: no sandbox here"),
    ]


def test_a_verifier_s_own_batch_is_used_and_partial_credit_kept(a_verifier):
    a_verifier(grade_many=lambda pairs: [Grade(0.25), Grade(0.75, "ran out of time")])
    assert grade_many([("a", a_prompt("1", "own"))] * 2) == [Grade(0.25), Grade(0.0, "ran out of time")]


@pytest.mark.parametrize("value", [float("nan"), -0.1, 1.5])
def test_a_grade_outside_of_0_to_1_is_an_error(a_verifier, value):
    a_verifier(grade=lambda completion, prompt: value)
    (given,) = grade_many([("a", a_prompt("1", "own"))])
    assert given.value == 0.0 and "is not between 0 and 1" in given.error


def test_an_unknown_verifier_is_our_own_mistake():
    with pytest.raises(ValueError, match=f"asks for the verifier 'guess'; there are {', '.join(VERIFIERS)}"):
        grade_many([("a", a_prompt("1", "guess"))])


def test_a_verifier_that_crashes_has_no_vote_and_a_problem(a_verifier):
    a_verifier(vote=lambda completion, prompt: {}[completion], reference_problem=lambda prompt: {}[prompt.answer])
    assert vote_many([("a", a_prompt("1", "own"))]) == [None] and reference_problem_many([a_prompt("1", "own")]) == [
        "own: KeyError: '1'"
    ]


def test_a_batch_of_the_wrong_length_is_an_explained_zero(a_verifier):
    a_verifier(grade_many=lambda pairs: [Grade(1.0)])
    assert [(g.value, "ValueError" in g.error) for g in grade_many([("a", a_prompt("1", "own"))] * 2)] == [
        (0.0, True)
    ] * 2


def test_explain_has_a_generic_sentence(a_verifier):
    a_verifier(grade=lambda completion, prompt: float("aris" in completion))
    assert explain("<answer>Paris</answer>", a_prompt("paris", "own")).why == "`own` accepts the answer."
    assert explain("<answer>Rome</answer>", a_prompt("paris", "own")) == Explanation(
        "paris", "Rome", "`own` gives the answer 0 of 1."
    )
    assert explain("Rome", a_prompt("paris", "own")).answer is None


def test_explain_asks_the_verifier():
    assert explain("<answer>46</answer>", a_prompt("46", "integer")) == Explanation(
        "46", "46", "Both are the same integer."
    )
    assert explain("<answer>46 or 47</answer>", a_prompt("46", "integer")).answer is None
    assert explain("<answer>9</answer>", a_prompt("9.0", "math")).why == "Both say the same."
