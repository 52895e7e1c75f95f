"""The repetition penalty: the share of n-grams of a completion that stood in it before [V2 B.3.2]."""

from stages.rewards.rules.sample import Sample
from stages.text.repetition import repeated_ngram_share


def part(sample: Sample, weights) -> float:
    """0 for a text without repetition, falling to -1."""
    return -repeated_ngram_share(sample.completion, weights.repetition_ngram)
