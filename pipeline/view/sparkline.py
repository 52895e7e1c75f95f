"""A row of small bars: how a number went over the steps."""

import itertools
import math
from collections.abc import Sequence

BARS = "▁▂▃▄▅▆▇█"
PLAIN_BARS = "_.-=+*#@"  # for terminals without these letters


def sparkline(values: Sequence[float], width: int, bars: str = BARS) -> str:
    """The values as bars between the smallest and the largest of them; more than `width` are averaged in groups.

    >>> sparkline([0, 1, 2, 3], 4), sparkline([5, 5], 4), sparkline(range(100), 4)
    ('▁▃▆█', '▁▁', '▁▃▆█')
    """
    means = _means([value for value in values if math.isfinite(value)], width)
    if not means:
        return ""
    low, high = min(means), max(means)
    span = (high - low) or 1.0
    return "".join(bars[round((value - low) / span * (len(bars) - 1))] for value in means)


def _means(values: Sequence[float], width: int) -> list[float]:
    """The values in at most `width` groups of neighbours, each by its mean."""
    count = min(width, len(values))
    edges = [number * len(values) // count for number in range(count + 1)] if count else []
    return [sum(values[start:end]) / (end - start) for start, end in itertools.pairwise(edges)]
