"""What changes in the course of a GRPO stage: the domains of its prompts, and what a seed decides."""

import collections

import pytest

from stages.config import ConfigError, GrpoConfig, MixConfig
from stages.kinds.grpo.groups import draw_domain


def domains(step: int, count: int = 400, seed: int = 0, **config) -> collections.Counter:
    """How often each domain is drawn at a step."""
    settings = GrpoConfig(num_steps=10, updates_per_rollout=1, mix=MixConfig(0.5, 0.3, 0.2), **config)
    return collections.Counter(draw_domain(settings, index, step, seed, "preference_rl") for index in range(count))


def test_the_mix_is_drawn_by_its_shares():
    drawn = domains(0)
    assert drawn["reasoning"] / 400 == pytest.approx(0.5, abs=0.08)
    assert drawn["helpful"] / 400 == pytest.approx(0.3, abs=0.08)
    assert drawn["safety"] / 400 == pytest.approx(0.2, abs=0.08)
    assert drawn == domains(0) and drawn != domains(0, seed=1)


def test_general_prompts_only_in_the_last_steps():
    """4 of 10 steps: the mix begins with step index 6."""
    assert [set(domains(step, preference_last_steps=4)) for step in (0, 5)] == [{"reasoning"}] * 2
    assert all(len(domains(step, preference_last_steps=4)) == 3 for step in (6, 9))


def test_a_preference_phase_that_was_ended_has_reasoning_prompts_only():
    settings = GrpoConfig(num_steps=10, updates_per_rollout=1, mix=MixConfig(0.5, 0.3, 0.2))
    assert {draw_domain(settings, index, 9, 0, "s", reasoning_only=True) for index in range(50)} == {"reasoning"}


@pytest.mark.parametrize(
    "schedule, mistake",
    [
        ([[5, 10]], "rising steps"),
        ([[0, 10], [0, 20]], "rising steps"),
        ([[0, 10], [5]], "rising steps"),
        ([], "rising steps"),
        ([[0, 0]], "at least one token"),
    ],
)
def test_wrong_length_schedules(schedule, mistake):
    with pytest.raises(ConfigError, match=mistake):
        GrpoConfig(max_completion_tokens=schedule)


def test_a_run_holds_one_rollout_at_least():
    GrpoConfig(num_steps=10, updates_per_rollout=4)  # the last rollout is cut
    with pytest.raises(ConfigError, match="less than updates_per_rollout"):
        GrpoConfig(num_steps=3, updates_per_rollout=4)
