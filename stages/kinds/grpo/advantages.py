"""From the rewards of a rollout to what the policy learns from: groups with a signal, and advantages."""

from dataclasses import dataclass

import torch

from stages.config import GrpoConfig
from stages.modeling.losses import advantages, is_zero_variance
from stages.training.rollouts import Row


def by_group(rollouts: list[Row], group_size: int) -> list[list[Row]]:
    """Cuts rollouts, completions of one prompt side by side, into groups of `group_size`."""
    return [rollouts[i : i + group_size] for i in range(0, len(rollouts), group_size)]


def has_signal(group: list[Row]) -> bool:
    """Whether the rewards of the group differ: otherwise its advantages are 0."""
    return not bool(is_zero_variance(torch.tensor([[r.reward for r in group]])).item())


@dataclass(frozen=True)
class ScoredRollouts:
    """The rollouts of one sampling phase that the policy trains on."""

    rollouts: list[Row]  # P x G, completions of one prompt side by side
    informative: set[int]  # numbers of the groups whose rewards differ: only these reach a forward pass
    is_zero_variance: list[bool]  # [P], for each group whether all its rewards are the same

    @classmethod
    def of(cls, rollouts: list[Row], group_size: int) -> "ScoredRollouts":
        """Finds the groups with a signal among P x `group_size` rollouts that have their rewards."""
        groups = by_group(rollouts, group_size)
        signals = [has_signal(group) for group in groups]
        informative = {group[0].group for group, differs in zip(groups, signals) if differs}
        return cls(rollouts, informative, [not differs for differs in signals])


def set_advantages(rollouts: list[Row], config: GrpoConfig) -> None:
    """Fills the `advantage` of P x G rollouts, completions of one prompt side by side, from their rewards [N eq. 3]."""
    rewards_PG = torch.tensor([r.reward for r in rollouts]).view(-1, config.group_size)
    advantages_PG = advantages(rewards_PG, config.scale_rewards, config.advantage_eps)
    for rollout, value in zip(rollouts, advantages_PG.flatten().tolist()):
        rollout.advantage = value
