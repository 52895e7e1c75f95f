"""The filters of rejection sampling: one example for each reason, and their order."""
import random

import pytest

from stages.collect import REASONS, rejections
from stages.config import CollectConfig, DataConfig
from stages.tiny_world.problems import draw_problem
from tests.rollouts import a_prompt, a_rollout, answered

CONFIG = CollectConfig(min_language=0.9, max_repetition=0.5, max_kept_tokens=20)
GOOD = answered("28")
REPETITIVE = answered("28", "wait,so 31-3=28," * 5)
MIXED = answered("28", "wait,等等,31-3=28")


def rejection(rollout, config):
    return rejections([rollout], config)[0]


@pytest.mark.parametrize("completion, more, reason", [
    (GOOD, {}, None),
    (GOOD, {"is_truncated": True}, "truncated"),
    ("<answer>28</answer>", {}, "malformed"),
    (answered("27"), {}, "wrong"),
    (MIXED, {}, "mixed_language"),
    (answered("28", "31-3=28"), {}, "mixed_language"),       # no words: nothing to read
    (REPETITIVE, {}, "repetitive"),
    (GOOD, {"num_tokens": 21}, "too_long"),
    (GOOD, {"num_tokens": 20}, None),
    (answered("27", "等等"), {}, "wrong")])                    # the first filter that fails gives the reason
def test_rejection(completion, more, reason):
    assert rejection(a_rollout(completion, **more), CONFIG) == reason


def test_limits_are_the_configurations():
    assert rejection(a_rollout(MIXED), CollectConfig(min_language=0.3)) is None
    assert rejection(a_rollout(REPETITIVE), CollectConfig(max_repetition=0.9)) is None
    assert rejection(a_rollout(MIXED, a_prompt(language="zh")), CollectConfig(min_language=0.5)) is None


def test_held_out_arithmetic_is_never_kept():
    problem = draw_problem(random.Random(0), "test", 2)
    rollout = a_rollout(answered("28", f"so {problem.expression}={problem.answer},wait,31-3=28"))
    assert rejection(rollout, CONFIG) == "held_out"
    assert rejection(rollout, CollectConfig(min_language=0.9, data=DataConfig(name="file", path="x.jsonl"))) is None


def test_every_reason_is_counted():
    assert {"truncated", "malformed", "wrong", "mixed_language", "repetitive", "too_long", "held_out", "beyond_refining", "kept"} == set(REASONS)
