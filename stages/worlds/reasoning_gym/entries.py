"""Writes entries of reasoning-gym as JSON and reads them back without loss.

Graders look at tuples and at keys that are numbers, which plain JSON does not keep; `gsm_symbolic` has fractions.
"""

import json
from fractions import Fraction
from typing import Any

_TUPLE, _PAIRS, _FRACTION = "__tuple__", "__pairs__", "__fraction__"


def dumps(entry: dict[str, Any]) -> str:
    """Returns an entry as JSON.

    Raises:
        TypeError: it holds something else than None, booleans, numbers, fractions, texts, lists, tuples and mappings.
    """
    return json.dumps(_packed(entry), ensure_ascii=False)


def loads(text: str) -> dict[str, Any]:
    """Returns the entry that `dumps` wrote."""
    return _unpacked(json.loads(text))


def _packed(value: Any) -> Any:
    """Replaces tuples, and mappings whose keys JSON would change, by marked objects."""
    if isinstance(value, tuple):
        return {_TUPLE: [_packed(item) for item in value]}
    if isinstance(value, Fraction):
        return {_FRACTION: [value.numerator, value.denominator]}
    if isinstance(value, list):
        return [_packed(item) for item in value]
    if isinstance(value, dict):
        if all(isinstance(key, str) and not key.startswith("__") for key in value):
            return {key: _packed(item) for key, item in value.items()}
        return {_PAIRS: [[_packed(key), _packed(item)] for key, item in value.items()]}
    return value


def _unpacked(value: Any) -> Any:
    """Restores what `_packed` replaced."""
    if isinstance(value, list):
        return [_unpacked(item) for item in value]
    if not isinstance(value, dict):
        return value
    if _TUPLE in value:
        return tuple(_unpacked(item) for item in value[_TUPLE])
    if _FRACTION in value:
        return Fraction(*value[_FRACTION])
    if _PAIRS in value:
        return {_unpacked(key): _unpacked(item) for key, item in value[_PAIRS]}
    return {key: _unpacked(item) for key, item in value.items()}
