"""What an answer can be: the kinds of readings, as plain data."""

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from stages.rewards.verifiers.mathematics.tokens import Token

Tokens = tuple[Token, ...]
Unit = tuple[tuple[tuple[str, int], ...], float | Fraction]  # ((dimension, power), ...), size in base units


@dataclass(frozen=True)
class Value:
    """A number or an expression, perhaps with a unit."""

    expression: Any  # of sympy
    unit: Unit | None = None
    is_percent: bool = False
    is_degrees: bool = False
    modulus: Any = None
    num_decimals: int | None = None  # of the decimal fraction that it is, or that it contains; None: it is exact
    is_decimal: bool = False  # it is a decimal fraction and nothing else
    form: str = ""  # the written form where it counts beside the value


@dataclass(frozen=True)
class Text:
    """Words, or what only another text of the same words can be equal to."""

    words: str


@dataclass(frozen=True)
class Several:
    """Values side by side, without brackets."""

    items: tuple
    joiner: str = ","  # , ; or and pm


@dataclass(frozen=True)
class Group:
    """Values in round or square brackets: a tuple, a list, a point or an interval."""

    opening: str
    closing: str
    items: tuple


@dataclass(frozen=True)
class Elements:
    """A set by its elements."""

    items: tuple


@dataclass(frozen=True)
class Builder:
    """A set by a condition: {x | x > 2}."""

    variable: str
    condition: Any


@dataclass(frozen=True)
class Named:
    """A set that has a name: R, Z, N, Q, C, P, or "empty"."""

    name: str


@dataclass(frozen=True)
class Combined:
    """Sets joined by an operator: union, intersection, difference."""

    operator: str
    parts: tuple


@dataclass(frozen=True)
class Chain:
    """An equation, an inequality, or several in a row: sides and the relations between them."""

    sides: tuple
    relations: tuple[str, ...]
    names: tuple[str | None, ...]  # for each side: the name that it is, if it is one


@dataclass(frozen=True)
class Ratio:
    """Values with colons between them."""

    parts: tuple


@dataclass(frozen=True)
class Time:
    """A time of the day."""

    hours: int
    minutes: int
    half: str  # am, pm or nothing


Reading = Value | Text | Several | Group | Elements | Builder | Named | Combined | Chain | Ratio | Time
