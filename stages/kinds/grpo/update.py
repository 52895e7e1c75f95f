"""One GRPO update: a global batch of rollouts becomes one optimizer step.

The result does not depend on the number of ranks and micro-batches: every loss is divided by counts of the whole batch.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.distributed as dist

from stages.config import GrpoConfig
from stages.engines.training import TrainEngine
from stages.kinds.grpo.reference import KeptReference
from stages.modeling.batching import (
    TokenBatch,
    group_micro_batches_of_ranks,
    lay_out,
    lay_out_groups,
    micro_batches_of_ranks,
)
from stages.modeling.losses import Counts, Terms, correction_weights, k3, loss_terms
from stages.runtime.distributed import control_group
from stages.runtime.worker import Worker
from stages.training.exchange import Tokens, deliver, give_back, windows
from stages.training.rollouts import Row

# Over micro-batches and ranks. `gap`: |policy - sampler| over the `probed_tokens`, which the weights of now have drawn.
SUMMED = ("loss", "kl", "clipped", "entropy", "mismatch_kl", "correction", "tokens", "gap", "probed_tokens")


@dataclass(frozen=True)
class UpdateResult:
    """What one optimizer step gave, the same on every rank."""

    metrics: dict[str, float]  # train/loss, policy/*, tokens/trained
    grad_norm: float  # before clipping
    lr: float


def trained_part(
    batch: list[Row], informative: set[int], mask_truncated: bool, max_tokens: int
) -> tuple[list[Row], Counts]:
    """What of a global batch reaches the forward pass, and what its loss is divided by.

    Args:
        batch: rows of all rollouts of the step.
        informative: numbers of the groups whose rewards differ. The others have no advantage: they are left out, but
            counted, so that the loss is the mean over all.
        mask_truncated: leave out completions that were cut at the length limit, and do not count their tokens
            (DAPO, Yu et al. 2025, sec. 3.4).
        max_tokens: the longest completion that the configuration allows.
    """
    counted = [r for r in batch if not (mask_truncated and r.is_truncated)]
    counts = Counts(len(batch), sum(r.num_completion_tokens for r in counted), max_tokens)
    return [r for r in counted if r.group in informative], counts


class PolicyUpdate:
    """Forward and backward passes of the policy over rollouts."""

    def __init__(
        self,
        worker: Worker,
        config: GrpoConfig,
        engine: TrainEngine,
        reference: KeptReference | None,
        pad_id: int,
        max_tokens: int,
        packed: bool,
    ):
        """Takes what the passes need.

        Args:
            worker: the stage.
            config: of the loss.
            engine: the policy and its optimizer.
            reference: the KL anchor; None where beta is 0.
            pad_id: token id that fills padded rows.
            max_tokens: the longest completion that the configuration allows.
            packed: rows without padding, see `stages/modeling/attention.py`; on the CPU the prompt of a group is then
                in a micro-batch only once.
        """
        self.worker, self.config = worker, config
        self.engine, self.reference = engine, reference
        self.pad_id, self.max_tokens, self.packed = pad_id, max_tokens, packed
        is_sliced = config.deepspeed.sequence_parallel > 1  # a prompt would be in one slice only
        self.shares_prompts = packed and engine.device.type == "cpu" and not is_sliced

    def step(
        self, batch: list[Row], informative: set[int], corrects: bool, step: int, drawn_at: int | None = None
    ) -> UpdateResult:
        """Makes one optimizer step. Collective.

        Args:
            batch: rows of all rollouts of the step, the same on every rank.
            informative: numbers of the groups whose rewards differ.
            corrects: the sampler's logprobs are not the old policy's: the trainer's are.
            step: optimizer steps done before this one.
            drawn_at: the number of the rollout that these weights have drawn; None where an update has changed them.
        """
        trained, counts = trained_part(batch, informative, self.config.mask_truncated, self.max_tokens)
        metrics = self.accumulate(trained, counts, corrects, drawn_at)
        metrics["tokens/trained"] = sum(r.num_tokens for r in trained)
        grad_norm, lr = self.engine.step(step)
        return UpdateResult(metrics, grad_norm, lr)

    def lay_out(self, rollouts: Sequence[Tokens]) -> TokenBatch:
        """The rollouts as rows of tokens, with their completions as targets."""
        if self.shares_prompts:
            return lay_out_groups([r.prompt_ids for r in rollouts], [r.completion_ids for r in rollouts], self.pad_id)
        rows = [np.concatenate([r.prompt_ids, r.completion_ids]) for r in rollouts]
        return lay_out(
            rows,
            [np.arange(len(row)) >= len(r.prompt_ids) for row, r in zip(rows, rollouts)],
            self.pad_id,
            self.engine.device,
            self.packed,
        )

    def forward(self, rollouts: Sequence[Tokens]) -> tuple[torch.Tensor, torch.Tensor, TokenBatch]:
        """The policy's view of the rollouts' completions.

        Returns:
            Logprobs [N] and entropies [N], in nats, of all completion tokens, and how the tokens were laid out.
        """
        batch = self.lay_out(rollouts)
        policy_N, entropy_N = self.engine(*batch.inputs, temperature=self.config.rollout.temperature)
        return policy_N, entropy_N, batch

    def accumulate(
        self, rollouts: list[Row], counts: Counts, corrects: bool, drawn_at: int | None = None
    ) -> dict[str, float]:
        """Adds the gradient of this rank's share of the rollouts. Collective.

        Args:
            rollouts: what `trained_part` left, the same on every rank.
            counts: of the whole step.
            corrects: as in `step`.
            drawn_at: as in `step`.

        Returns:
            train/loss and policy/* over all ranks; the latter are means over tokens. policy/update_mismatch is over
            what these weights have drawn and the probe has compared, and is there only where there is any.
        """
        self.engine.train()
        sums, worst = torch.zeros(len(SUMMED)), torch.zeros(1)
        for indices, drawn in self._micro_batches(rollouts, self._shares(rollouts)):
            rows = [rollouts[i] for i in indices]
            added, difference = self._backward(rows, drawn, counts, corrects, drawn_at)
            sums, worst = sums + added, worst.maximum(difference)
        sums = sums if self.engine.share.is_counted_here else torch.zeros_like(sums)
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
            **({"policy/update_mismatch": total["gap"] / total["probed_tokens"]} if total["probed_tokens"] else {}),
        }

    def _shares(self, rollouts: list[Row]) -> list[list[list[int]]]:
        """The micro-batches of every rank, as indices of the rollouts; ranks that hold rows together have the same."""
        count, budget = self.engine.share.count, self.config.micro_batch_tokens
        if self.shares_prompts:
            shares = group_micro_batches_of_ranks(
                [r.prompt_key for r in rollouts],
                [r.num_prompt_tokens for r in rollouts],
                [r.num_completion_tokens for r in rollouts],
                count,
                budget,
            )
        else:
            shares = micro_batches_of_ranks([r.num_tokens for r in rollouts], count, budget, self.packed)
        return [share for share in shares for _ in range(self.engine.share.num_ranks)]

    def _micro_batches(
        self, rollouts: list[Row], shares: list[list[list[int]]]
    ) -> Iterator[tuple[list[int], list[Tokens]]]:
        """This rank's micro-batches, as indices of the rollouts, with their tokens, which come in time. Collective."""
        rank = self.worker.rank
        for window in windows(shares, rollouts):
            wanted = [[i for number in window for i in share[number]] for share in shares]
            tokens = iter(deliver(rollouts, wanted, rank))
            for number in window:
                indices = shares[rank][number]
                yield indices, [next(tokens) for _ in indices]

    def _backward(
        self, rows: list[Row], rollouts: list[Tokens], counts: Counts, corrects: bool, drawn_at: int | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """One micro-batch. Returns its SUMMED [9] and its largest |trainer - sampler| [1]."""
        temperature = self.config.rollout.temperature
        batch = self.lay_out(rollouts)
        # before the policy's pass: it may be a pass of the same module, and no activations are held meanwhile
        reference_N = self.reference.logprobs(batch, temperature) if self.reference else None
        policy_N, entropy_N = self.engine(*batch.inputs, temperature=temperature)
        sampler_N = _flat([r.rollout_logprobs for r in rollouts], self.engine.device)
        trainer_N = self._trainer_logprobs(rollouts, policy_N)
        correction_N = self._correction(trainer_N, sampler_N, batch, len(rollouts)) if corrects else None
        old_N = trainer_N if corrects else sampler_N
        terms = self._loss_terms(rows, batch, counts, policy_N, old_N, reference_N, correction_N)
        self.engine.backward(terms.loss + policy_N.sum() * 0.0)  # an empty share still takes part in the collectives
        values = [
            terms.loss,
            terms.kl_N.sum(),
            terms.is_clipped_N.sum(),
            entropy_N.sum(),
            k3(trainer_N, sampler_N).sum(),
            sampler_N.new_zeros(()) if correction_N is None else correction_N.sum(),
            torch.tensor(len(sampler_N)),
            *_gap(rows, drawn_at, policy_N.detach(), sampler_N),
        ]
        summed = torch.stack([v.detach().float().cpu().reshape(()) for v in values])
        difference_N = (sampler_N - trainer_N).abs()
        worst = _largest(difference_N) if len(difference_N) else torch.zeros(1)
        return summed, worst

    def _trainer_logprobs(self, rollouts: list[Tokens], policy_N: torch.Tensor) -> torch.Tensor:
        """[N] the trainer's logprobs: those when the rollouts were drawn where they are known, else those of now."""
        known = [r.old_logprobs for r in rollouts if r.old_logprobs is not None]
        assert len(known) in (0, len(rollouts)), "all rollouts of a step have their old logprobs, or none has"
        return _flat(known, self.engine.device) if known else policy_N.detach()

    def _correction(
        self, trainer_N: torch.Tensor, sampler_N: torch.Tensor, batch: TokenBatch, num_sequences: int
    ) -> torch.Tensor:
        """[N] importance weights of trainer over sampler."""
        config = self.config
        return correction_weights(
            config.correction, trainer_N, sampler_N, batch.sequence_N, num_sequences, config.correction_limit
        )

    def _loss_terms(
        self,
        rows: list[Row],
        batch: TokenBatch,
        counts: Counts,
        policy_N: torch.Tensor,
        old_N: torch.Tensor,
        reference_N: torch.Tensor | None,
        correction_N: torch.Tensor | None,
    ) -> Terms:
        """The loss of a micro-batch of B rollouts with N completion tokens, and what is worth watching of it."""
        config, device = self.config, self.engine.device
        lengths_B = torch.tensor([float(r.num_completion_tokens) for r in rows], device=device)
        advantages_B = torch.tensor([r.advantage for r in rows], device=device)
        return loss_terms(
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
            config.dual_clip,
        )

    @torch.no_grad()
    def mismatch(self, rollouts: list[Row]) -> tuple[float, float]:
        """Compares the sampler's logprobs with the trainer's; each rank looks at its share. Collective.

        Args:
            rollouts: rows, the same on every rank, of what the weights that the trainer has now have drawn.

        Returns:
            Mean and largest |sampler - trainer|, in nats a token.
        """
        self.engine.eval()
        world_size, share = self.worker.world_size, self.engine.share
        wanted = [list(range(share.number_of(rank), len(rollouts), share.count)) for rank in range(world_size)]
        mine = deliver(rollouts, wanted, self.worker.rank)
        policy_N, _, _ = self.forward(mine)
        difference_N = (policy_N - _flat([r.rollout_logprobs for r in mine], self.engine.device)).abs().cpu()
        total, worst = torch.tensor([difference_N.sum().item(), float(len(difference_N))]), torch.zeros(1)
        total = total if share.is_counted_here else torch.zeros_like(total)
        if len(difference_N):
            worst = _largest(difference_N)
        if world_size > 1:
            dist.all_reduce(total, group=control_group())
            dist.all_reduce(worst, op=dist.ReduceOp.MAX, group=control_group())
        return (total[0] / total[1].clamp(min=1)).item(), worst.item()

    @torch.no_grad()
    def set_old_logprobs(self, rollouts: list[Row]) -> None:
        """Fills `old_logprobs` with the logprobs of the policy as it is now, where the rollouts are. Collective.

        This pass is needed only where the sampler disagrees and one rollout serves several updates.
        """
        self.engine.eval()
        shares = self._shares(rollouts)
        values: list[np.ndarray] = []
        for indices, drawn in self._micro_batches(rollouts, shares):
            policy_N, _, batch = self.forward(drawn)
            policy_N, sequence_N = policy_N.float().cpu(), batch.sequence_N.cpu()
            values += [policy_N[sequence_N == place].numpy() for place in range(len(indices))]
        held = [[i for indices in share for i in indices] for share in shares]
        held = [
            indices
            if rank % self.engine.share.num_ranks == 0
            else []  # one of those that have the same gives them back
            for rank, indices in enumerate(held)
        ]
        give_back(rollouts, held, values, self.worker.rank)


def _gap(
    rows: list[Row], drawn_at: int | None, policy_N: torch.Tensor, sampler_N: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The sum of |policy - sampler| over the probed tokens that the rollout `drawn_at` has drawn, and their number."""
    is_probed_B = torch.tensor([r.is_probed and r.step == drawn_at for r in rows], dtype=torch.bool)
    lengths_B = torch.tensor([r.num_completion_tokens for r in rows], dtype=torch.int64)
    is_probed_N = is_probed_B.repeat_interleave(lengths_B).to(sampler_N.device)
    return (policy_N - sampler_N).abs()[is_probed_N].sum(), is_probed_N.sum()


def _largest(values_N: torch.Tensor) -> torch.Tensor:
    """The largest of N numbers [1], on the CPU. NaN is infinite: a maximum over ranks could lose it."""
    return values_N.max().nan_to_num(nan=math.inf, posinf=math.inf).cpu().reshape(1)


def _flat(rows: Sequence[np.ndarray], device: torch.device) -> torch.Tensor:
    """[N] the float32 numbers of all rows, one after the other."""
    return torch.from_numpy(np.concatenate([np.empty(0, np.float32), *rows])).to(device)
