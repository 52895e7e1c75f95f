"""The language-consistency reward: Num(words in the target language) / Num(words) of the chain of thought [N eq. 7]."""

from stages.config import RewardConfig
from stages.rewards.rules.scored_completion import ScoredCompletion
from stages.text.completion import thought_of
from stages.text.language import language_consistency


def part(scored: ScoredCompletion, weights: RewardConfig) -> float:
    """Returns the share 0..1; `wordless_language` of a thought of numbers; 0 for the wrong form and for no thought."""
    if not scored.is_well_formed:
        return 0.0
    thought = thought_of(scored.completion)
    share = language_consistency(thought, scored.prompt.language)
    if share is None:
        return weights.wordless_language if any(map(str.isalnum, thought)) else 0.0
    return share
