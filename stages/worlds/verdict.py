"""The verdict of a rule-based judge on two completions: a little noisy, as that of an LLM judge."""

import random

_NOISE, _FIRST_BIAS = 0.2, 0.1  # of one comparison, in units of helpfulness


def noisy_verdict(gap: float, rng: random.Random) -> int:
    """Turns how much more helpful the first of two completions is into one of Arena-Hard's five verdicts.

    Like an LLM judge it is a little noisy and prefers what it reads first; callers average several verdicts with the
    positions at random.

    Returns:
        2 for A>>B, 1 for A>B, 0 for A=B, -1 for B>A, -2 for B>>A.
    """
    gap += _FIRST_BIAS + rng.gauss(0.0, _NOISE)
    strength = (abs(gap) > 0.3) + (abs(gap) > 1.0)
    return strength if gap > 0 else -strength
