"""The language-consistency reward: Num(words in the target language) / Num(words) of the chain of thought [N eq. 7]."""

from stages.config import RewardConfig
from stages.rewards.rules.scored_completion import ScoredCompletion
from stages.text.completion import thought_of
from stages.text.language import language_consistency


def part(scored: ScoredCompletion, weights: RewardConfig) -> float:
    """Returns the share 0..1; 0 where the completion is not well-formed or its thought has no words."""
    if not scored.is_well_formed:
        return 0.0
    return language_consistency(thought_of(scored.completion), scored.prompt.language) or 0.0
