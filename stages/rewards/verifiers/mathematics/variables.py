"""Tells whether a reading has variables in it; if it has none, letters after a number may be units."""

from dataclasses import fields, is_dataclass
from typing import Any

from stages.rewards.verifiers.mathematics.readings import Chain, Value


def has_variables(reading: Any) -> bool:
    """Returns whether there are symbols in the values of a reading, apart from names on sides of equations."""
    if isinstance(reading, Value):
        return bool(getattr(reading.expression, "free_symbols", ()))
    if isinstance(reading, Chain):
        return any(has_variables(side) for side, name in zip(reading.sides, reading.names) if name is None)
    if isinstance(reading, tuple):
        return any(has_variables(item) for item in reading)
    return is_dataclass(reading) and any(has_variables(getattr(reading, field.name)) for field in fields(reading))
