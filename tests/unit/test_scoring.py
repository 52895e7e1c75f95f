"""The reward's parts and their weighted sum, for reasoning and for general prompts."""

import sys
from types import ModuleType

import pytest

from stages.config import RewardConfig
from stages.kinds.grpo import scoring
from stages.kinds.grpo.metrics import reward_metrics
from stages.kinds.grpo.scoring import apply_rules, set_rewards, total
from stages.rewards.grading import Grade
from stages.training.rollouts import Row
from tests.support.rollouts import a_prompt, a_rollout, answered

LIMIT = 100


def parts_of(rollout, **weights) -> dict[str, float]:
    apply_rules([rollout], RewardConfig(**weights), LIMIT)
    return rollout.reward_parts


@pytest.mark.parametrize(
    "completion, is_truncated, expected",
    [
        (answered("28"), False, {"accuracy": 1.0, "format": 1.0, "language": 1.0}),
        (answered("27", "wait,等等"), False, {"accuracy": 0.0, "format": 1.0, "language": pytest.approx(1 / 3)}),
        (answered("28", "31-3=28"), False, {"accuracy": 1.0, "format": 1.0, "language": 0.0}),  # no words
        ("wait<answer>28</answer>", False, {"accuracy": 1.0, "format": 0.0, "language": 0.0}),
        (answered("28"), True, {"accuracy": 1.0, "format": 0.0, "language": 0.0}),
        ("<think>wait", True, {"accuracy": 0.0, "format": 0.0, "language": 0.0}),
    ],
)
def test_parts(completion, is_truncated, expected):
    assert parts_of(a_rollout(completion, is_truncated=is_truncated)) == expected


def test_accuracy_may_need_format():
    assert parts_of(a_rollout("wait<answer>28</answer>"), accuracy_needs_format=True)["accuracy"] == 0.0
    assert parts_of(a_rollout(answered("28")), accuracy_needs_format=True)["accuracy"] == 1.0


def test_general_prompts_have_no_accuracy():
    assert parts_of(a_rollout(answered("28"), a_prompt("capital", "28")))["accuracy"] == 0.0


def test_totals():
    """Accuracy counts for reasoning only, preference for general prompts only; the general weights multiply."""
    weights = RewardConfig(
        accuracy=1.0, format=0.5, language=0.25, preference=2.0, general_format=0.5, general_language=0.0
    )
    parts = {"accuracy": 1.0, "format": 1.0, "language": 0.8, "preference": -0.5}
    assert total(parts, weights, "reasoning") == pytest.approx(1 + 0.5 + 0.25 * 0.8)
    assert total(parts, weights, "helpful") == total(parts, weights, "safety") == pytest.approx(2 * -0.5 + 0.5 * 0.5)
    assert total({**parts, "accuracy": 0.0}, RewardConfig(), "reasoning") == 1.0


def test_overlong_completions_lose():
    """The last 20 of 100 tokens: half of the way is half of the penalty, on reasoning and on general prompts."""
    weights = RewardConfig(overlong=2.0, overlong_buffer=20)
    parts = parts_of(a_rollout(answered("28"), num_tokens=90), overlong=2.0, overlong_buffer=20)
    assert parts["overlong"] == -0.5 and total(parts, weights, "reasoning") == 2.0 - 2.0 * 0.5
    assert total(parts, weights, "helpful") == 1.0 - 2.0 * 0.5
    assert parts_of(a_rollout(answered("28"), num_tokens=80), overlong=2.0, overlong_buffer=20)["overlong"] == 0.0
    assert "overlong" not in parts_of(a_rollout(answered("28"), num_tokens=90))


def test_a_thought_of_equations_is_in_no_language_and_costs_what_the_recipe_says():
    equation = answered("28", "31-3=28")
    for value in (0.0, 1.0):
        assert parts_of(a_rollout(equation), wordless_language=value)["language"] == value
        assert parts_of(a_rollout(equation, is_truncated=True), wordless_language=value)["language"] == 0.0
        assert parts_of(a_rollout("31-3=28"), wordless_language=value)["language"] == 0.0
        assert parts_of(a_rollout(answered("28", "wait,等等")), wordless_language=value)["language"] == pytest.approx(
            1 / 3
        )
    for no_thought in (" ", "...", "=\n-"):
        assert parts_of(a_rollout(answered("28", no_thought)), wordless_language=1.0)["language"] == 0.0


