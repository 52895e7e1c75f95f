"""Which options a multiple-choice prompt has: those of its checks, or a run A, B, C in its text."""

import json

import pytest

from stages.prompting.prompt import Prompt
from stages.rewards.grading import grade, reference_problem
from stages.rewards.verifiers.choice import options_of


def a_prompt(answer: str = "C", text: str = "Which is it?", checks: str | None = None) -> Prompt:
    options = json.dumps({"options": ["three", "four", "five", "none of these"]})
    return Prompt("p", text, "file", "reasoning", "en", answer, "choice", options if checks is None else checks)


@pytest.mark.parametrize(
    "text, options",
    [
        ("Q?\n\nA. 1\nB. 2\n\nAnswer with the letter of the right option.", ["1", "2"]),
        (
            "\u8c01\uff1f\nA\uff0e\u5317\u4eac\nB\uff0e\u4e0a\u6d77\nC\uff0e\u5e7f\u5dde",
            ["\u5317\u4eac", "\u4e0a\u6d77", "\u5e7f\u5dde"],
        ),
        ("\u8c01\uff1f A\u3001\u5317\u4eac B\u3001\u4e0a\u6d77", ["\u5317\u4eac", "\u4e0a\u6d77"]),
        ("\uff08A\uff09\u5317\u4eac\uff08B\uff09\u4e0a\u6d77", ["\u5317\u4eac", "\u4e0a\u6d77"]),
        ("Who?\nA) Nixon\nB) Ford\nC) John F. Kennedy\nlater A) x", ["Nixon", "Ford", "John F. Kennedy"]),
        ("1st\nA) 1\nB) 2\nAnswer: B\n\n2nd\nA) 7\nB) 8\nC) 9\n", ["7", "8", "9"]),  # after a solved example
        ("Q\na) 3\nb) 4", ["3", "4"]),
        ("Q\n- A: x\n- B: y", ["x", "y"]),
        ("Q\nA) 3  B) 4\nC) 5  D) 6", ["3", "4", "5", "6"]),
        ("Q\nA) line one\nline two\nB) x\ny\n\nEnd", ["line one line two", "x y"]),
        ("Q\n**A.** x\n**B.** y", ["x", "y"]),
        ("Q\r\nA) x\r\nB) y\r\n", ["x", "y"]),
        ("Q\nA. x\nC. y", []),
        ("Q\n1) x\n2) y", []),
        (
            "\n".join(f"{letter}) {letter.lower()}x" for letter in "ABCDEFGHIJKL") + " A)",
            [f"{one}x" for one in "abcdefghijkl"[:-1]] + ["lx A)"],
        ),
    ],
)
def test_options_in_the_text(text, options):
    assert list(options_of(a_prompt(text=text, checks="")).values()) == options


@pytest.mark.parametrize(
    "answer, checks, words",
    [
        ("E", None, "'E' names none of the options A, B, C, D"),
        ("C or D", None, "names no option"),
        ("", None, "names no option"),
        ("A", "[1]", "are not"),
        ("A", "{", "are not"),
        ("A", '{"options": ["one"]}', "2 to 26"),
        ("A", '{"options": "AB"}', "2 to 26"),
        ("A", '{"options": {"B": "x", "A": "y"}}', "2 to 26"),
        ("A", '{"options": ["x", null]}', "must be texts"),
    ],
)
def test_references_and_options_that_cannot_be_used(answer, checks, words):
    prompt = a_prompt(answer, checks=checks) if checks else a_prompt(answer)
    assert words in reference_problem(prompt) and grade("<answer>A</answer>", prompt) == 0


def test_options_may_be_a_mapping_and_numbers():
    assert options_of(a_prompt(checks='{"options": {"A": 1, "B": 2.5}}')) == {"A": "1", "B": "2.5"}
    assert options_of(a_prompt(checks='{"tolerance": 0.1}', text="Q\nA) x\nB) y")) == {"A": "x", "B": "y"}
