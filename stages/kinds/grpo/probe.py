"""The sampler beside the trainer: whose weights it holds, and how far its logprobs are from the trainer's."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch

from stages.config import BF16_TOLERANCE, GrpoConfig
from stages.engines.sampling import DrawsAhead, Sampler
from stages.engines.vllm_models import WAY_OUT
from stages.kinds.grpo.update import PolicyUpdate
from stages.prompting.encoding import Encoder
from stages.prompting.prompt import Prompt
from stages.runtime.errors import HasFix, InputError
from stages.runtime.worker import Worker
from stages.training.rollouts import Rollout, Row, gather

PROBES_PER_RANK = 2  # completions that each rank, or each group of ranks with the same rows, compares after a sync
PROBE_TEXT, PROBE_TOKENS = "1 + 1 = ?", 8  # what each server is asked, and the length of its answers


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
    rounds = config.deepspeed.precision == "bf16" and config.rollout.logprob_tolerance < BF16_TOLERANCE
    first = f"bf16 rounds by so much: set rollout.logprob_tolerance={BF16_TOLERANCE}; else " if rounds else ""
    if config.lora.is_on and config.lora.sampler == "adapter":
        return f"{first}the sampler's adapters are not the trainer's: use lora.sampler=merged"
    if config.rollout.is_vllm:
        return f"{first}vLLM does not compute this model as transformers does: {WAY_OUT}"
    return f"{first}no sampler of this program can take this model"


def probe_servers(
    worker: Worker, config: GrpoConfig, policy: PolicyUpdate, engine: DrawsAhead, encoder: Encoder, step: int
) -> None:
    """Compares a few tokens of each server with the trainer. Collective.

    A rollout is probed at a few completions, which may all be of one server.

    Args:
        worker: the stage.
        config: its `rollout.logprob_tolerance` decides.
        policy: the trainer's forward pass.
        engine: has the weights that the trainer has now.
        encoder: of prompts.
        step: optimizer steps done, for the message.

    Raises:
        InputError: a server differs before anything was trained.
        SamplerDisagrees: the same after an update.
    """
    prompt = Prompt("probe", PROBE_TEXT, "", "reasoning", "en", "")
    prompt_ids = encoder.prompt(prompt.text)
    temperature, tokens = config.rollout.temperature, min(PROBE_TOKENS, config.max_completion_tokens[0][1])
    for url, group in engine.draw_on_each(prompt_ids, worker.world_size, temperature, tokens).items():
        drawn = [
            Rollout(prompt, 0, np.asarray(prompt_ids), one.token_ids, one.logprobs, one.is_truncated, completion="")
            for one in (group if worker.is_main else [])
        ]
        _, worst = policy.mismatch(gather(drawn, worker.rank))
        _require_agreement(worker, config, worst, step, f"the rollout server {url}: its")


def probe_sampler(
    worker: Worker, config: GrpoConfig, policy: PolicyUpdate, fresh: list[Row], step: int, is_stale: bool = False
) -> Probe:
    """Compares the logprobs of a few rollouts with the trainer's. Collective.

    Args:
        worker: the stage.
        config: its `correction`, `agreement` and `rollout.logprob_tolerance` decide.
        policy: the trainer's forward pass.
        fresh: rollouts that were drawn with the weights that the trainer has now; a few, evenly spread, are compared
            and marked as probed.
        step: optimizer steps done, for the message.
        is_stale: earlier weights have drawn them: the difference is measured, and no error. The servers were probed
            when they got those weights.

    Returns:
        The difference, and whether the trainer's logprobs are to be used.

    Raises:
        InputError: the largest difference is over the tolerance, or not a number, before anything was trained: this
            sampler cannot take this model.
        SamplerDisagrees: the same after an update. A stale or wrong weight would poison every later step.
    """
    count = PROBES_PER_RANK * worker.world_size // config.deepspeed.sequence_parallel
    probed = fresh[:: max(1, len(fresh) // count)][:count]
    for row in probed:
        row.is_probed = True
    mean, worst = policy.mismatch(probed)
    if not is_stale:
        _require_agreement(worker, config, worst, step, "the sampler's")
    return Probe(mean, worst, config.correction != "none" and mean > config.agreement)


def _require_agreement(worker: Worker, config: GrpoConfig, worst: float, step: int, whose: str) -> None:
    """Raises what `probe_sampler` raises; `whose` logprobs they are begins the message."""
    tolerance = config.rollout.logprob_tolerance
    if worst <= tolerance:
        return
    limit = f"limit {tolerance:.0e}, stages.{worker.stage}.rollout.logprob_tolerance"
    difference = f"{whose} logprobs differ from the trainer's by {worst:.2e}"
    if step == 0:
        raise InputError(f"{difference} before the first update ({limit}): {_way_out(config)}")
    raise SamplerDisagrees(
        f"{difference} after the weight sync of step {step} ({limit})", f"if it does so again, {_way_out(config)}"
    )
