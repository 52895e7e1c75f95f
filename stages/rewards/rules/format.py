"""The format reward: 1 for a completion that is a thought and an answer in their tags and nothing else [N eq. 4]."""

from stages.config import RewardConfig
from stages.rewards.rules.scored_completion import ScoredCompletion


def part(scored: ScoredCompletion, weights: RewardConfig) -> float:
    """Returns 1 for a well-formed completion that was not cut off, else 0."""
    return float(scored.is_well_formed)
