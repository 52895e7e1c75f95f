"""The GRPO family as pure functions: advantages, losses, and corrections for what a sampler drew differently.

One optimizer step has P prompts x G completions; a forward pass sees B of them, with N tokens in all. Tokens are flat
[N] tensors, without padding; `sequence_N` says which of the B completions a token belongs to. What a token counts is
divided by counts of the whole step (`Counts`), over all micro-batches and ranks, so that their gradients simply add up.

Three tables name what a configuration may choose:

    ADVANTAGES    `scale_rewards`   from the rewards of a group to advantages
    LOSSES        `loss`            objective of a token, its weight in the step, level of the ratio
    CORRECTIONS   `correction`      what is done where trainer and sampler disagree about a token

To add one, write the function here, enter it in its table and its name in `stages/config/choices.py`; a test holds the
two against each other.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

# Logarithms of ratios end here, as in verl (core_algos.py), so that no ratio is infinite: e^20 is 485 million, while
# e^99.9 is no number of fp32. Where two policies differ that much about a token, it has no gradient.
MAX_LOG_RATIO = 20.0


def by_group(rewards_PG: Tensor, eps: float) -> Tensor:
    """A_i = (r_i - mean(r)) / (std(r) + eps) within each group [N eq. 3]; sample standard deviation.

    >>> import torch
    >>> by_group(torch.tensor([[1., 0., 1., 0.]]), eps=0.0)
    tensor([[ 0.8660, -0.8660,  0.8660, -0.8660]])
    """
    return _centered(rewards_PG) / (rewards_PG.std(1, keepdim=True) + eps)


def by_batch(rewards_PG: Tensor, eps: float) -> Tensor:
    """Group means, but one standard deviation for all groups of the rollout.

    Z. Liu et al. 2025, "Tricks or traps? A deep dive into RL for LLM reasoning" (arXiv 2508.08221). REINFORCE++ (Hu et
    al. 2025) is another one: it divides by the standard deviation of what the group means have been taken from.
    """
    return _centered(rewards_PG) / (rewards_PG.std() + eps)


def unscaled(rewards_PG: Tensor, eps: float) -> Tensor:
    """Group means only. Z. Liu et al. 2025 (Dr. GRPO): dividing favours prompts that are too easy or too hard."""
    return _centered(rewards_PG)


def _centered(rewards_PG: Tensor) -> Tensor:
    """Rewards less the mean of their group."""
    return rewards_PG - rewards_PG.mean(1, keepdim=True)


# What the centered rewards are divided by -> (rewards [P, G], eps) -> advantages [P, G].
ADVANTAGES: dict[str, Callable[[Tensor, float], Tensor]] = {
    "group": by_group,  # the standard deviation of their group
    "batch": by_batch,  # that of all rewards of the rollout
    "none": unscaled,  # nothing
}


def advantages(rewards_PG: Tensor, scale: str = "group", eps: float = 1e-4) -> Tensor:
    """Turns rewards into advantages; a group of equal rewards gets exactly 0, whatever rounding says.

    Args:
        rewards_PG: [P, G], a row for each prompt.
        scale: A name of ADVANTAGES.
        eps: Added to the standard deviation.

    Returns:
        Advantages [P, G].
    """
    return ADVANTAGES[scale](rewards_PG, eps).masked_fill(is_zero_variance(rewards_PG)[:, None], 0.0)


def is_zero_variance(rewards_PG: Tensor) -> Tensor:
    """[P]: groups whose completions all got the same reward: nothing to learn from them but the KL."""
    return rewards_PG.max(1).values - rewards_PG.min(1).values < 1e-6


def sequence_mean(values_N: Tensor, sequence_N: Tensor, lengths_B: Tensor) -> Tensor:
    """[B] mean of each completion's values; 0 for one without tokens."""
    return values_N.new_zeros(len(lengths_B)).index_add(0, sequence_N, values_N) / lengths_B.clamp(min=1)


def log_ratio(policy_N: Tensor, old_N: Tensor, sequence_N: Tensor, lengths_B: Tensor, level: str) -> Tensor:
    """[N] log(pi_theta / pi_old) at a level, between -MAX_LOG_RATIO and MAX_LOG_RATIO.

    `token`: each token's own (DeepSeekMath, Shao et al. 2024); `sequence`: the mean over its completion (GSPO, Zheng et
    al. 2025).
    """
    difference_N = policy_N - old_N
    if level == "sequence":
        difference_N = sequence_mean(difference_N, sequence_N, lengths_B)[sequence_N]
    return difference_N.clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO)


