"""The sampler beside the trainer: whose weights it holds, and how far its logprobs are from the trainer's."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch

from stages.config import GrpoConfig
from stages.engines.sampling import Sampler
from stages.engines.vllm_models import WAY_OUT
from stages.kinds.grpo.update import PolicyUpdate
from stages.runtime.errors import HasFix, InputError
from stages.runtime.worker import Worker
from stages.training.rollouts import Rollout

PROBES_PER_RANK = 2  # completions that each rank compares after a sync


class SyncedSampler:
    """A sampler and the step whose weights it holds."""

    def __init__(self, engine: Sampler, step: int | None = 0):
        self.engine = engine
        self.step = step  # 0: it starts with the policy directory's weights; None: with none that can be used

    def sync(self, step: int, weights: Iterable[tuple[str, torch.Tensor]]) -> None:
        """Takes the weights of `step`, see `Sampler.sync`. Collective under ZeRO-3."""
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


class SamplerDisagrees(RuntimeError, HasFix):
    """The sampler no longer draws from the policy that is trained."""

    def __init__(self, message: str, fix: str):
        super().__init__(message)
        self.fix = fix


def _way_out(config: GrpoConfig) -> str:
    """What can be done where sampler and trainer differ."""
    rounding = "in bf16 up to 0.2 is rounding: set rollout.logprob_tolerance=0.2"
    if config.lora.is_on and config.lora.sampler == "adapter":
        return f"the sampler's adapters are not the trainer's: use lora.sampler=merged ({rounding})"
    if config.rollout.is_vllm:
        return f"vLLM does not compute this model as transformers does: {WAY_OUT} ({rounding})"
    return f"{rounding}; in fp32 no sampler of this program can take this model"


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
        InputError: the largest difference is over the tolerance, or not a number, before anything was trained: this
            sampler cannot take this model.
        SamplerDisagrees: the same after an update. A stale or wrong weight would poison every later step.
    """
    count = PROBES_PER_RANK * worker.world_size
    mean, worst = policy.mismatch(fresh[:: max(1, len(fresh) // count)][:count])
    tolerance = config.rollout.logprob_tolerance
    if not worst <= tolerance:
        limit = f"limit {tolerance:.0e}, stages.{worker.stage}.rollout.logprob_tolerance"
        difference = f"the sampler's logprobs differ from the trainer's by {worst:.2e}"
        if step == 0:
            raise InputError(f"{difference} before the first update ({limit}): {_way_out(config)}")
        raise SamplerDisagrees(
            f"{difference} after the weight sync of step {step} ({limit})", f"if it does so again, {_way_out(config)}"
        )
    return Probe(mean, worst, config.correction != "none" and mean > config.agreement)
