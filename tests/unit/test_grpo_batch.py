"""What of a global batch reaches the forward pass, and what the loss is divided by."""

from types import SimpleNamespace

import torch

from stages.config import GrpoConfig
from stages.kinds.grpo.update import PolicyUpdate, UpdateResult
from stages.modeling.losses import Counts
from tests.support.rollouts import a_row


def what_is_trained(**config) -> tuple[list, Counts]:
    """Three groups of two: with signal, without signal, with signal and a truncated completion."""
    batch = [
        a_row("", group=0, num_tokens=3),
        a_row("", group=0, num_tokens=4),
        a_row("", group=1, num_tokens=5),
        a_row("", group=1, num_tokens=6),
        a_row("", group=2, num_tokens=7),
        a_row("", group=2, num_tokens=20, is_truncated=True),
    ]
    seen, steps = [], []

    def accumulate(trained, counts, corrects, drawn_at):
        assert not corrects
        seen.append((trained, counts))
        return {}

    engine = SimpleNamespace(device=torch.device("cpu"), step=lambda step: steps.append(step) or (0.5, 0.25))
    worker = SimpleNamespace(seed=0, stage="s", rank=0, world_size=1)
    settings = GrpoConfig(num_steps=4, updates_per_rollout=1, beta=0.0, **config)
    update = PolicyUpdate(worker, settings, engine, None, pad_id=0, max_tokens=20, packed=True)
    update.accumulate = accumulate
    result = update.step(batch, {0, 2}, corrects=False, step=3)
    ((trained, counts),) = seen
    assert steps == [3]  # one optimizer step
    num_tokens = sum(r.num_prompt_tokens + r.num_completion_tokens for r in trained)
    assert result == UpdateResult({"tokens/trained": num_tokens}, grad_norm=0.5, lr=0.25)
    return [r.num_completion_tokens for r in trained], counts


def test_groups_without_signal_are_left_out_and_still_counted():
    assert what_is_trained() == ([3, 4, 7, 20], Counts(num_sequences=6, num_tokens=45, max_tokens=20))


def test_masked_completions_are_left_out_and_their_tokens_are_not_counted():
    assert what_is_trained(mask_truncated=True) == ([3, 4, 7], Counts(num_sequences=6, num_tokens=25, max_tokens=20))