def k3(policy_N: Tensor, reference_N: Tensor) -> Tensor:
    """k3 estimator of KL(policy || reference) of each token: exp(d) - d - 1, d = log reference - log policy.

    Schulman 2020; [N eq. 2]. d ends at MAX_LOG_RATIO. It has no lower end: there exp(d) does not overflow, and the
    gradient of the rest, 1, is what draws a policy back that is sure of a token which the reference rules out.
    """
    d = (reference_N - policy_N).clamp(max=MAX_LOG_RATIO)
    return d.exp() - d - 1


def clipped(
    log_ratio_N: Tensor, policy_N: Tensor, advantages_N: Tensor, low: float, high: float, dual: float = 0.0
) -> tuple[Tensor, Tensor]:
    """-min(rho A, clip(rho, 1 - low, 1 + high) A) [N eq. 1], and 1 where the clip took the gradient away.

    With the paper's epsilon of 10 the lower bound never binds and the upper is 11. `dual` above 0 is dual clip (Ye et
    al. 2020, arXiv 1912.09729): where A < 0 the value is at least dual x A, because nothing else bounds a ratio
    there.
    """
    ratio_N = log_ratio_N.exp()
    free_N, bound_N = ratio_N * advantages_N, ratio_N.clamp(1 - low, 1 + high) * advantages_N
    value_N, is_clipped_N = free_N.minimum(bound_N), free_N > bound_N
    if dual > 0:
        least_N = dual * advantages_N
        is_below_N = (advantages_N < 0) & (value_N < least_N)
        value_N, is_clipped_N = least_N.where(is_below_N, value_N), is_clipped_N | is_below_N
    return -value_N, is_clipped_N.to(policy_N.dtype)


def cispo(
    log_ratio_N: Tensor, policy_N: Tensor, advantages_N: Tensor, low: float, high: float, dual: float = 0.0
) -> tuple[Tensor, Tensor]:
    """-sg(min(rho, 1 + high)) A log pi: the weight is clipped, and no token loses its gradient.

    MiniMax 2025 (M1), eq. 4-5; `low` and `dual` are not used: the weight is bounded whatever the advantage.
    """
    ratio_N = log_ratio_N.detach().exp()
    is_clipped_N = (ratio_N > 1 + high) & (advantages_N > 0)
    return -ratio_N.clamp(max=1 + high) * advantages_N * policy_N, is_clipped_N.to(policy_N.dtype)


@dataclass(frozen=True)
class Counts:
    """Counts of the whole optimizer step, over all ranks and micro-batches."""

    num_sequences: int  # P x G, those that were left out included
    num_tokens: int  # completion tokens, those of masked completions not included
    max_tokens: int  # the longest completion that the configuration allows


def per_sequence(lengths_B: Tensor, counts: Counts) -> Tensor:
    """[B] weight of each token: (1/G) sum_i (1/|o_i|) sum_t, the original GRPO (Shao et al. 2024, eq. 3)."""
    return 1 / lengths_B.clamp(min=1) / counts.num_sequences


def per_token(lengths_B: Tensor, counts: Counts) -> Tensor:
    """[B] weight of each token: the mean over all tokens of the step. DAPO, Yu et al. 2025, eq. 8."""
    return lengths_B.new_full(lengths_B.shape, 1 / max(counts.num_tokens, 1))


def per_constant(lengths_B: Tensor, counts: Counts) -> Tensor:
    """[B] weight of each token: a constant, whatever the lengths. Dr. GRPO, Liu et al. 2025."""
    return lengths_B.new_full(lengths_B.shape, 1 / (counts.num_sequences * counts.max_tokens))


@dataclass(frozen=True)
class Loss:
    """One member of the family: a row of LOSSES."""

    # (log_ratio_N, policy_N, advantages_N, clip_low, clip_high, dual_clip) -> (loss_N, is_clipped_N)
    objective: Callable[[Tensor, Tensor, Tensor, float, float, float], tuple[Tensor, Tensor]]
    weight: Callable[[Tensor, Counts], Tensor]  # (lengths_B, counts) -> weight of a token [B]
    level: str  # of the ratio: token or sequence


# The objective of a token, what it weighs in the mean over the step, and the level of its ratio.
LOSSES: dict[str, Loss] = {
    "grpo": Loss(clipped, per_sequence, "token"),  # DeepSeekMath, Shao et al. 2024; [N eq. 1]
    "bnpo": Loss(clipped, per_token, "token"),  # normalised over the batch: with counts of the whole step, that is dapo
    "dapo": Loss(clipped, per_token, "token"),  # Yu et al. 2025
    "dr_grpo": Loss(clipped, per_constant, "token"),  # Liu et al. 2025
    "gspo": Loss(clipped, per_sequence, "sequence"),  # Zheng et al. 2025
    "cispo": Loss(cispo, per_token, "token"),  # MiniMax 2025 (M1)
}


