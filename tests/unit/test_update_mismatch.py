"""What an update computes is compared with the rollout that its weights have drawn; dropout raises the alarm."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from stages.config import GrpoConfig
from stages.kinds.grpo.update import PolicyUpdate
from stages.modeling.losses import Counts
from stages.modeling.policy_model import PolicyModel
from stages.modeling.sequences import Share
from stages.training.health import alarms
from stages.training.rollouts import Row
from tests.support.families import tiny
from tests.support.rollouts import a_rollout


def an_update(dropout: float) -> PolicyUpdate:
    policy = PolicyModel(tiny("gpt2", resid_pdrop=dropout, attn_pdrop=dropout, embd_pdrop=dropout))

    class Engine:
        device, share = torch.device("cpu"), Share(1, 0, True)

        def __call__(self, *args, **kwargs):
            return policy(*args, **kwargs)

        def train(self):
            policy.train()

        def eval(self):
            policy.eval()

        def backward(self, loss):
            loss.backward()

    worker = SimpleNamespace(seed=0, stage="s", rank=0, world_size=1)
    config = GrpoConfig(num_steps=4, updates_per_rollout=1, beta=0.0, micro_batch_tokens=40)
    return PolicyUpdate(worker, config, Engine(), None, pad_id=0, max_tokens=20, packed=False)


def drawn_by(update: PolicyUpdate, step: int):
    """Rollouts whose sampler had the policy's own logprobs."""
    rollouts = []
    for group, count in enumerate((6, 9, 4)):
        rollout = a_rollout("", group=group, num_tokens=count)
        rollout.step = step
        rollout.prompt_ids = np.array([5, 6, 7], np.int32)
        rollout.completion_ids = np.arange(10, 10 + count, dtype=np.int32)
        rollouts.append(rollout)
    update.engine.eval()
    for rollout in rollouts:
        rollout.rollout_logprobs = update.forward([rollout])[0].detach().numpy()
    rows = [Row.of(rollout) for rollout in rollouts]
    for row in rows[:2]:
        row.is_probed = True
    return rows


def metrics_of(update: PolicyUpdate, step: int, drawn_at: int | None) -> dict[str, float]:
    torch.manual_seed(0)
    rollouts = drawn_by(update, step)
    return update.accumulate(rollouts, Counts(3, 19, 20), corrects=False, drawn_at=drawn_at)


def test_an_update_that_computes_what_was_sampled_is_quiet():
    metrics = metrics_of(an_update(0.0), step=4, drawn_at=4)
    assert metrics["policy/update_mismatch"] < 1e-6
    assert not alarms([{"step": 5, "policy/probe_mean": 1e-7, **metrics}])


def test_the_update_is_measured_on_the_tokens_that_the_probe_compared():
    """Rounding in bf16 is larger where the model is less sure, so other tokens would raise false alarms."""
    update = an_update(0.0)
    rows = drawn_by(update, step=4)
    rows[2].here.rollout_logprobs = rows[2].here.rollout_logprobs + 1
    assert update.accumulate(rows, Counts(3, 19, 20), corrects=False, drawn_at=4)["policy/update_mismatch"] < 1e-6
    rows[1].here.rollout_logprobs = rows[1].here.rollout_logprobs + 0.5
    metrics = update.accumulate(rows, Counts(3, 19, 20), corrects=False, drawn_at=4)
    assert metrics["policy/update_mismatch"] == pytest.approx(0.5 * 9 / (6 + 9), abs=1e-5)


def test_dropout_raises_the_alarm_though_the_probe_sees_nothing():
    metrics = metrics_of(an_update(0.2), step=4, drawn_at=4)
    (alarm,) = alarms([{"step": 5, "policy/probe_mean": 1e-7, **metrics}])
    assert alarm.name == "sampler_mismatch" and "dropout" in alarm.message and "dropout=false" in alarm.advice


@pytest.mark.parametrize(("step", "drawn_at"), [(4, None), (3, 4)])
def test_what_earlier_weights_have_drawn_may_differ(step, drawn_at):
    """In later updates of a rollout, and of completions that were left over from an earlier one."""
    metrics = metrics_of(an_update(0.2), step, drawn_at)
    assert "policy/update_mismatch" not in metrics


@pytest.mark.parametrize(
    ("gap", "probe", "is_alarm"), [(0.05, 0.02, False), (0.3, 0.02, True), (9e-4, 1e-7, False), (2e-3, 1e-7, True)]
)
def test_the_limit_belongs_to_what_the_probe_saw(gap, probe, is_alarm):
    row = {"step": 1, "policy/update_mismatch": gap, "policy/probe_mean": probe}
    assert [alarm.name for alarm in alarms([row])] == ["sampler_mismatch"] * is_alarm
