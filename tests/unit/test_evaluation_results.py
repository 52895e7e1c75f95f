"""Samples measured and put together on examples worked by hand."""

import pytest

from stages.config import SuiteConfig
from stages.kinds.evaluation.measure import FinishedSample, final_text, measure_many
from stages.kinds.evaluation.problems import Problem, ProblemSet
from stages.kinds.evaluation.ratings import Contest, Human
from stages.kinds.evaluation.results import grader_errors, results_of
from stages.prompting.prompt import Prompt
from tests.support.rollouts import a_prompt, answered

CHOICE = Prompt("q", "which?\n\nA) one\nB) two", "choice", "reasoning", "en", "B", "choice")


def a_sample(
    completion: str,
    prompt: Prompt | None = None,
    number: int = 0,
    tokens: int = 5,
    thinking: int | None = 3,
    is_truncated: bool = False,
) -> FinishedSample:
    prompt = prompt or a_prompt()
    return FinishedSample(prompt.id, number, prompt, completion, tokens, thinking, is_truncated)


def a_set(prompts: list[Prompt], k: int, levels=None, **changes) -> ProblemSet:
    problems = [
        Problem(prompt.id, (prompt,) * k, (levels or [""] * len(prompts))[i]) for i, prompt in enumerate(prompts)
    ]
    return ProblemSet("set", problems, SuiteConfig(samples_per_prompt=k, needs_format=True), **changes)


def rows_of(one: ProblemSet, groups: list[list[FinishedSample]]) -> dict[str, dict]:
    return {
        row["metric"]: row for row in results_of(one, [measure_many(group, one.suite.needs_format) for group in groups])
    }


def values_of(*arguments) -> dict[str, float]:
    return {name: row["value"] for name, row in rows_of(*arguments).items()}


def test_verifiable_metrics():
    prompts = [a_prompt(id="p0"), a_prompt(id="p1")]
    groups = [
        [a_sample(answered("28"), tokens=4, thinking=2), a_sample(answered("27", "so 31-3=27"), tokens=6, thinking=4)],
        [
            a_sample("<answer>28</answer>", tokens=10, thinking=None, is_truncated=True),
            a_sample(answered("27", "等等,wait"), tokens=8, thinking=6),
        ],
    ]
    rows = rows_of(a_set(prompts, 2, ["2", "3"]), groups)
    assert {name: row["value"] for name, row in rows.items()} == {
        "pass@1": 0.25,
        "pass@2": 0.5,
        "cons@2": 0.25,  # 28 and 27 tie in the first problem; only 27 votes in the second
        "format": 0.75,
        "no_answer": 0.25,
        "grader_errors": 0.0,
        "language": pytest.approx((1 + 1 / 3) / 2, abs=1e-6),
        "reflection": 0.5,
        "tokens": 7.0,
        "thinking_tokens": 4.5,
        "truncated": 0.25,
        "pass@1[2]": 0.5,
        "pass@1[3]": 0.0,
        "thinking_tokens[2]": 3.0,
        "thinking_tokens[3]": 6.0,
    }
    assert rows["pass@1"]["n"] == 2 and (rows["pass@1"]["low"], rows["pass@1"]["high"]) == (
        0.0,
        0.5,
    )  # of problems, not of samples


def test_a_mean_of_nothing_is_no_number():
    """Thoughts of equations are in no language: a share of 0 would say that they are in another one."""
    names = set(rows_of(a_set([a_prompt()], 1), [[a_sample(answered("28", "14 + 14 = 28"))]]))
    assert "format" in names and "language" not in names


def test_one_sample_has_no_vote():
    assert not {"cons@1", "pass@@1"} & set(rows_of(a_set([a_prompt()], 1), [[a_sample(answered("28"))]]))


@pytest.mark.parametrize(
    "completion, expected",
    [
        ("the answer is \\boxed{28}", "the answer is \\boxed{28}"),  # a model without thoughts
        ("<think>\\boxed{27}</think>so \\boxed{28}", "so \\boxed{28}"),
        ("<think>\\boxed{28} but wait", None),
    ],
)  # cut off while it was thinking
def test_what_is_graded_follows_the_thought(completion, expected):
    assert final_text(a_sample(completion), needs_format=False) == expected


def test_the_form_counts_where_it_is_required():
    loose, strict = measure_many([a_sample("\\boxed{28}")], False)[0], measure_many([a_sample("\\boxed{28}")], True)[0]
    assert (
        loose["correct"]
        and loose["answered"]
        and not strict["correct"]
        and not strict["answered"]
        and strict["vote"] is None
    )


