"""Compares a program's output with the expected one, outside of the sandbox, as text or as plain JSON data.

Standard output is compared as contest checkers do it (testlib's wcmp and rcmp): word by word, ignoring white space,
with numbers equal within a tolerance. Whole numbers are compared by their value, as LiveCodeBench does: 05 and +5 are
5, -0 is 0.
"""

import math
import re
from typing import Any

_INTEGER = re.compile(r"[-+]?[0-9]+")
_NUMBER = re.compile(r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")


def same_output(given: str, expected: str, compare: str = "tokens", tolerance: float = 1e-6) -> bool:
    """Returns whether two outputs are the same.

    Args:
        given: the program's standard output.
        expected: the test's output.
        compare: "tokens" compares words and numbers; "exact" ignores only white space at line ends and at the end.
        tolerance: absolute or relative difference of numbers that are not both whole ("tokens" only).
    """
    if compare == "exact":
        return _trimmed(given) == _trimmed(expected)
    words, wanted = given.split(), expected.split()
    return len(words) == len(wanted) and all(
        word == want or _close(word, want, tolerance) for word, want in zip(words, wanted)
    )


def same_value(given: Any, expected: Any, tolerance: float = 1e-6) -> bool:
    """Returns whether two values of plain data are equal; numbers within the tolerance, unless both are integers."""
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
    """Returns whether two words are the same whole number, or numbers within the tolerance."""
    if not (_NUMBER.fullmatch(word) and _NUMBER.fullmatch(want)):
        return False
    if _INTEGER.fullmatch(word) and _INTEGER.fullmatch(want):
        return _whole(word) == _whole(want)
    return _within(float(word), float(want), tolerance)


def _whole(word: str) -> str:
    """Returns a whole number in its one normal form: as text, because numbers of any length are compared."""
    digits = word.lstrip("+-").lstrip("0") or "0"
    return f"-{digits}" if word.startswith("-") and digits != "0" else digits


def _within(given: float, expected: float, tolerance: float) -> bool:
    try:
        return (
            math.isfinite(given)
            and math.isfinite(expected)
            and abs(given - expected) <= tolerance * max(1.0, abs(expected))
        )
    except OverflowError:  # an integer beyond all floats
        return False