def test_repetition_is_a_penalty_where_it_has_a_weight():
    """ "a b a b a b" and n = 2: ab ba ab ba ab, 2 of 5 different."""
    rollout = a_rollout("a b a b a b")
    assert parts_of(rollout, repetition=0.5, repetition_ngram=2)["repetition"] == pytest.approx(-0.6)
    assert total(rollout.reward_parts, RewardConfig(repetition=0.5), "reasoning") == pytest.approx(-0.3)
    assert "repetition" not in parts_of(rollout)


def test_partial_credit_reaches_the_reward(monkeypatch):
    monkeypatch.setattr(scoring, "grade_many", lambda pairs: [Grade(0.25) for _ in pairs])
    rollout = a_rollout(answered("28"))
    assert parts_of(rollout)["accuracy"] == 0.25 and total(rollout.reward_parts, RewardConfig(), "reasoning") == 1.25


def test_a_grader_that_fails_is_a_zero_with_its_reason(monkeypatch):
    monkeypatch.setattr(scoring, "grade_many", lambda pairs: [Grade(0.0, "math: killed after 3 s") for _ in pairs])
    rollout = a_rollout(answered("28"))
    assert parts_of(rollout)["accuracy"] == 0.0 and rollout.grader_error == "math: killed after 3 s"
    assert total(rollout.reward_parts, RewardConfig(), "reasoning") == 1.0  # the other parts stand


def test_a_new_rule_is_a_module_a_row_and_a_weight(monkeypatch):
    """A rule that crashes on an empty completion, under the name and weight of overlong."""
    module = ModuleType("tests.own_rule")
    module.part = lambda sample, weights: 1 / len(sample.completion)
    monkeypatch.setitem(sys.modules, "tests.own_rule", module)
    monkeypatch.setitem(scoring.RULES, "overlong", "tests.own_rule")
    good, bad = a_rollout("abcd"), a_rollout("")
    assert parts_of(good, overlong=1.0)["overlong"] == 0.25 and good.grader_error == ""
    assert (
        parts_of(bad, overlong=1.0)["overlong"] == 0.0
        and bad.grader_error == "overlong: ZeroDivisionError: division by zero"
    )


class FixedPreference:
    """Hands out given preferences."""

    def __init__(self, values):
        self.values = values

    def score(self, rollouts):
        return self.values


def test_rewards_are_set():
    rollouts = [a_rollout(answered("28")), a_rollout("paris.", a_prompt("capital", "paris"))]
    apply_rules(rollouts, RewardConfig(), LIMIT)
    set_rewards(rollouts, RewardConfig(preference=1.0, language=0.5), FixedPreference([None, 1.5]))
    assert [r.reward for r in rollouts] == [2.5, 1.5]
    assert "preference" not in rollouts[0].reward_parts and rollouts[1].reward_parts["preference"] == 1.5


def test_metrics():
    rollouts = [
        a_rollout(answered("28"), num_tokens=4),
        a_rollout(answered("27", "so 等等"), num_tokens=6),
        a_rollout("paris.", a_prompt("capital", "paris"), 1, 2),
        a_rollout("<think>", a_prompt("harm", "no"), 1, 8, is_truncated=True),
    ]
    apply_rules(rollouts, RewardConfig(), LIMIT)
    set_rewards(rollouts, RewardConfig(), FixedPreference([None, None, 0.5, 0.25]))
    metrics = reward_metrics([Row.of(rollout) for rollout in rollouts], [False, True])
    expected = {
        "reward/mean": (2 + 1 + 0 + 0) / 4,
        "reward/accuracy": 0.5,
        "reward/format": 1.0,
        "reward/zero_std_frac": 0.5,
        "reward/helpful": 0.5,
        "reward/safety": 0.25,
        "completion/mean_tokens": 5.0,
        "completion/max_tokens": 8,
        "completion/truncated_frac": 0.25,
        "completion/reasoning_tokens": 5.0,
        "completion/language": pytest.approx((1 + 1 / 3) / 2),
        "reward/language": pytest.approx((1 + 1 / 3) / 2),
    }
    assert {name: metrics[name] for name in expected} == expected
