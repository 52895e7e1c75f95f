"""What of a global batch reaches the forward pass, and what the loss is divided by."""

from types import SimpleNamespace

from stages.config import GrpoConfig
from stages.kinds.grpo.trainer import GrpoTrainer
from stages.modeling.losses import Counts
from tests.support.rollouts import a_rollout


def what_is_trained(**config) -> tuple[list, Counts]:
    """Three groups of two: with signal, without signal, with signal and a truncated completion."""
    batch = [
        a_rollout("", group=0, num_tokens=3),
        a_rollout("", group=0, num_tokens=4),
        a_rollout("", group=1, num_tokens=5),
        a_rollout("", group=1, num_tokens=6),
        a_rollout("", group=2, num_tokens=7),
        a_rollout("", group=2, num_tokens=20, is_truncated=True),
    ]
    seen = []
    trainer = GrpoTrainer.__new__(GrpoTrainer)
    trainer.config = GrpoConfig(num_steps=4, updates_per_rollout=1, beta=0.0, **config)
    trainer.worker = SimpleNamespace(seed=0, stage="s", rank=0, progress=lambda *_: None)
    trainer.policy = SimpleNamespace(
        max_tokens=20, accumulate=lambda kept, counts, corrects: seen.append((kept, counts)) or {}
    )
    trainer.engine = SimpleNamespace(step=lambda step: (0.0, 0.0))
    trainer.step, trainer.times, trainer.probe, trainer.informative, trainer.reference = (
        0,
        {},
        {"corrects": False},
        {0, 2},
        None,
    )
    trainer._record = lambda *_: None
    trainer._update(batch)
    kept, counts = seen[0]
    assert trainer.step == 1
    return [len(r.completion_ids) for r in kept], counts


def test_groups_without_signal_are_left_out_and_still_counted():
    assert what_is_trained() == ([3, 4, 7, 20], Counts(num_sequences=6, num_tokens=45, max_tokens=20))


def test_masked_completions_are_left_out_and_their_tokens_are_not_counted():
    assert what_is_trained(mask_truncated=True) == ([3, 4, 7], Counts(num_sequences=6, num_tokens=25, max_tokens=20))
