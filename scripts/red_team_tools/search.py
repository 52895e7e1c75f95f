"""Draws wrong answers, grades them, and tells which were paid.

Every wrong answer is wrong by construction: what decides it is the arithmetic of this directory (plain Fractions), not
a grader. The same seed draws the same answers.
"""

import json
from collections import Counter
from collections.abc import Iterator
from random import Random
from typing import NamedTuple

from scripts.red_team_tools.expressions import Wrong, wrong_collection, wrong_equation, wrong_formula, wrong_number
from scripts.red_team_tools.numbers import draw_number, plain
from scripts.red_team_tools.sentences import around
from scripts.red_team_tools.words import wrong_choice, wrong_text
from scripts.red_team_tools.wrappers import completion, with_invisible, wrapped
from stages.prompting.prompt import Prompt
from stages.rewards.grading import Pair, grade_many, reference_problem_many

VERIFIERS = ("math", "integer", "choice", "exact")
BATCH = 500


class Try(NamedTuple):
    """A wrong answer with its prompt, and how it was made."""

    prompt: Prompt
    completion: str
    how: str


class Outcome(NamedTuple):
    """What the search found.

    Attributes:
        num_tries: number of wrong answers that were graded, by verifier.
        paid: those that were given credit.
        num_right: number of right answers that were graded beside them, by verifier.
        num_right_paid: how many of them were given credit; a grader that pays nothing is not safe but useless.
    """

    num_tries: Counter[str]
    paid: list[Try]
    num_right: Counter[str]
    num_right_paid: Counter[str]


def search(seed: int, tries: int, verifiers: tuple[str, ...] = VERIFIERS) -> Outcome:
    """Grades `tries` wrong answers of each verifier, and a right one for every ten of them."""
    outcome = Outcome(Counter(), [], Counter(), Counter())
    for verifier in verifiers:
        draw = Random(f"{seed}/{verifier}")
        wrong: list[Try] = []
        right: list[Pair] = []
        for number in range(tries):
            case, one = next(_tries(verifier, draw))
            wrong.append(one)
            if number % 10 == 0:
                right.append((f"<think></think><answer>{case.right}</answer>", one.prompt))
        wrong = _usable(wrong)
        outcome.num_tries[verifier] += len(wrong)
        for start in range(0, len(wrong), BATCH):
            batch = wrong[start : start + BATCH]
            grades = grade_many([(one.completion, one.prompt) for one in batch])
            outcome.paid.extend(one for one, grade in zip(batch, grades) if grade.value > 0)
        right = [pair for pair in right if _is_forward(pair)]
        outcome.num_right[verifier] += len(right)
        outcome.num_right_paid[verifier] += sum(grade.value == 1 for grade in grade_many(right))
    return outcome


def _usable(wrong: list[Try]) -> list[Try]:
    """Returns the tries whose reference training would take: the others are refused before a run."""
    problems = reference_problem_many([one.prompt for one in wrong])
    return [one for one, problem in zip(wrong, problems) if problem is None]


def _is_forward(pair: Pair) -> bool:
    return not pair[1].id.startswith("reversed")


def _tries(verifier: str, draw: Random) -> Iterator[tuple[Wrong, Try]]:
    """Yields wrong answers of a verifier without end."""
    while True:
        options: list[str] = []
        if verifier == "choice":
            case, options = wrong_choice(draw)
        elif verifier == "exact":
            case = wrong_text(draw)
        else:
            case = _mathematics(verifier, draw)
        answer = case.answer if verifier == "exact" else with_invisible(wrapped(case.answer, draw), draw)
        text = completion(answer, case.right, draw)
        # The same the other way round: a wrong answer as the reference, and the plain right one as the answer.
        # A percentage is excepted: an answer may leave out the percent sign of its reference.
        is_reversed = verifier in ("math", "integer") and draw.random() < 0.2 and "%" not in case.answer
        if is_reversed:
            text = f"<think></think><answer>{case.reference}</answer>"
        prompt = Prompt(
            id="reversed" if is_reversed else "forward",
            text="What is it?",
            kind="red team",
            domain="reasoning",
            language="en",
            answer=case.answer if is_reversed else case.reference,
            verifier=verifier,
            checks=json.dumps({"options": options}) if options else "",
        )
        yield case, Try(prompt, text, case.how)


def _mathematics(verifier: str, draw: Random) -> Wrong:
    """Returns a wrong answer to a number, or for `math` to any other kind of reference."""
    kind = draw.random()
    if verifier == "math" and kind < 0.35:
        return draw.choice((wrong_formula, wrong_collection, wrong_equation))(draw)
    value = draw_number(draw, is_integer=verifier == "integer")
    while value in (-1, 0, 1):
        value = draw_number(draw, is_integer=verifier == "integer")
    if kind > 0.85:
        case = wrong_number(draw, value)  # a formula that has yet to be computed is no answer to `integer`
        return case if verifier == "math" else case._replace(right=plain(value))
    answer, how = around(value, draw)
    return Wrong(plain(value), plain(value), answer, how)
