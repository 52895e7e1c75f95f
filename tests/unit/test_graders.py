"""The verifiers `math` and `integer` on cases that others and we have written; tests/fixtures/graders says whose.

Each file is graded in one batch, as training grades.
"""

import itertools
import json
from collections import Counter
from functools import cache

import pytest

from stages.prompting.prompt import Prompt
from stages.rewards.grading import explain, grade_many, merge_votes, vote, vote_many
from tests.support.paths import REPOSITORY

CASES = REPOSITORY / "tests" / "fixtures" / "graders"


def a_prompt(reference: str, verifier: str = "math") -> Prompt:
    return Prompt("p", "what?", "file", "reasoning", "en", reference, verifier)


def answered(answer: str) -> str:
    return f"<think>hm</think><answer>{answer}</answer>"


@cache
def graded(name: str) -> list[tuple[dict, float]]:
    """The cases of a file, each with our verdict."""
    cases = [json.loads(line) for line in (CASES / name).read_text(encoding="utf-8").splitlines()]
    pairs = [(answered(case["answer"]), a_prompt(case["reference"], case.get("verifier", "math"))) for case in cases]
    grades = grade_many(pairs)
    assert not [grade.error for grade in grades if grade.error]
    return [(case, grade.value) for case, grade in zip(cases, grades)]


@pytest.mark.parametrize("name", ["adversarial.jsonl", "own.jsonl", "math_verify.jsonl"])
def test_verdicts(name):
    """Each verdict is the expected one, or the one that the file gives as ours, with the reason."""
    wrong = [
        (case["reference"][:80], case["answer"][:80], verdict)
        for case, verdict in graded(name)
        if verdict != case.get("ours", case["right"])
    ]
    assert not wrong
    assert all(case["because"] for case, _ in graded(name) if "ours" in case)


def test_rates_on_adversarial_cases():
    """Of the answers that must be refused at most 1% are accepted, of those that must be accepted at least 95%."""
    verdicts = Counter((case["right"], verdict) for case, verdict in graded("adversarial.jsonl"))
    assert verdicts[0, 1.0] <= 0.01 * (verdicts[0, 0.0] + verdicts[0, 1.0])
    assert verdicts[1, 1.0] >= 0.95 * (verdicts[1, 0.0] + verdicts[1, 1.0])


def test_agreement_with_math_verify():
    assert sum(case["right"] == verdict for case, verdict in graded("math_verify.jsonl")) >= 250


def test_votes_agree_with_grades():
    """Answers that grade as equal vote as one, different ones do not."""
    cases = [(case, verdict) for case, verdict in graded("adversarial.jsonl") if case["verifier"] == "math"]
    prompts = [a_prompt(case["reference"]) for case, _ in cases]
    votes = [
        vote_many([(answered(case[side]), prompt) for (case, _), prompt in zip(cases, prompts)])
        for side in ("reference", "answer")
    ]
    assert all((one == other) == bool(verdict) for one, other, (_, verdict) in zip(*votes, cases))


def test_votes_of_wrong_answers_are_merged_by_the_grader():
    """The reference is another answer, so nothing but the grader says which of these are the same."""
    answers = ["1/3", "0.333333333", "\\frac13", "P=(1,2)", "P=(3,4)", "P = (1, 2)", "50\\%", "50", "0.5", "???"]
    votes = vote_many([(answered(answer), a_prompt("\\pi")) for answer in answers])
    (merged,) = merge_votes([([*votes, None], a_prompt("\\pi"))])
    third, points, half = merged[:3], merged[3:6], merged[6:9]
    assert len(set(third)) == 1 and points[0] == points[2] != points[1]
    assert half[1] != half[2] and half[0] in half[1:] and merged[-1] is None
    orders = [merge_votes([(order, a_prompt("\\pi"))])[0] for order in itertools.permutations(votes[6:9])]
    assert {tuple(sorted(order)) for order in orders} == {tuple(sorted(orders[0]))}


def test_merging_64_different_votes_of_other_verifiers_changes_nothing():
    votes = [str(number) for number in range(64)]
    assert merge_votes([(votes, a_prompt("1", "integer")), (votes, a_prompt("1"))]) == [votes, votes]


def test_explanations_say_what_was_read_and_why():
    assert explain(answered("7 or 8"), a_prompt("7")) == ("7", "7 or 8", "They do not say the same.")
    assert explain(answered("0.5"), a_prompt("\\frac12")) == ("1/2", "1/2", "Both say the same.")
    unread = explain(answered("9 below zero"), a_prompt("9"))
    assert unread.answer is None and "cannot be read as a whole" in unread.why
    assert explain("no answer", a_prompt("9")).why == "The completion has no final answer."
    assert explain(answered("B"), a_prompt("C")).answer == "B"
    assert explain(answered("5+5"), a_prompt("5", "integer")).why == "The answer '5+5' is not one integer."


def test_a_solution_between_the_tags_says_its_answer_last():
    solution = "First we add. " * 20 + "Therefore, the chance that she wins is 2/3. I hope it is correct."
    assert vote(answered(solution), a_prompt("\\frac23")) == "2/3"
    assert vote(answered(solution.replace("is 2/3", "is not 2/3")), a_prompt("\\frac23")) != "2/3"
