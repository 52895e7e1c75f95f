"""Compares expressions by their values at random points: the fast test, and one to many digits.

Two expressions whose values differ at a point are different; sympy would take a hundred times as long to find that
out. Where they agree everywhere in floating point, 30 digits decide.
"""

import cmath
import math
import random
from collections.abc import Iterator
from typing import Any

import sympy
from sympy import Expr, Integer, Rational

_NUM_POINTS = 6
_DIFFERENT = 1e-9  # relative difference of floating-point values that are not the same
_CERTAIN = 1e-2  # a difference that no cancellation explains
_COUNTING = (sympy.Sum, sympy.Product, sympy.binomial, sympy.factorial)  # their variables are whole numbers
# What sympy raises where it cannot compute something, as for a product of a matrix and i.
_FAILURES = (TypeError, ValueError, AttributeError, NotImplementedError, ArithmeticError, RecursionError)
_COUNTED = (4, 5, 7, 11)
_SMALL = 1e-6  # below it, all digits may be lost by cancellation, as in the sine of pi
_DIGITS = 60
_EQUAL = Rational(1, 10**45)
_HUGE = 10**6  # exponents and arguments of factorials above it are not computed


class Undefined(ValueError):
    """Raised where an expression has no real value at a point, or none that floating point can hold."""


def _safe(number: float) -> float:
    """Returns a number, where rounding it up or down does not depend on the last digits."""
    if abs(number - round(number)) < 1e-9 and number != round(number):
        raise Undefined("at a jump")
    return number


def _binomial(upper: complex, lower: complex) -> float:
    if upper.imag or lower.imag or abs(upper.real) > 100 or abs(lower.real) > 100:
        raise Undefined("a large binomial")
    return math.gamma(upper.real + 1) / math.gamma(lower.real + 1) / math.gamma(upper.real - lower.real + 1)


def _factorial(number: complex) -> float:
    if number.imag or abs(number.real) > 150:
        raise Undefined("a large factorial")
    return math.gamma(number.real + 1)


_FUNCTIONS: dict[Any, Any] = {
    sympy.sin: cmath.sin, sympy.cos: cmath.cos, sympy.tan: cmath.tan, sympy.asin: cmath.asin, sympy.acos: cmath.acos,
    sympy.atan: cmath.atan, sympy.sinh: cmath.sinh, sympy.cosh: cmath.cosh, sympy.tanh: cmath.tanh,
    sympy.exp: cmath.exp, sympy.log: cmath.log, sympy.Abs: abs, sympy.factorial: _factorial,
    sympy.binomial: _binomial,
    sympy.cot: lambda x: 1 / cmath.tan(x), sympy.sec: lambda x: 1 / cmath.cos(x),
    sympy.csc: lambda x: 1 / cmath.sin(x), sympy.UnevaluatedExpr: lambda x: x,
    sympy.Mod: lambda x, y: x.real % y.real, sympy.floor: lambda x: math.floor(_safe(x.real)),
    sympy.ceiling: lambda x: math.ceil(_safe(x.real)), sympy.Max: lambda *xs: max(x.real for x in xs),
    sympy.Min: lambda *xs: min(x.real for x in xs),
}  # fmt: skip


def value_at(expression: Any, point: dict[Any, complex], is_complex: bool) -> complex:
    """Returns the value of an expression at a point.

    Args:
        expression: of sympy.
        point: the value of each symbol.
        is_complex: whether complex values may occur on the way.

    Raises:
        Undefined: it has no (real) value there, or one that is not computed here.
    """
    try:
        value = _value(expression, point, is_complex)
    except (OverflowError, ZeroDivisionError, TypeError, ValueError, RecursionError) as error:
        raise Undefined(str(error)) from error
    if not cmath.isfinite(value):
        raise Undefined("no finite value")
    return value


def _value(node: Any, point: dict[Any, complex], is_complex: bool) -> complex:
    if not node.args:
        return _value_of_atom(node, point)
    arguments = [_value(argument, point, is_complex) for argument in node.args]
    if node.is_Add:
        return sum(arguments)
    if node.is_Mul:
        return math.prod(arguments, start=complex(1))
    if not node.is_Pow and node.func not in _FUNCTIONS:
        raise Undefined(f"{type(node).__name__} is not computed here")
    result = complex(arguments[0] ** arguments[1] if node.is_Pow else _FUNCTIONS[node.func](*arguments))
    if is_complex:
        return result
    if abs(result.imag) > 1e-9 * max(1.0, abs(result.real)):
        raise Undefined("not real")
    return complex(result.real, 0.0)


