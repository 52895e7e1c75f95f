"""One GRPO update: a global batch of rollouts becomes one optimizer step, whatever the number of ranks and
micro-batches.
"""

import torch
import torch.distributed as dist

from stages.config import GrpoConfig
from stages.engines.training import TrainEngine
from stages.kinds.grpo.reference import Reference
from stages.modeling.batching import TokenBatch, group_micro_batches, lay_out, lay_out_groups, micro_batches
from stages.modeling.losses import Counts, correction_weights, loss_terms
from stages.runtime.distributed import control_group
from stages.runtime.worker import Worker
from stages.training.rollouts import Rollout

SUMMED = ("loss", "kl", "clipped", "entropy", "mismatch_kl", "correction", "tokens")


class PolicyUpdate:
    """Forward and backward passes of the policy over rollouts. `packed`: without padding, see
    stages/modeling/attention.py, and on the CPU with the prompt of a group once in a micro-batch.
    """

    def __init__(
        self,
        worker: Worker,
        config: GrpoConfig,
        engine: TrainEngine,
        reference: Reference | None,
        pad_id: int,
        max_tokens: int,
        packed: bool,
    ):
        self.worker, self.config, self.engine, self.reference = worker, config, engine, reference
        self.pad_id, self.max_tokens, self.packed = pad_id, max_tokens, packed
        self.shares_prompts = packed and engine.device.type == "cpu"

    def forward(self, rollouts: list[Rollout]) -> tuple[torch.Tensor, torch.Tensor, TokenBatch]:
        """Policy logprobs and entropies of all completion tokens, flat [N], and how they were laid out."""
        if self.shares_prompts:
            batch = lay_out_groups([r.prompt_ids for r in rollouts], [r.completion_ids for r in rollouts], self.pad_id)
        else:
            batch = lay_out(
                [r.prompt_ids + r.completion_ids for r in rollouts],
                [[False] * len(r.prompt_ids) + [True] * len(r.completion_ids) for r in rollouts],
                self.pad_id,
                self.engine.device,
                self.packed,
            )
        policy_N, entropy_N = self.engine(*batch.inputs, temperature=self.config.rollout.temperature)
        return policy_N, entropy_N, batch

    def accumulate(self, rollouts: list[Rollout], counts: Counts, corrects: bool) -> dict[str, float]:
        """Backward over this rank's share of `rollouts`; returns what the metrics need, over all ranks. `corrects`: the
        sampler's logprobs are not the old policy's.
        """
        self.engine.train()
        sums, worst = torch.zeros(len(SUMMED)), torch.zeros(1)
        for indices in self._shares(rollouts):
            added, difference = self._backward([rollouts[i] for i in indices], counts, corrects)
            sums, worst = sums + added, worst.maximum(difference)
        if self.worker.world_size > 1:
            dist.all_reduce(sums, group=control_group())
            dist.all_reduce(worst, op=dist.ReduceOp.MAX, group=control_group())
        total = dict(zip(SUMMED, sums.tolist()))
        tokens = max(total["tokens"], 1.0)
        return {
            "train/loss": total["loss"],
            "policy/kl": total["kl"] / tokens,
            "policy/clip_frac": total["clipped"] / tokens,
            "policy/entropy": total["entropy"] / tokens,
            "policy/mismatch_kl": total["mismatch_kl"] / tokens,
            "policy/mismatch_max": worst.item(),
            **({"policy/correction": total["correction"] / tokens} if corrects else {}),
        }

    def _shares(self, rollouts: list[Rollout]) -> list[list[int]]:
        share = self.worker.world_size, self.worker.rank, self.config.micro_batch_tokens
        if self.shares_prompts:
            return group_micro_batches([r.prompt_ids for r in rollouts], [r.completion_ids for r in rollouts], *share)
        return micro_batches([r.num_tokens for r in rollouts], *share, self.packed)

    def _backward(self, rollouts: list[Rollout], counts: Counts, corrects: bool) -> tuple[torch.Tensor, torch.Tensor]:
        """One micro-batch. Returns its SUMMED [7] and its largest |trainer - sampler| [1]."""
        config, device = self.config, self.engine.device
        policy_N, entropy_N, batch = self.forward(rollouts)
        reference_N = self.reference.logprobs(batch, config.rollout.temperature) if self.reference else None
        sampler_N = _flat([r.rollout_logprobs for r in rollouts], device)
        trainer_N = (
            _flat([r.old_logprobs for r in rollouts], device)
            if rollouts and rollouts[0].old_logprobs is not None
            else policy_N.detach()
        )
        old_N, correction_N = sampler_N, None
        if corrects:
            old_N = trainer_N
            correction_N = correction_weights(
                config.correction, trainer_N, sampler_N, batch.sequence_N, len(rollouts), config.correction_limit
            )
        lengths_B = torch.tensor([float(len(r.completion_ids)) for r in rollouts], device=device)
        advantages_B = torch.tensor([r.advantage for r in rollouts], device=device)
        terms = loss_terms(
            config.loss,
            policy_N,
            old_N,
            reference_N,
            advantages_B,
            batch.sequence_N,
            lengths_B,
            counts,
            config.clip_low,
            config.clip_high,
            config.beta,
            config.kl,
            correction_N,
        )
        self.engine.backward(terms.loss + policy_N.sum() * 0.0)  # an empty share still takes part in the collectives
        d = sampler_N - trainer_N  # k3 of KL(trainer || sampler)
        values = [
            terms.loss,
            terms.kl_N.sum(),
            terms.is_clipped_N.sum(),
            entropy_N.sum(),
            (d.exp() - d - 1).sum(),
            correction_N.sum() if corrects else d.new_zeros(()),
            torch.tensor(len(d)),
        ]
        return torch.stack([v.detach().float().cpu().reshape(()) for v in values]), d.abs().max().cpu().reshape(
            1
        ) if len(d) else torch.zeros(1)

    @torch.no_grad()
    def mismatch(self, rollouts: list[Rollout]) -> tuple[float, float]:
        """Mean and largest |sampler - trainer| logprob of these rollouts, each rank looking at its share of them."""
        self.engine.eval()
        mine = rollouts[self.worker.rank :: self.worker.world_size]
        policy_N, _, _ = self.forward(mine)
        difference_N = (policy_N - _flat([r.rollout_logprobs for r in mine], self.engine.device)).abs().cpu()
        total, worst = torch.tensor([difference_N.sum().item(), float(len(difference_N))]), torch.zeros(1)
        if len(difference_N):
            worst[0] = difference_N.max()
        if self.worker.world_size > 1:
            dist.all_reduce(total, group=control_group())
            dist.all_reduce(worst, op=dist.ReduceOp.MAX, group=control_group())
        return (total[0] / total[1].clamp(min=1)).item(), worst.item()

    @torch.no_grad()
    def set_old_logprobs(self, rollouts: list[Rollout]) -> None:
        """Fills old_logprobs with those of the policy as it is now: a pass that is only needed when the sampler
        disagrees and one rollout serves several updates.
        """
        self.engine.eval()
        mine: dict[int, list[float]] = {}
        for indices in self._shares(rollouts):
            policy_N, _, batch = self.forward([rollouts[i] for i in indices])
            for place, index in enumerate(indices):
                mine[index] = policy_N[batch.sequence_N == place].tolist()
        shares: list = [mine]
        if self.worker.world_size > 1:
            shares = [None] * self.worker.world_size
            dist.all_gather_object(shares, mine, group=control_group())
        for index, values in (item for share in shares for item in share.items()):
            rollouts[index].old_logprobs = values


def _flat(rows: list[list[float]], device: torch.device) -> torch.Tensor:
    return torch.tensor([value for row in rows for value in row], device=device)
