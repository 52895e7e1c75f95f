"""Why completions have no readable answer: the reason follows from the counts, and names the key to turn."""

import pytest

from stages.rewards.unanswered import Answered, Keys, diagnose, with_votes
from tests.support.rollouts import a_prompt, answered

KEYS = Keys("stages.r1_zero.data.template", "stages.r1_zero.max_completion_tokens")
PLAIN = "The sum is 28."
WRONG = "I would say 17."
BOXED = "So it is \\boxed{28}."


def seen(*texts, asks=False, needs_format=True, cut=(), template="chat"):
    """A diagnosis of these completions, none of which was counted; those in `cut` were cut."""
    found = [Answered(text, a_prompt(), text in cut, False) for text in texts]
    return diagnose(found, asks, template, needs_format, KEYS)


@pytest.mark.parametrize(
    "text, words",
    [
        (PLAIN, "1 hold the right answer as plain text"),
        (WRONG, "1 have neither <answer> tags nor \\boxed{}"),
        ("It is 128 or 28.5 or -x28.", "1 have neither"),  # no 28 of its own
        (BOXED, "1 give an answer, but not in the form"),
        (answered("twenty-eight"), "1 give an answer that the verifier cannot read"),
    ],
)
def test_what_is_wrong_with_a_completion(text, words):
    assert words in seen(text).message


def test_a_box_counts_where_no_form_is_needed():
    assert "that the verifier cannot read" in seen(BOXED, needs_format=False).message


@pytest.mark.parametrize(
    "texts, more, reason, advice",
    [
        (
            [PLAIN, WRONG, BOXED],
            {},
            "nothing asks for the tags: the template chat",
            "stages.r1_zero.data.template=r1_zero",
        ),
        (
            [PLAIN, WRONG],
            {"asks": True, "template": "r1_zero"},
            "asks for the tags, but this model does not",
            "cold_start",
        ),
        ([WRONG, PLAIN], {"cut": (WRONG, PLAIN)}, "the limit is too low", "raise stages.r1_zero.max_completion_tokens"),
        ([answered("a"), answered("b"), WRONG], {}, "the verifier is for other answers", "check data.verifier"),
    ],
)
def test_the_reason_is_that_of_most(texts, more, reason, advice):
    found = seen(*texts, **more)
    assert reason in found.message and advice in found.advice
    assert found.share == 1 and found.message.startswith(f"{len(texts)} of {len(texts)} completions have no readable")


def test_a_prompt_that_asks_for_nothing_is_said_beside_the_limit_too():
    unasked = seen(WRONG, cut=(WRONG,))
    assert "the template chat does not ask for the tags either" in unasked.message
    assert unasked.advice.endswith("max_completion_tokens, and set stages.r1_zero.data.template=r1_zero")
    assert "either" not in seen(WRONG, cut=(WRONG,), asks=True).message


def test_a_cut_completion_with_an_answer_is_not_called_cut():
    assert "cannot be read" not in seen(answered("28"), cut=(answered("28"),)).message
    assert "were cut" not in seen(answered("28"), cut=(answered("28"),)).message


def test_readable_answers_are_told_apart_by_the_verifier_itself():
    texts = [answered("28"), answered("no idea"), PLAIN]
    found = with_votes([(text, a_prompt(), False) for text in texts], needs_format=False)
    assert [one.is_answered for one in found] == [True, False, False]
    some = diagnose(found, True, "r1_zero", False, KEYS)
    assert some.num_unanswered == 2 and some.share == pytest.approx(2 / 3)
    assert diagnose(found[:1], True, "r1_zero", False, KEYS).message == "all 1 completions have a readable answer"
    boxed = [("So \\boxed{28}.", a_prompt(), False)]
    assert [with_votes(boxed, needs_format=needed)[0].is_answered for needed in (False, True)] == [True, False]
    assert diagnose([], True, "r1_zero", False, KEYS).share == 0
