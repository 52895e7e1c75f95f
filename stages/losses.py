"""The GRPO loss as pure functions on plain tensors. Notation of Nature 645 (2025), eq. 1-3; B completions of at most T tokens."""
import torch


def advantages(rewards_PG: torch.Tensor, scale: str = "group", eps: float = 1e-4) -> torch.Tensor:
    """A_i = (r_i - mean(r)) / std(r) within each group [N eq. 3]; sample standard deviation plus eps.

    rewards_PG [P, G]. `scale`: group, batch (one standard deviation for all groups) or none (Dr. GRPO). A group of equal rewards gets
    exactly 0, whatever rounding says.
    >>> advantages(torch.tensor([[1., 0., 1., 0.]]), eps=0.0)
    tensor([[ 0.8660, -0.8660,  0.8660, -0.8660]])
    """
    centered = rewards_PG - rewards_PG.mean(1, keepdim=True)
    if scale == "group":
        centered = centered / (rewards_PG.std(1, keepdim=True) + eps)
    elif scale == "batch":
        centered = centered / (rewards_PG.std() + eps)
    return centered.masked_fill(is_zero_variance(rewards_PG)[:, None], 0.0)


def is_zero_variance(rewards_PG: torch.Tensor) -> torch.Tensor:
    """[P]: groups whose completions all got the same reward; they have no gradient but the KL's."""
    return rewards_PG.max(1).values - rewards_PG.min(1).values < 1e-6


def k3(policy: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    """k3 estimator of KL(policy || reference) per token, Schulman 2020: exp(d) - d - 1 with d = log reference - log policy. [N eq. 2]"""
    d = reference - policy
    return torch.exp(d) - d - 1


def importance_ratio(policy_BT: torch.Tensor, old_BT: torch.Tensor, mask_BT: torch.Tensor, level: str) -> torch.Tensor:
    """pi_theta / pi_old [B, T]: of each token, or the geometric mean over its sequence (GSPO)."""
    difference = (policy_BT - old_BT) * mask_BT
    if level == "token":
        return torch.exp(difference)
    mean_B1 = (difference.sum(1) / mask_BT.sum(1).clamp(min=1))[:, None]
    return torch.exp(mean_B1).expand_as(policy_BT)


def token_weights(mask_BT: torch.Tensor, loss: str, num_sequences: int, num_tokens: int, max_tokens: int) -> torch.Tensor:
    """What each token's term counts in the global loss, so that micro-batches and ranks simply add up.

    grpo: (1/N) sum_i (1/|o_i|) sum_t (DeepSeekMath); dapo and bnpo: mean over all tokens; dr_grpo: a constant, N * max_tokens.
    N (`num_sequences`) and `num_tokens` are counts of the whole optimizer step.
    """
    if loss == "grpo":
        return mask_BT / mask_BT.sum(1, keepdim=True).clamp(min=1) / num_sequences
    if loss in ("dapo", "bnpo"):
        return mask_BT / num_tokens
    return mask_BT / (num_sequences * max_tokens)


def grpo_terms(policy_BT, old_BT, reference_BT, advantages_B, mask_BT, clip_low: float, clip_high: float, beta: float, level: str = "token"):
    """Per-token loss -min(rho A, clip(rho) A) + beta k3 [N eq. 1-2], and what is worth watching. All [B, T]; mask is 1 on completion tokens.

    Returns (loss_BT, kl_BT, is_clipped_BT); reference_BT may be None when beta is 0.
    """
    ratio_BT = importance_ratio(policy_BT, old_BT, mask_BT, level)
    advantage_B1 = advantages_B[:, None]
    clipped_BT = ratio_BT.clamp(1 - clip_low, 1 + clip_high)
    loss_BT = -torch.min(ratio_BT * advantage_B1, clipped_BT * advantage_B1)
    is_clipped_BT = (ratio_BT * advantage_B1 > clipped_BT * advantage_B1).float()
    kl_BT = k3(policy_BT, reference_BT) if reference_BT is not None else torch.zeros_like(loss_BT)
    if beta:
        loss_BT = loss_BT + beta * kl_BT
    return loss_BT, kl_BT.detach(), is_clipped_BT
