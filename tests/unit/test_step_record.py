"""What GRPO logs of a rollout and of its steps: names, order and values."""

import pytest

from stages.config import GrpoConfig
from stages.kinds.grpo.advantages import ScoredRollouts, set_advantages
from stages.kinds.grpo.probe import Probe
from stages.kinds.grpo.record import StepRecorder, measured
from stages.kinds.grpo.update import UpdateResult
from stages.training.rollouts import Rollout, Row
from tests.support.rollouts import a_prompt, answered

UPDATE = UpdateResult(
    {"train/loss": 0.5, "policy/kl": 0.01, "policy/entropy": 0.3, "policy/mismatch_max": 1e-6, "tokens/trained": 12},
    grad_norm=0.7,
    lr=1e-3,
)


class Stage:
    """What `StepRecorder` asks of a worker."""

    def __init__(self):
        self.lines, self.steps, self.samples, self.metrics = [], [], [], {}

    def say(self, line):
        self.lines.append(line)

    def log_step(self, step, metrics):
        self.steps.append((step, dict(metrics)))

    def log_samples(self, rows):
        self.samples += rows


def a_group(group: int, *rewards: float, **more) -> list[Row]:
    parts = {"accuracy": 1.0, "format": 1.0, "language": 1.0}
    return [
        Row.of(
            Rollout(
                a_prompt(id=f"p{group}"),
                group,
                [1, 2],
                [3, 4, 5],
                [0.0] * 3,
                False,
                answered("28"),
                reward=reward,
                reward_parts=dict(parts),
                **more,
            )
        )
        for reward in rewards
    ]


def a_recorder(**config) -> tuple[StepRecorder, Stage]:
    stage = Stage()
    return StepRecorder(stage, GrpoConfig(num_steps=8, group_size=2, updates_per_rollout=2, **config)), stage


def test_groups_with_a_signal_and_advantages():
    rollouts = a_group(0, 0.0, 1.0) + a_group(1, 1.0, 1.0)
    scored = ScoredRollouts.of(rollouts, group_size=2)
    assert scored == ScoredRollouts(rollouts, {0}, [False, True])
    set_advantages(rollouts, GrpoConfig(group_size=2, advantage_eps=0.0))
    assert [r.advantage for r in rollouts] == [pytest.approx(-(0.5**0.5)), pytest.approx(0.5**0.5), 0.0, 0.0]


def test_a_rollouts_metrics_are_logged_with_each_step_and_some_with_its_first_alone():
    recorder, stage = a_recorder()
    rollouts = a_group(0, 0.0, 1.0) + a_group(1, 1.0, 1.0)
    recorder.start_rollout()
    recorder.first_step_metrics.update({"watch/accuracy": 0.9})
    recorder.describe_rollout(rollouts, ScoredRollouts.of(rollouts, 2), first=0, begins=True)
    for step in (1, 2):
        recorder.times["train"] = 0.5
        recorder.log_step(step, rollouts[:2], UPDATE, Probe(1e-6, 2e-6, corrects=False))
    (_, first), (_, second) = stage.steps
    assert set(first) - set(second) == {"watch/accuracy", "tokens/sampled"} and not set(second) - set(first)
    assert first["tokens/sampled"] == 12 and first["reward/mean"] == second["reward/mean"] == 0.75
    assert first["reward/zero_std_frac"] == 0.5 and first["reward/grader_errors"] == 0
    assert first["train/tokens"] == 6 and first["perf/step_s"] == 0.5 and first["perf/tokens_per_s"] == 12
    at_the_end = [
        "watch/accuracy",
        "tokens/sampled",
        *UPDATE.metrics,
        "policy/probe_mean",
        "policy/probe_max",
        "train/grad_norm",
        "train/lr",
        "train/tokens",
        "perf/tokens_per_s",
        "perf/step_s",
        "time/train",
    ]
    assert list(first)[0] == "reward/mean" and list(first)[-len(at_the_end) :] == at_the_end
    assert stage.lines[0].startswith("step 1/8 reward 0.750 accuracy 1.000 tokens 3.0 ")
    assert stage.lines[0].endswith("kl 0.0100 entropy 0.300 mismatch 1.0e-06 grad_norm 0.70 train 0.50s")
    assert list(stage.metrics)[:2] == ["reward/mean", "reward/accuracy"] and "train/loss" not in stage.metrics


def test_what_there_is_none_of_is_left_out_of_the_log():
    """The thoughts of a step were all equations, which are in no language: `language nan` was printed."""
    recorder, _ = a_recorder()
    recorder.rollout_metrics = {"reward/mean": 1.0, "completion/mean_tokens": 21.0, "completion/language": float("nan")}
    assert recorder.headline() == "reward 1.000 tokens 21.0"


def test_grader_errors_are_counted_each_time_and_said_once():
    recorder, stage = a_recorder(oversampling=2.0)
    left_over = a_group(0, 0.0, 1.0, step=2, grader_error="old")
    fresh = a_group(1, 0.0, 1.0, step=4, grader_error="math: killed")
    rollouts = left_over + fresh
    for begins in (True, False):
        recorder.start_rollout()
        recorder.describe_rollout(rollouts, ScoredRollouts.of(rollouts, 2), first=4, begins=begins)
        assert recorder.rollout_metrics["reward/grader_errors"] == 2
        assert recorder.rollout_metrics["reward/sampled_groups"] == 1
    assert stage.lines == ["2 of 2 completions of step 4 could not be graded and got 0: math: killed"]


def test_dynamic_sampling_is_described_by_all_groups_that_were_drawn():
    """Those that are trained on have right and wrong completions by choice: they would hide what is learned."""
    recorder, _ = a_recorder(oversampling=1.0)
    left_over = a_group(0, 0.0, 1.0, step=2)
    fresh = [
        *a_group(1, 0.0, 1.0, step=4, index=7),
        *a_group(2, 1.0, 1.0, step=4, index=8),
        *a_group(3, 1.0, 1.0, step=4, index=9),
    ]
    trained = left_over + fresh[:2]
    recorder.start_rollout()
    recorder.describe_rollout(left_over + fresh, ScoredRollouts.of(trained, 2), first=4, begins=True)
    found = recorder.rollout_metrics
    assert found["reward/mean"] == pytest.approx(5 / 6) and found["reward/zero_std_frac"] == pytest.approx(2 / 3)
    assert found["reward/reasoning_prompts"] == found["reward/sampled_groups"] == 3
    recorder.describe_rollout(left_over, ScoredRollouts.of(left_over, 2), first=4, begins=True)  # nothing new was drawn
    assert recorder.rollout_metrics["reward/mean"] == 0.5


def test_the_first_completion_of_the_first_groups_is_kept():
    recorder, stage = a_recorder(num_sample_prompts=2)
    recorder.log_samples(5, a_group(0, 0.0, 1.0) + a_group(1, 0.25, 1.0) + a_group(2, 0.5, 1.0))
    assert [(row["step"], row["prompt_id"], row["reward"]) for row in stage.samples] == [
        (5, "p0", 0.0),
        (5, "p1", 0.25),
    ]


def test_a_block_is_measured():
    times: dict[str, float] = {}
    with measured(times, "sync"):
        pass
    assert list(times) == ["sync"] and times["sync"] >= 0
    assert StepRecorder(Stage(), GrpoConfig()).headline() == ""
