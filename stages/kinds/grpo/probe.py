"""The sampler beside the trainer: whose weights it holds, and how far its logprobs are from the trainer's."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch

from stages.config import GrpoConfig
from stages.engines.sampling import Sampler
from stages.kinds.grpo.update import PolicyUpdate
from stages.runtime.worker import Worker
from stages.training.rollouts import Rollout

PROBES_PER_RANK = 2  # completions that each rank compares after a sync


class SyncedSampler:
    """A sampler and the step whose weights it holds."""

    def __init__(self, engine: Sampler):
        self.engine = engine
        self.step: int | None = 0  # it starts with the policy directory's weights; None: with none that can be used

    def sync(self, step: int, weights: Iterable[tuple[str, torch.Tensor]]) -> None:
        """Takes the weights of `step`, as (HF name, tensor) pairs in layer order. Collective under ZeRO-3."""
        self.engine.sync(weights)
        self.step = step

    def sleep(self) -> bool:
        """Gives a GPU's memory to the trainer, if the engine can. Returns whether it sleeps, with its weights gone."""
        sleeps = self.engine.sleep()
        if sleeps:
            self.step = None
        return sleeps

    def forget(self) -> None:
        """Says that the weights are of a step that was given up: the next rollout begins with a sync."""
        self.step = None


@dataclass(frozen=True)
class Probe:
    """How far the sampler's logprobs are from the trainer's after a sync, in nats a token."""

    mean: float  # of |sampler - trainer|
    max: float
    corrects: bool  # the trainer's logprobs are the old policy's, and importance weights correct for the sampler


def probe_sampler(worker: Worker, config: GrpoConfig, policy: PolicyUpdate, fresh: list[Rollout], step: int) -> Probe:
    """Compares the logprobs of a few rollouts with the trainer's. Collective.

    Args:
        worker: the stage.
        config: its `correction`, `agreement` and `rollout.logprob_tolerance` decide.
        policy: the trainer's forward pass.
        fresh: rollouts that were drawn with the weights that the trainer has now; a few, evenly spread, are compared.
        step: optimizer steps done, for the message.

    Returns:
        The difference, and whether the trainer's logprobs are to be used.

    Raises:
        RuntimeError: the largest difference is over the tolerance, or not a number. A stale or wrong weight would
            poison every later step.
    """
    count = PROBES_PER_RANK * worker.world_size
    mean, worst = policy.mismatch(fresh[:: max(1, len(fresh) // count)][:count])
    tolerance = config.rollout.logprob_tolerance
    if not worst <= tolerance:
        raise RuntimeError(
            f"the sampler's logprobs differ from the trainer's by {worst:.2e} after the weight sync of step {step} "
            f"(limit {tolerance:.0e}, stages.{worker.stage}.rollout.logprob_tolerance)"
        )
    return Probe(mean, worst, config.correction != "none" and mean > config.agreement)
