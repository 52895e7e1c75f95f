"""What an engineer plots of a rollout: rewards and their parts, and the lengths of completions."""

from collections.abc import Iterable

import torch

from stages.kinds.grpo.scoring import ALWAYS, RULES
from stages.training.rollouts import Row


def reward_metrics(rollouts: list[Row], is_zero_variance: list[bool]) -> dict[str, float]:
    """reward/* and completion/* of the completions of a rollout.

    Args:
        rollouts: rows of P x G, with their rewards.
        is_zero_variance: [P], for each group whether all its rewards are the same.

    Returns:
        Means over all completions, and over those of reasoning, helpful and safety prompts where there are any.
        completion/language is over the completions that have words to judge.
    """
    rewards = torch.tensor([r.reward for r in rollouts])
    reasoning = [r for r in rollouts if r.domain == "reasoning"]
    lengths = [r.num_completion_tokens for r in rollouts]
    metrics = {
        "reward/mean": rewards.mean().item(),
        "reward/std": rewards.std().item(),
        "reward/zero_std_frac": sum(is_zero_variance) / len(is_zero_variance),
        "completion/mean_tokens": sum(lengths) / len(lengths),
        "completion/max_tokens": max(lengths),
        "completion/truncated_frac": mean(r.is_truncated for r in rollouts),
    }
    if reasoning:
        metrics |= {
            "reward/accuracy": mean(r.reward_parts["accuracy"] for r in reasoning),
            "reward/format": mean(r.reward_parts["format"] for r in reasoning),
            "reward/language": mean(r.reward_parts["language"] for r in reasoning),
            "completion/language": mean(r.language for r in reasoning if r.language is not None),
            "completion/reasoning_tokens": mean(r.num_completion_tokens for r in reasoning),
            "reward/reasoning_prompts": len({r.index for r in reasoning}),
        }
    metrics |= {
        f"reward/{name}": mean(r.reward_parts[name] for r in rollouts)
        for name in RULES
        if name not in ALWAYS and name in rollouts[0].reward_parts
    }
    for domain in ("helpful", "safety"):
        values = [
            r.reward_parts["preference"] for r in rollouts if r.domain == domain and "preference" in r.reward_parts
        ]
        if values:
            metrics[f"reward/{domain}"] = mean(values)
    return metrics


def mean(values: Iterable[float]) -> float:
    """The mean; NaN of nothing."""
    values = list(values)
    return sum(values) / len(values) if values else float("nan")
