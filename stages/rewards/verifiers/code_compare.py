"""Is what a program gave what was expected? Outside of the sandbox, on text and plain JSON data.

Standard output is compared as contest checkers do (testlib's wcmp and rcmp): word by word, white space apart, numbers
within a tolerance.
"""

import math
import re
from typing import Any

_INTEGER = re.compile(r"[-+]?\d+")
_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")


def same_output(given: str, expected: str, compare: str = "tokens", tolerance: float = 1e-6) -> bool:
    """`exact`: only white space at line ends and at the end does not count."""
    if compare == "exact":
        return _trimmed(given) == _trimmed(expected)
    words, wanted = given.split(), expected.split()
    return len(words) == len(wanted) and all(
        word == want or _close(word, want, tolerance) for word, want in zip(words, wanted)
    )


def same_value(given: Any, expected: Any, tolerance: float = 1e-6) -> bool:
    """Equality of plain data; numbers within the tolerance where one of them is not an integer."""
    if isinstance(given, bool) or isinstance(expected, bool):
        return given is expected or (type(given) in (bool, int) and type(expected) in (bool, int) and given == expected)
    if isinstance(given, (int, float)) and isinstance(expected, (int, float)):
        return given == expected or (
            (isinstance(given, float) or isinstance(expected, float)) and _within(given, expected, tolerance)
        )
    if isinstance(given, list) and isinstance(expected, list):
        return len(given) == len(expected) and all(same_value(*pair, tolerance) for pair in zip(given, expected))
    if isinstance(given, dict) and isinstance(expected, dict):
        return given.keys() == expected.keys() and all(
            same_value(given[key], expected[key], tolerance) for key in expected
        )
    return type(given) is type(expected) and given == expected


def _trimmed(text: str) -> list[str]:
    lines = [line.rstrip() for line in text.splitlines()]
    while lines and not lines[-1]:
        lines.pop()
    return lines


def _close(word: str, want: str, tolerance: float) -> bool:
    """Two numbers, at least one of them not written as an integer: integers are compared as they stand."""
    if not (_NUMBER.fullmatch(word) and _NUMBER.fullmatch(want)) or (
        _INTEGER.fullmatch(word) and _INTEGER.fullmatch(want)
    ):
        return False
    return _within(float(word), float(want), tolerance)


def _within(given: float, expected: float, tolerance: float) -> bool:
    try:
        return math.isfinite(given) and abs(given - expected) <= tolerance * max(1.0, abs(expected))
    except OverflowError:  # an integer beyond all floats
        return False
