"""The language-consistency reward: Num(words in the target language) / Num(words) of the chain of thought [N eq. 7]."""

from stages.rewards.rules.sample import Sample
from stages.text.completion import thought_of
from stages.text.language import language_consistency


def part(sample: Sample, weights) -> float:
    """0..1; 0 where there is no chain of thought in its tags, or no words in it."""
    return (
        sample.is_well_formed and language_consistency(thought_of(sample.completion), sample.prompt.language)
    ) or 0.0
