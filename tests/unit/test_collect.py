"""The filters of rejection sampling: one example for each reason, and their order."""

import dataclasses
import random

import pytest

from stages.config import CollectConfig, DataConfig
from stages.kinds.collect.filters import REASONS, REMEDIES, choose, rejections, what_dropped_most
from stages.prompting.prompt import Prompt
from stages.text.readability import has_code_block, longest_paragraph
from stages.worlds.tiny_world.problems import draw_problem
from tests.support.rollouts import a_prompt, a_rollout, answered

CONFIG = CollectConfig(min_language=0.9, max_repetition=0.5, max_kept_tokens=20)
GOOD = answered("28")
REPETITIVE = answered("28", "wait,so 31-3=28," * 5)
MIXED = answered("28", "wait,等等,31-3=28")


def rejection(rollout, config):
    return rejections([rollout], config)[0]


@pytest.mark.parametrize(
    "completion, more, reason",
    [
        (GOOD, {}, None),
        (GOOD, {"is_truncated": True}, "truncated"),
        ("<answer>28</answer>", {}, "malformed"),
        (answered("27"), {}, "wrong"),
        (MIXED, {}, "mixed_language"),
        (answered("28", "31-3=28"), {}, None),  # no words, so no language is mixed in
        (answered("28", "\\(31-3=28\\) `x`"), {}, None),
        (answered("28", " \n"), {}, "malformed"),  # no thought at all
        (REPETITIVE, {}, "repetitive"),
        (GOOD, {"num_tokens": 21}, "too_long"),
        (GOOD, {"num_tokens": 20}, None),
        (answered("27", "等等"), {}, "wrong"),
    ],
)  # the first filter that fails gives the reason
def test_rejection(completion, more, reason):
    assert rejection(a_rollout(completion, **more), CONFIG) == reason


def test_a_grader_that_fails_is_no_wrong_answer(monkeypatch):
    from stages.rewards.verifiers import integer

    monkeypatch.setattr(integer, "grade", lambda completion, prompt: 1 / 0)
    assert rejection(a_rollout(GOOD), CONFIG) == "unjudged"


def test_limits_are_the_configurations():
    assert rejection(a_rollout(MIXED), CollectConfig(min_language=0.3)) is None
    assert rejection(a_rollout(REPETITIVE), CollectConfig(max_repetition=0.9)) is None
    assert rejection(a_rollout(MIXED, a_prompt(language="zh")), CollectConfig(min_language=0.5)) is None


def test_held_out_arithmetic_is_never_kept():
    problem = draw_problem(random.Random(0), "test", 2)
    rollout = a_rollout(answered("28", f"so {problem.expression}={problem.answer},wait,31-3=28"))
    assert rejection(rollout, CONFIG) == "held_out"
    assert rejection(rollout, CollectConfig(min_language=0.9, data=DataConfig(name="file", path="x.jsonl"))) is None


def test_code_blocks_and_long_paragraphs_of_the_thought():
    code, long = answered("28", "wait:\n```\nx = 31-3\n```\n"), answered("28", "so " * 5 + "\n\n" + "then 28 " * 4)
    strict = CollectConfig(drop_code_blocks=True, max_paragraph=8, max_repetition=1)
    assert rejection(a_rollout(code), strict) == "code_block" and rejection(a_rollout(code), CollectConfig()) is None
    assert rejection(a_rollout(long), strict) is None
    assert rejection(a_rollout(long), CollectConfig(max_paragraph=7, max_repetition=1)) == "long_paragraph"
    assert rejection(a_rollout("<think>wait,so</think><answer>\n```\n28\n```</answer>"), strict) is None, (
        "the answer may hold code"
    )
    assert longest_paragraph("so 31-3 is 28\n\n所以,28!") == 5 and longest_paragraph("") == 0
    assert not has_code_block("a `x` and ``` in a line") and has_code_block("a\n  ~~~python")


def test_what_only_a_judge_can_grade_is_left_open():
    open_prompt = Prompt("p0", "why?", "file", "reasoning", "en", "because", "judge")
    assert rejection(a_rollout("<think>wait,so</think><answer>no idea</answer>", open_prompt), CONFIG) is None
    assert rejection(a_rollout("<answer>because</answer>", open_prompt), CONFIG) == "malformed"


@pytest.mark.parametrize(
    "counts, seen, remedy",
    [
        ({"truncated": 9, "wrong": 3}, "9 of 12 were cut at the length limit of 64 tokens", "max_completion_tokens"),
        ({"malformed": 5, "kept": 1}, "5 of 6 are not <think>", "stages.cold_start_data.data.template=r1_zero"),
        ({"wrong": 7, "malformed": 2}, "7 of 9 have a wrong answer (others: 2 malformed)", "data.verifier"),
        ({"mixed_language": 4}, "4 of 4 have a thought that is not in", "stages.cold_start_data.min_language (0.9)"),
        ({"repetitive": 4}, "4 of 4 repeat themselves", "stages.cold_start_data.max_repetition (0.5)"),
        ({"too_long": 4}, "longer than 20 tokens", "stages.cold_start_data.max_kept_tokens"),
        ({"code_block": 4}, "have code", "stages.cold_start_data.drop_code_blocks=false"),
        ({"long_paragraph": 4}, "paragraph", "stages.cold_start_data.max_paragraph"),
        ({"held_out": 4}, "held-out", "stages.cold_start_data.num_prompts"),
        ({"unjudged": 4}, "could not be graded", "judge.*"),
        ({"beyond_refining": 4}, "refining", "stages.cold_start_data.refine=none"),
        ({"kept": 4, "spare": 2}, "", ""),
    ],
)
def test_the_advice_is_that_of_the_filter_that_dropped_most(counts, seen, remedy):
    config = dataclasses.replace(CONFIG, max_completion_tokens=64)
    said, advice = what_dropped_most(counts, "cold_start_data", config)
    assert seen in said and remedy in advice and bool(said) == bool(seen)


def test_every_filter_has_a_remedy():
    assert set(REMEDIES) == set(REASONS) - {"spare", "kept"}


def test_easy_prompts_keep_their_shortest():
    rows = [
        {"completion": text, "num_tokens": number}
        for text, number in (("long", 9), ("short", 2), ("long", 9), ("mid", 5))
    ]
    config = CollectConfig(easy_pass_rate=0.75)
    assert [row["completion"] for row in choose(rows, 0.75, config)] == ["long", "short", "mid"]
    assert [row["completion"] for row in choose(rows, 0.8, config)] == ["short", "mid", "long"]
    assert [row["completion"] for row in choose(rows, 1.0, CollectConfig())] == ["long", "short", "mid"], (
        "1 = no prompt is easy"
    )


def test_every_reason_is_counted():
    assert {
        "truncated",
        "malformed",
        "wrong",
        "mixed_language",
        "repetitive",
        "too_long",
        "code_block",
        "long_paragraph",
        "held_out",
        "unjudged",
        "beyond_refining",
        "spare",
        "kept",
    } == set(REASONS)
