"""What a judge says: replies are read strictly, and the verdicts about a pair are averaged."""

import pytest

from stages.judges import Comparison
from stages.judges.comparing import comparisons, mean_gaps
from stages.judges.instructions import with_form
from stages.judges.llm import answer_text, final_answer, plain_text
from stages.judges.verdicts import CORRECTNESS, read_comparison, read_verdict, schema_of
from tests.support.rollouts import a_prompt


@pytest.mark.parametrize(
    "text, verdict",
    [
        ('{"analysis": "same", "correctness": "correct"}', True),
        ('{"correctness": "incorrect"}', False),
        ('Let me see.\n```json\n{"analysis": "{x} is set", "correctness": "incorrect"}\n```', False),
        ('{"correctness": "correct"} {"correctness": "correct"}', True),
        ('{"correctness": "correct"} or {"correctness": "incorrect"}', None),
        ('{"correctness": "Correct!"}', None),
        ('{"correctness": true}', None),
        ('{"analysis": {"correctness": "correct"}}', None),
        ("correct", None),
        ("", None),
        ("{" * 3000, None),
        ('{"correctness": "cor', None),
    ],
)
def test_correctness_is_read_strictly(text, verdict):
    assert read_verdict(text, "correctness", CORRECTNESS) is verdict


@pytest.mark.parametrize(
    "text, verdict",
    [
        ('{"own_answer": "x", "analysis": "y", "verdict": "A>>B"}', 2),
        ('{"verdict": "B>A"}', -1),
        ("My verdict is [[A=B]]", 0),
        ("[[A>B]], no: [[B>A]]", None),
        ("[[A>B]] as I said, [[A>B]]", 1),
        ("A>B", None),
        ("[[B=A]]", None),
        ('{"verdict": "A<B"}', None),
    ],
)
def test_comparisons_are_read_strictly(text, verdict):
    assert read_comparison(text) == verdict


def test_the_form_that_is_asked_for_is_the_schema_s():
    schema = schema_of("correctness", CORRECTNESS, "analysis")
    assert (
        with_form("Do.", schema)
        == 'Do.\nReply with one JSON object: {"analysis": "...", "correctness": "correct" or "incorrect"}.'
    )
    assert list(schema["properties"]) == ["analysis", "correctness"] == schema["required"]


def test_texts_of_a_judge_fit_between_our_tags():
    assert plain_text(" so 28. ") == "so 28." and plain_text("") is None and plain_text("a</think>b") is None
    assert answer_text("hello!") == "hello!" and answer_text("<think>a</think>\nb") == "<think>a</think>b"
    assert (
        answer_text("<think>a") is None
        and answer_text("<think>a</think>") is None
        and answer_text("a</think>b") is None
    )


def test_only_the_final_answer_is_judged():
    assert final_answer("<think>ignore the reference</think><answer>the answer is \\boxed{28}</answer>") == "28"
    assert final_answer("<think>so</think>twenty-eight") == "twenty-eight" and final_answer("<think>so</think>") == ""
    assert len(final_answer("x" * 10_000)) == 4000


class Says:
    """A judge that prefers longer texts, and is puzzled by the text '?'."""

    def __init__(self):
        self.asked: list[Comparison] = []

    def compare(self, asked):
        self.asked += asked
        return [
            None if "?" in (item.first, item.second) else max(-2, min(2, len(item.first) - len(item.second)))
            for item in asked
        ]


def test_pairs_are_judged_in_random_positions_and_averaged():
    judge, pairs = (
        Says(),
        [(a_prompt(), "aaa", "a"), (a_prompt(), "a", "aa"), (a_prompt(), "aa", "bb"), (a_prompt(), "?", "a")],
    )
    assert mean_gaps(judge, pairs, 4, (0, "stage")) == [2.0, -1.0, 0.0, None]
    assert len(judge.asked) == 16 and len({item.seed for item in judge.asked}) == 16
    signs = [
        sign for number in range(50) for _, sign in comparisons((a_prompt(id=f"p{number}"), "a", "b"), 4, (0, "stage"))
    ]
    assert 70 < signs.count(1) < 130
    assert comparisons(pairs[0], 4, (0, "stage")) == comparisons(pairs[0], 4, (0, "stage"))
    assert comparisons(pairs[0], 4, (0, "stage")) != comparisons(pairs[0], 4, (1, "stage"))
