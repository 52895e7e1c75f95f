"""Groups are graded while others are still sampled: what a slow, failing or crashing grader does to them, and templates
that open the thought.
"""

import sys
import threading
from types import ModuleType, SimpleNamespace

import pytest

from stages.config import GrpoConfig
from stages.engines.sampling import Completion
from stages.kinds.grpo.groups import GroupSampler
from stages.prompting.encoding import Encoder
from stages.prompting.prompt import Prompt
from stages.rewards import grading as verifiers
from stages.training.rollout_log import RolloutLog
from stages.worlds.tiny_world.tokenizer import build_tokenizer

PROMPTS = [Prompt(f"p{i}", "what is31-3?", "math", "reasoning", "en", "28", "own") for i in range(3)]
TEXT = "<think>wait,31-3=28</think><answer>28</answer>"


@pytest.fixture(scope="module")
def tokenizer():
    return build_tokenizer()


class Written:
    """A sampler that has written its completions down; hands groups out one by one, as an engine does."""

    def __init__(self, tokenizer):
        self.ids = tokenizer(TEXT, add_special_tokens=False)["input_ids"] + [tokenizer.eos_token_id]

    def sample(self, prompt_ids, seeds, n, temperature, max_tokens, on_group):
        for i in range(len(prompt_ids)):
            on_group(i, [Completion(self.ids, [0.0] * len(self.ids), False) for _ in range(n)])


def grouped(grade, monkeypatch, tokenizer):
    """Rollouts of the three prompts, graded by this function."""
    module = ModuleType("tests.own")
    module.grade = grade
    monkeypatch.setitem(sys.modules, "tests.own", module)
    monkeypatch.setitem(verifiers.VERIFIERS, "own", "tests.own")
    worker = SimpleNamespace(seed=0, stage="s", rank=0, world_size=1)
    config = GrpoConfig(
        num_steps=9, prompts_per_step=3, updates_per_rollout=1, group_size=2, max_completion_tokens=[[0, 32]]
    )
    source = SimpleNamespace(get=lambda index, domain: PROMPTS[index])
    return GroupSampler(worker, config, Encoder(tokenizer, "plain"), source, Written(tokenizer), None).rollout(0, [], 0)


def test_a_crash_of_one_grader_is_a_counted_zero_and_survives_in_the_log(monkeypatch, tokenizer, tmp_path):
    def grade(completion, prompt):
        return 1.0 if prompt.id != "p1" else 1 / 0

    rollouts = grouped(grade, monkeypatch, tokenizer)
    assert [r.reward_parts["accuracy"] for r in rollouts] == [1, 1, 0, 0, 1, 1] and [r.reward for r in rollouts] == [
        2,
        2,
        1,
        1,
        2,
        2,
    ]
    assert [r.grader_error for r in rollouts[2:4]] == ["own: ZeroDivisionError: division by zero"] * 2 and not rollouts[
        0
    ].grader_error
    log = RolloutLog(tmp_path)
    log.write(0, rollouts)
    assert log.read(0) == rollouts


def test_a_slow_group_does_not_hold_the_others_up(monkeypatch, tokenizer):
    """The first group's grader waits until the last group is graded: one after the other they would wait forever."""
    last_is_graded = threading.Event()

    def grade(completion, prompt):
        if prompt.id == "p2":
            last_is_graded.set()
        return float(last_is_graded.wait(30))

    assert [r.reward_parts["accuracy"] for r in grouped(grade, monkeypatch, tokenizer)] == [1.0] * 6


def test_a_template_that_opens_the_thought_writes_part_of_the_completion(tokenizer):
    sampled = tokenizer("31-3=28</think><answer>28</answer>", add_special_tokens=False)["input_ids"] + [
        tokenizer.eos_token_id
    ]
    opened = Encoder(tokenizer, "User:{{ messages[0].content }}Assistant:<think>")
    plain = Encoder(tokenizer, "plain")
    assert opened.opening == "<think>" and plain.opening == ""
    assert opened.decode([sampled]) == plain.decode([sampled]) == ["31-3=28</think><answer>28</answer>"]
