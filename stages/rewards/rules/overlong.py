"""The length penalty: it falls gradually before completions reach the hard limit. Yu et al. 2025 (DAPO), eq. 13."""

from stages.config import RewardConfig
from stages.rewards.rules.scored_completion import ScoredCompletion


def part(scored: ScoredCompletion, weights: RewardConfig) -> float:
    """Returns the penalty for the length of a completion, -1..0."""
    return overlong_penalty(scored.num_tokens, scored.max_tokens, weights.overlong_buffer)


def overlong_penalty(num_tokens: int, max_tokens: int, buffer: int) -> float:
    """Returns 0 up to max_tokens - buffer, then a value that falls linearly to -1 at max_tokens (DAPO, eq. 13).

    Args:
        num_tokens: length of the completion, tokens.
        max_tokens: most tokens of a completion.
        buffer: number of tokens before the limit over which the penalty grows.

    >>> [overlong_penalty(n, max_tokens=100, buffer=20) for n in (80, 90, 100, 101)]
    [0.0, -0.5, -1.0, -1.0]
    """
    if num_tokens <= max_tokens - buffer:
        return 0.0
    return max(-1.0, (max_tokens - buffer - num_tokens) / buffer)
