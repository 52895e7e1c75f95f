"""Length as a part of the reward: a soft penalty before the hard limit. Yu et al. 2025 (DAPO), eq. 13."""

from stages.rewards.rules.sample import Sample


def part(sample: Sample, weights) -> float:
    return overlong_penalty(sample.num_tokens, sample.max_tokens, weights.overlong_buffer)


def overlong_penalty(num_tokens: int, max_tokens: int, buffer: int) -> float:
    """0 up to max_tokens - buffer, then falling in a straight line to -1 at max_tokens.

    >>> [overlong_penalty(n, max_tokens=100, buffer=20) for n in (80, 90, 100, 101)]
    [0.0, -0.5, -1.0, -1.0]
    """
    if num_tokens <= max_tokens - buffer:
        return 0.0
    return max(-1.0, (max_tokens - buffer - num_tokens) / buffer)