def _truncated(ratio: Tensor, limit: float) -> Tensor:
    """A ratio beyond the limit becomes the limit."""
    return ratio.clamp(max=limit)


def _masked(ratio: Tensor, limit: float) -> Tensor:
    """A ratio beyond the limit becomes 0: the token is left out."""
    return ratio.masked_fill(ratio > limit, 0.0)


# The level of the ratio trainer / sampler, and what is done to one beyond the limit.
CORRECTIONS: dict[str, tuple[str, Callable[[Tensor, float], Tensor]]] = {
    # TIS: Yao et al. 2025, "Your efficient RL framework secretly brings you off-policy RL training"
    "token_truncate": ("token", _truncated),
    "token_mask": ("token", _masked),  # MIS / IcePop
    "sequence_truncate": ("sequence", _truncated),  # Liu et al. 2025, "When speed kills stability"
    "sequence_mask": ("sequence", _masked),
}


def correction_weights(
    name: str, trainer_N: Tensor, sampler_N: Tensor, sequence_N: Tensor, num_sequences: int, limit: float
) -> Tensor:
    """What a token's objective is multiplied by, because the sampler's policy drew it and not the trainer's.

    That is pi_trainer / pi_sampler, of the token or of its whole completion (the product), cut at `limit`.

    Args:
        name: A name of CORRECTIONS.
        trainer_N: [N] the trainer's logprobs.
        sampler_N: [N] the sampler's logprobs.
        sequence_N: [N] which completion each token belongs to.
        num_sequences: B, the number of completions.
        limit: The largest ratio that stays as it is.

    Returns:
        Weights [N]; constants without gradient.
    """
    level, cut = CORRECTIONS[name]
    difference_N = (trainer_N - sampler_N).detach()
    if level == "sequence":
        difference_N = difference_N.new_zeros(num_sequences).index_add(0, sequence_N, difference_N)[sequence_N]
    return cut(difference_N.clamp(max=MAX_LOG_RATIO).exp(), limit)


@dataclass(frozen=True)
class Terms:
    """What a forward pass adds to the loss of its step, and what is worth watching."""

    loss: Tensor  # [], this forward pass's share of the step's loss; the only one with a gradient
    kl_N: Tensor  # [N] k3 estimates, nats
    is_clipped_N: Tensor  # [N] 1 where the clip took the gradient away, else 0


def loss_terms(
    name: str,
    policy_N: Tensor,
    old_N: Tensor,
    reference_N: Tensor | None,
    advantages_B: Tensor,
    sequence_N: Tensor,
    lengths_B: Tensor,
    counts: Counts,
    clip_low: float,
    clip_high: float,
    beta: float = 0.0,
    kl: str = "k3",
    correction_N: Tensor | None = None,
    dual_clip: float = 0.0,
) -> Terms:
    """The sum over tokens of weight x (correction x objective + beta x KL) [N eq. 1-3 and its relatives].

    Args:
        name: A name of LOSSES.
        policy_N: [N] logprobs of the trained policy; the only argument with a gradient.
        old_N: [N] logprobs of the policy that the ratio is taken to.
        reference_N: [N] logprobs of the reference, or None where beta is 0.
        advantages_B: [B] advantage of each completion.
        sequence_N: [N] which completion each token belongs to.
        lengths_B: [B] tokens of each completion, as floats.
        counts: Of the whole optimizer step.
        clip_low: The ratio is clipped below 1 - clip_low.
        clip_high: The ratio is clipped above 1 + clip_high.
        beta: Weight of the KL.
        kl: k3, or k3_unbiased: multiplied by the ratio, so that its gradient is that of the KL even off policy
            (DeepSeek-V3.2, eq. 7).
        correction_N: [N] weights of `correction_weights`, or None for 1.
        dual_clip: Where the advantage is negative, the largest ratio that counts; 0: any.
    """
    loss = LOSSES[name]
    log_ratio_N = log_ratio(policy_N, old_N, sequence_N, lengths_B, loss.level)
    loss_N, is_clipped_N = loss.objective(
        log_ratio_N, policy_N, advantages_B[sequence_N], clip_low, clip_high, dual_clip
    )
    if correction_N is not None:
        loss_N = loss_N * correction_N
    kl_N = policy_N.new_zeros(policy_N.shape)
    if reference_N is not None:
        kl_N = k3(policy_N, reference_N)
        loss_N = loss_N + beta * (kl_N * log_ratio_N.exp() if kl == "k3_unbiased" else kl_N)
    return Terms((loss_N * loss.weight(lengths_B, counts)[sequence_N]).sum(), kl_N.detach(), is_clipped_N)
