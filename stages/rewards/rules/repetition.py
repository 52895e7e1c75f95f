"""The repetition penalty: minus the share of n-grams that the completion has used before [V2 B.3.2]."""

from stages.config import RewardConfig
from stages.rewards.rules.scored_completion import ScoredCompletion
from stages.text.repetition import repeated_ngram_share


def part(scored: ScoredCompletion, weights: RewardConfig) -> float:
    """Returns 0 for a text without repetition, falling towards -1."""
    return -repeated_ngram_share(scored.completion, weights.repetition_ngram)
