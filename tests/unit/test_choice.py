"""Multiple choice: how letters and options are written, and what is not an answer."""

import pytest

from stages.prompting.prompt import Prompt
from stages.rewards.grading import grade, reference_problem, vote
from stages.rewards.verifiers.choice import letters_of, options_of

TEXT = "Which is even?\nA) three\nB) four\nC) five\nD) none of these"


def a_prompt(answer: str = "B", text: str = TEXT, checks: str = "") -> Prompt:
    return Prompt("p", text, "file", "reasoning", "en", answer, "choice", checks)


@pytest.mark.parametrize(
    "given",
    [
        "B",
        "b",
        "(B)",
        "B.",
        "B)",
        "[B]",
        "B: four",
        "B. four",
        "(B) four",
        "**B**",
        "$B$",
        "$\\text{(B)}$",
        "\\boxed{\\text{B}}",
        "\\textbf{(B)}",
        "\\mathrm{B}",
        "the answer is B",
        "The correct answer is (B).",
        "Option B",
        "Answer: B",
        "four",
        "Four.",
        "It must be (B), because four is even",
        "the correct option is: B",
    ],
)
def test_option_b(given):
    assert letters_of(given, a_prompt()) == "B" and grade(f"<think>A?</think><answer>{given}</answer>", a_prompt()) == 1


@pytest.mark.parametrize(
    "given",
    [
        "A",
        "",
        "three",
        "E or B",
        "(A) or (B)",
        "A, B",
        "AB",
        "the answer is A, not B",
        "B. three",
        "Because",
        "Both",
        "a four",
        "I",
    ],
)
def test_not_option_b(given):
    assert grade(f"<answer>{given}</answer>", a_prompt()) == 0


def test_no_answer_no_vote():
    assert (
        vote("B", a_prompt()) is None
        and vote("<answer>(b)</answer>", a_prompt()) == "B"
        and vote("<answer>hm</answer>", a_prompt()) is None
    )


@pytest.mark.parametrize(
    "text, options",
    [
        (TEXT, {"A": "three", "B": "four", "C": "five", "D": "none of these"}),
        ("Pick. (A) 3 (B) 4", {"A": "3", "B": "4"}),
        ("Pick. A. 3 B. 4 C. 5", {"A": "3", "B": "4", "C": "5"}),
        ("$\\textbf{(A)}\\ 3 \\qquad\\textbf{(B)}\\ 4 \\qquad\\textbf{(C)}\\ 5$", {"A": "3", "B": "4", "C": "5"}),
        ("What is 2 + 2?", {}),
        ("Vitamin C. What is it?", {}),
        ("Let A) hold.", {}),
    ],
)
def test_options(text, options):
    assert options_of(a_prompt(text=text)) == options


def test_options_of_checks_and_references_by_text():
    prompt = a_prompt("Paris", "Capital of France?", '{"options": ["Rome", "Paris"]}')
    assert (
        grade("<answer>B</answer>", prompt) == grade("<answer>paris</answer>", prompt) == 1
        and grade("<answer>Rome</answer>", prompt) == 0
    )


def test_several_right_options():
    assert grade("<answer>A, C</answer>", a_prompt("AC")) == grade("<answer>C and A</answer>", a_prompt("A,C")) == 1
    assert grade("<answer>A</answer>", a_prompt("AC")) == grade("<answer>A, B, C</answer>", a_prompt("AC")) == 0


def test_references():
    assert reference_problem(a_prompt("(B)")) is None and reference_problem(a_prompt("four")) is None
    assert "names no option" in reference_problem(a_prompt("seven"))
