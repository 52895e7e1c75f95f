"""The format reward: is the completion a thought and an answer in their tags, and nothing else [N eq. 4]?"""

from stages.rewards.rules.sample import Sample


def part(sample: Sample, weights) -> float:
    """1 for a well-formed completion that was not cut off, else 0."""
    return float(sample.is_well_formed)