@pytest.mark.parametrize(
    "text, is_right",
    [
        ("Two is larger.\nANSWER: B", True),
        ("Answer: (B)", True),
        ("**ANSWER: B**", True),
        ("ANSWER: A\nNo:\nANSWER: B", True),
        ("ANSWER: A", False),
        ("<think>ANSWER: B</think>ANSWER: A", False),
        ("\\boxed{B}", True),
        ("<answer>B</answer>", True),
        ("it may be B", False),
    ],
)
def test_the_answer_line_of_a_multiple_choice(text, is_right):
    assert measure_many([a_sample(text, CHOICE)], False)[0]["correct"] is is_right


def test_a_grader_that_fails_is_counted(monkeypatch):
    from stages.rewards.verifiers import integer

    def fail(completion, prompt):
        raise RuntimeError("no luck")

    monkeypatch.setattr(integer, "grade", fail)
    rows = rows_of(a_set([a_prompt()], 1), [[a_sample(answered("28"))]])
    assert rows["grader_errors"]["value"] == 1 and rows["pass@1"]["value"] == 0
    assert (
        rows["grader_errors"]["note"]
        == "1 of 1 samples could not be graded and count as wrong: integer: RuntimeError: no luck (1)"
    )


def test_only_the_most_frequent_reasons_are_said():
    groups = [[{"error": error}] for error in ("", "a", "b", "b", "c", "d", "e")]
    assert grader_errors(groups)["note"].endswith(
        "6 of 7 samples could not be graded and count as wrong: b (2); a (1); c (1); and 2 more reasons"
    )
    assert "note" not in grader_errors(groups[:1])


def test_general_metrics():
    capital = a_prompt("capital", "paris")
    texts = [
        "paris.",
        "obviouslyparis,whatever",
        "the answer isparis,hope this helps!",
        "sorry,i can not help with that.",
    ]
    one = a_set([capital] * 4, 1, measure="general")
    assert values_of(one, [[a_sample(text, capital)] for text in texts]) == {
        "pass@1": 0.75,
        "rude": 0.25,
        "polite": 0.25,
        "refused": 0.25,
        "helpfulness": (2 + 0.5 + 2.5 + 0) / 4,
    }


def test_safety_metrics_tell_harmful_from_benign():
    harm, benign = a_prompt("harm", "i can not help with that"), a_prompt("benign", "read a guide and practice")
    refusal, advice = "sorry,i can not help with that.", "sure,read a guide and practice."
    samples = [
        (refusal, harm),
        (refusal, benign),
        ("sure,get tools and do it!", harm),
        (advice, benign),
        (refusal, harm),
        ("obviously,read a guide and practice,whatever", benign),
    ]
    one = a_set([prompt for _, prompt in samples], 1, measure="safety")
    assert values_of(one, [[a_sample(text, prompt)] for text, prompt in samples]) == {
        "harmful_refused": pytest.approx(2 / 3, abs=1e-6),
        "harmful_safe": pytest.approx(2 / 3, abs=1e-6),
        "benign_refused": pytest.approx(1 / 3, abs=1e-6),
        "benign_correct": pytest.approx(2 / 3, abs=1e-6),
        "benign_rude": pytest.approx(1 / 3, abs=1e-6),
    }


def test_a_rating_comes_from_the_contests_of_the_problems():
    """Solves A in both samples and B in one of two: 500 and 1,500 points. Against humans with 0, 500 and 1,500: wins of
    1.5 and 2.5 of 3.
    """
    contest = Contest(
        "9",
        {"A": 500, "B": 1000},
        (Human(1500, frozenset()), Human(1500, frozenset("A")), Human(1500, frozenset("AB"))),
    )
    prompts = [a_prompt(id="A"), a_prompt(id="B")]
    problems = [Problem(prompt.id, (prompt,) * 2, place=("9", prompt.id)) for prompt in prompts]
    one = ProblemSet("codeforces", problems, SuiteConfig(samples_per_prompt=2), "program", {"9": contest})
    right, wrong = "\\boxed{28}", "\\boxed{27}"
    rows = rows_of(one, [[a_sample(right), a_sample(right)], [a_sample(right), a_sample(wrong)]])
    assert (
        rows["rating"]["value"] == pytest.approx(1500 + 400 * 0.30103, abs=0.1) and rows["rating"]["n"] == 1
    )  # 2 of 3 won: odds of 2 to 1
    assert rows["percentile"]["value"] == 1.0 and "cons@2" not in rows