def _value_of_atom(node: Any, point: dict[Any, complex]) -> complex:
    if node.is_Rational:
        return complex(node.p / node.q)
    if node in point:
        return complex(point[node])
    if node.is_Float or node.is_NumberSymbol:
        return complex(float(node))
    if node is sympy.I:
        return 1j
    raise Undefined(f"{node} has no value")


def points(symbols: set[Any]) -> Iterator[dict[Any, complex]]:
    """Yields points to compare at, always the same ones: positive, then of any sign, then whole."""
    ordered = sorted(symbols, key=lambda symbol: symbol.name)
    draw = random.Random(len(ordered))
    for low, high in ((0.2, 2.7),) * 4 + ((-2.3, 2.3),) * _NUM_POINTS:
        yield {symbol: complex(draw.uniform(low, high)) for symbol in ordered}
    for start in (2, 3, 5):
        yield {symbol: complex(start + place * 3) for place, symbol in enumerate(ordered)}


def equal(a: Any, b: Any) -> bool | None:
    """Returns whether two expressions are equal, or None where it cannot be told from values."""
    if a == b:
        return True
    symbols = a.free_symbols | b.free_symbols
    if not symbols and a.is_Rational and b.is_Rational:
        return False
    is_complex = a.has(sympy.I) or b.has(sympy.I)
    num_agreeing = 0
    for point in points(symbols) if symbols else [{}]:
        try:
            left, right = value_at(a, point, is_complex), value_at(b, point, is_complex)
        except Undefined:
            continue
        difference = abs(left - right) / max(abs(left), abs(right), 1e-300)
        is_certain = difference > _CERTAIN and max(abs(left), abs(right)) > _SMALL
        if is_certain or (difference > _DIFFERENT and not _equal_to_many_digits(a, b, point)):
            return False
        num_agreeing += 1
        if num_agreeing == _NUM_POINTS:
            break
    if symbols and not num_agreeing and not (a.has(*_COUNTING) or b.has(*_COUNTING)):
        return None
    counted = _COUNTED if a.has(*_COUNTING) or b.has(*_COUNTING) else ()
    verdicts = []
    for point in _exact_points(symbols, counted):
        verdicts.append(_equal_to_many_digits(a, b, point))
        if verdicts[-1] is False:
            return False
    return True if any(verdicts) else None


def _exact_points(symbols: set[Any], counted: tuple[int, ...]) -> list[dict[Any, Any]]:
    """Returns points with exact values: whole ones where something is counted, else one of fractions."""
    ordered = sorted(symbols, key=lambda symbol: symbol.name)
    if not ordered:
        return [{}]
    if counted:
        return [{symbol: Integer(start + 2 * place) for place, symbol in enumerate(ordered)} for start in counted]
    return [{symbol: Rational(7 + 4 * place, 5) for place, symbol in enumerate(ordered)}]


def _equal_to_many_digits(a: Any, b: Any, point: dict[Any, Any]) -> bool | None:
    """Returns whether two values agree to 45 digits, or None where they cannot be computed."""
    exact = {
        symbol: Rational(str(value.real)) if isinstance(value, complex) else value for symbol, value in point.items()
    }
    try:
        left, right = (one.subs(exact).doit() for one in (a, b))
        if left.is_Rational and right.is_Rational:
            return bool(left == right)
        left, right = left.evalf(_DIGITS), right.evalf(_DIGITS)
        if (
            not (left.is_number and right.is_number)
            or left.has(sympy.nan, sympy.zoo)
            or right.has(sympy.nan, sympy.zoo)
        ):
            return None
        if left.is_infinite or right.is_infinite:
            return bool(left == right)
        return bool(abs(left - right).evalf(_DIGITS) <= _EQUAL * max(abs(left), abs(right), Integer(1) / 10**20))
    except _FAILURES:
        return None


def to_many_digits(expression: Any) -> Any:
    """Returns a real number exactly, where it is rational, else with many digits; None where it is none."""
    try:
        value = expression.doit()
        value = value if value.is_Rational else value.evalf(_DIGITS)
        return value if value.is_number and value.is_real and value.is_finite else None
    except _FAILURES:
        return None


def number(expression: Any) -> complex | None:
    """Returns the value of an expression without symbols, or None where it has none."""
    if not isinstance(expression, Expr) or expression.free_symbols:
        return None
    try:
        return value_at(expression, {}, True)
    except Undefined:
        try:
            value = complex(expression.doit().evalf(15))
            return value if cmath.isfinite(value) else None
        except _FAILURES:
            return None
