"""Writes a reading in a form that is the same for equal values of one kind: what votes, and what people are shown."""

from typing import Any

import sympy

from stages.rewards.verifiers.mathematics import numeric
from stages.rewards.verifiers.mathematics.formulas import name_of_symbol
from stages.rewards.verifiers.mathematics.readings import (
    Builder,
    Chain,
    Combined,
    Elements,
    Group,
    Named,
    Ratio,
    Reading,
    Several,
    Text,
    Time,
    Value,
)


def normal_form(reading: Reading) -> str:
    """Returns a reading as text."""
    if isinstance(reading, Value):
        return _of_value(reading)
    if isinstance(reading, Text):
        return reading.words.casefold()
    if isinstance(reading, Several):
        return f" {reading.joiner} ".join(map(normal_form, reading.items)).replace(" , ", ", ")
    if isinstance(reading, Elements):
        return "{" + ", ".join(sorted({normal_form(item) for item in reading.items})) + "}"
    if isinstance(reading, Group):
        return reading.opening + ", ".join(map(normal_form, reading.items)) + reading.closing
    if isinstance(reading, Builder):
        return f"{{{reading.variable} | {normal_form(reading.condition)}}}"
    if isinstance(reading, Named):
        return reading.name
    if isinstance(reading, Combined):
        return f" {reading.operator} ".join(map(normal_form, reading.parts))
    if isinstance(reading, Chain):
        sides = [name or normal_form(side) for side, name in zip(reading.sides, reading.names)]
        return sides[0] + "".join(
            f" {relation.strip(chr(92))} {side}" for relation, side in zip(reading.relations, sides[1:])
        )
    if isinstance(reading, Ratio):
        return ":".join(map(normal_form, reading.parts))
    assert isinstance(reading, Time)
    return f"{reading.hours}:{reading.minutes:02} {reading.half}".strip()


def _of_value(value: Value) -> str:
    text = _of_expression(value.expression)
    if value.is_percent:
        text += "%"
    if value.is_degrees:
        text += " degrees"
    if value.unit:
        names = " ".join(name if power == 1 else f"{name}^{power}" for name, power in value.unit[0])
        text += f" [{names} x {float(value.unit[1]):g}]"
    return text if value.modulus is None else f"{text} mod {_of_expression(value.modulus)}"


def _of_expression(expression: Any) -> str:
    """Returns an expression as text: exact where it is rational, else with 12 digits, or with its symbols' names."""
    symbols = getattr(expression, "free_symbols", set())
    if symbols:
        renamed = expression.xreplace({symbol: sympy.Symbol(name_of_symbol(symbol)) for symbol in symbols})
        return str(renamed).replace("**", "^")
    if isinstance(expression, sympy.MatrixBase):
        return (
            "["
            + "; ".join(", ".join(_of_expression(x) for x in expression.row(i)) for i in range(expression.rows))
            + "]"
        )
    if getattr(expression, "is_Rational", False):
        return str(expression)
    number = numeric.number(expression)
    if number is None:
        return str(expression)
    if abs(number.imag) < 1e-12 * max(1.0, abs(number)):
        nearest = round(number.real)
        return str(nearest) if abs(number.real - nearest) < 1e-11 * max(1.0, abs(nearest)) else f"{number.real:.12g}"
    return f"{number.real:.12g}{number.imag:+.12g}i"
