"""Writes a reading in a form that is the same for equal values of one kind: what votes, and what people are shown."""

from collections.abc import Callable, Sequence
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

ROUNDED = 6  # decimals; with as many, a decimal fraction may stand for the exact number that it rounds


def normal_form(reading: Reading) -> str:
    """Returns a reading as text."""
    return _WRITERS[type(reading)](reading)


def _of_chain(chain: Chain) -> str:
    sides = [name or normal_form(side) for side, name in zip(chain.sides, chain.names)]
    signs = [relation.replace("\\", "") for relation in chain.relations]
    return sides[0] + "".join(f" {sign} {side}" for sign, side in zip(signs, sides[1:]))


def _joined(readings: Sequence[Reading], separator: str = ", ") -> str:
    return separator.join(map(normal_form, readings))


def _of_value(value: Value) -> str:
    is_long = value.is_decimal and value.expression.is_Rational and (value.num_decimals or 0) >= ROUNDED
    text = _of_decimal(value) if is_long else _of_expression(value.expression)
    if value.is_percent:
        text += "%"
    if value.is_degrees:
        text += " degrees"
    if value.unit:
        names = " ".join(name if power == 1 else f"{name}^{power}" for name, power in value.unit[0])
        text += f" [{names} x {float(value.unit[1]):g}]"
    return text if value.modulus is None else f"{text} mod {_of_expression(value.modulus)}"


def _of_decimal(value: Value) -> str:
    """Returns a decimal fraction as such: with so many digits it may be a rounded number, unlike its fraction."""
    num_decimals = value.num_decimals or 0
    digits = str(abs(value.expression.p) * 10**num_decimals // value.expression.q).zfill(num_decimals + 1)
    return f"{'-' if value.expression < 0 else ''}{digits[:-num_decimals]}.{digits[-num_decimals:]}"


def _of_expression(expression: Any) -> str:
    """Returns an expression as text: exact where it is rational, else with 12 digits, or with its symbols' names."""
    symbols: set[Any] = getattr(expression, "free_symbols", set())
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


_WRITERS: dict[type, Callable[[Any], str]] = {
    Value: _of_value,
    Text: lambda text: text.words.casefold(),
    Several: lambda one: _joined(one.items, f" {one.joiner} ".replace(" , ", ", ").replace(" pm ", ", ")),
    Elements: lambda one: "{" + ", ".join(sorted({normal_form(item) for item in one.items})) + "}",
    Group: lambda group: group.opening + _joined(group.items) + group.closing,
    Builder: lambda one: f"{{{one.variable} | {normal_form(one.condition)}}}",
    Named: lambda named: named.name,
    Combined: lambda one: _joined(one.parts, f" {one.operator} "),
    Chain: _of_chain,
    Ratio: lambda ratio: _joined(ratio.parts, ":"),
    Time: lambda time: f"{time.hours}:{time.minutes:02} {time.half}".strip(),
}
