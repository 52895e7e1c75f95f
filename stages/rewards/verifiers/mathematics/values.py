"""Reads a value: a number or an expression, with its unit, percent sign, degrees, currency or base."""

import itertools
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any

from sympy import Integer, Rational

from stages.rewards.verifiers.mathematics import formulas, units
from stages.rewards.verifiers.mathematics.angles import angle_of
from stages.rewards.verifiers.mathematics.brackets import partners
from stages.rewards.verifiers.mathematics.measures import product, unit_of
from stages.rewards.verifiers.mathematics.readings import Reading, Unit, Value
from stages.rewards.verifiers.mathematics.tokens import Token, Unreadable

_LIMITS = frozenset({"\\lim", "\\sum", "\\prod", "\\int"})
_CURRENCIES = frozenset("$€£¥₹¢")
_BASES = {"two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10,
          "twelve": 12, "sixteen": 16}  # fmt: skip
_DIGITS = "0123456789ABCDEF"


def value_of(tokens: Sequence[Token], letters_are_units: bool = False) -> Value:
    """Returns the value that tokens are.

    Args:
        tokens: of one value.
        letters_are_units: whether a single letter after a number and a space may be a unit.

    Raises:
        Unreadable: it is none.
    """
    tokens = _with_mixed_numbers(list(tokens))
    if (number := formulas.plain_number(tokens)) is not None:
        return _value_of_number(tokens, number)
    tokens, currency = _without_currency(tokens)
    start, unit = _unit_at_the_end(tokens, letters_are_units)
    rest = tokens[:start]
    if any(_is_unit_word(token) for token in rest):
        return _sum_of_units(tokens, letters_are_units)
    if currency and unit:
        unit = product(unit, currency) if unit[0] and unit[0][0][0].startswith("per ") else unit
    unit = unit or currency
    if not rest:
        raise Unreadable("a unit without a number")
    return replace(_bare(rest), unit=unit) if unit else _bare(rest)


def is_unit(tokens: Sequence[Token]) -> bool:
    """Returns whether tokens name a unit, and nothing else."""
    return unit_of(list(tokens), True) is not None


def _value_of_number(tokens: Sequence[Token], number: Any) -> Value:
    decimals = tokens[-1].text.partition(".")[2]
    form = "decimal" if "." in tokens[-1].text else ""
    return Value(number, num_decimals=len(decimals) if form else None, is_decimal=bool(form))


def _bare(tokens: list[Token]) -> Value:
    """Reads a value without a unit."""
    if not tokens:
        raise Unreadable("a sign without a number")
    if tokens[-1].text == "%":
        return replace(_bare(tokens[:-1]), is_percent=True)
    if (angle := angle_of(tokens, _bare)) is not None:
        return angle
    if (number := formulas.plain_number(tokens)) is not None:
        return _value_of_number(tokens, number)
    if (number := _in_base(tokens)) is not None:
        return number
    decimals = [len(token.text.partition(".")[2]) for token in tokens if token.kind == "number" and "." in token.text]
    is_decimal = len(decimals) == 1 and all(t.kind == "number" or t.text in ("-", "+", "(", ")") for t in tokens)
    expression = formulas.expression(tokens)
    is_infinite = any(token.text == "\\infty" for token in tokens)
    if is_infinite and not (len(tokens) <= 2 or any(token.text in _LIMITS for token in tokens)):
        raise Unreadable("a computation with infinity")
    form = "".join(token.text for token in tokens) if all(token.kind == "letter" for token in tokens) else ""
    return Value(expression, num_decimals=min(decimals, default=None), is_decimal=is_decimal, form=form)


def _in_base(tokens: list[Token]) -> Value | None:
    """Reads 43_5, 43_{five} and (43)_5 as the number that it is in base five."""
    if not any(token.text == "_" for token in tokens):
        return None
    place = next(i for i, token in enumerate(tokens) if token.text == "_")
    digits = "".join(token.text for token in tokens[:place]).strip("()").upper()
    base = "".join(token.text for token in tokens[place + 1 :]).strip("{}()").lower()
    if not digits or not all(digit in _DIGITS for digit in digits) or not any(digit.isdigit() for digit in digits):
        return None
    size = _BASES.get(base) or (int(base) if base.isdigit() else 0)
    if not 2 <= size <= 16 or any(_DIGITS.index(digit) >= size for digit in digits):
        raise Unreadable("a number with an index that is no base")
    return Value(Integer(int(digits, size)), form=f"base {size}")


def _with_mixed_numbers(tokens: list[Token]) -> list[Token]:
    """Writes 3 1/2 as 3\\frac{1}{2}."""
    for i in range(len(tokens) - 3):
        whole, top, slash, bottom = tokens[i : i + 4]
        is_mixed = whole.kind == top.kind == bottom.kind == "number" and slash.text == "/" and top.is_spaced
        is_mixed = is_mixed and all(t.text.isdigit() for t in (whole, top, bottom)) and int(top.text) < int(bottom.text)
        if is_mixed and (i == 0 or tokens[i - 1].text in ("-", "+", "(", "$")):
            fraction = [Token("command", "\\frac"), Token("sign", "{"), top._replace(is_spaced=False)]
            fraction += [Token("sign", "}"), Token("sign", "{"), bottom, Token("sign", "}")]
            return tokens[: i + 1] + fraction + tokens[i + 4 :]
    return tokens


def _without_currency(tokens: list[Token]) -> tuple[list[Token], Unit | None]:
    """Cuts the sign of a currency off, before or after the amount."""
    for place in (0, 1, len(tokens) - 1):
        if place < len(tokens) and tokens[place].kind == "sign" and tokens[place].text in _CURRENCIES:
            if 0 < place < len(tokens) - 1 and tokens[0].text not in ("-", "+"):
                continue
            dimension, factor = units.UNITS[tokens[place].text]
            return tokens[:place] + tokens[place + 1 :], (((dimension, 1),), factor)
    return tokens, None


def _unit_at_the_end(tokens: list[Token], letters_are_units: bool) -> tuple[int, Unit | None]:
    """Returns where the unit begins that ends the tokens, and which; their number where none does."""
    if len(tokens) > 2 and tokens[-1].text == ")":  # 5 (cm)
        opening = next((i for i, end in partners(tokens).items() if end == len(tokens) - 1), 0)
        unit = unit_of(tokens[opening + 1 : -1], True) if opening else None
        if unit and all(token.kind == "word" or token.text in "/^2{}3" for token in tokens[opening + 1 : -1]):
            return opening, unit
    for start in range(1, len(tokens)):
        if not (_may_begin(tokens, start, letters_are_units)):
            continue
        unit = unit_of(tokens[start:], letters_are_units)
        if unit is not None:
            return start, unit
    return len(tokens), None


def _may_begin(tokens: list[Token], start: int, letters_are_units: bool) -> bool:
    """Returns whether a unit may begin at a place: a word, or a letter after a number and a space."""
    token = tokens[start]
    if token.kind == "word":
        return True
    if token.text == "^" and start + 3 < len(tokens) and tokens[start + 2].text == "\\circ":
        return tokens[-1].text in ("C", "F")
    is_letter = token.kind == "letter" and token.is_spaced and token.text in units.LETTER_UNITS
    return letters_are_units and is_letter and tokens[start - 1].kind == "number"


def _is_unit_word(token: Token) -> bool:
    return token.kind == "word" and units.unit_named(token.text) is not None


def _sum_of_units(tokens: list[Token], letters_are_units: bool) -> Value:
    """Reads 3 feet 4 inches as one length."""
    parts: list[Reading] = []
    start = 0
    for place, token in enumerate(tokens):
        is_last = place == len(tokens) - 1
        if token.kind == "word" and (is_last or tokens[place + 1].kind == "number"):
            if is_last and not start:
                raise Unreadable("words after a unit")
            parts.append(value_of(tokens[start : place + 1], letters_are_units))
            start = place + 1
    total = sum_of_sizes(parts) if start == len(tokens) else None
    if total is None:
        raise Unreadable("a unit within a value")
    return total


def sum_of_sizes(items: Sequence[Reading]) -> Value | None:
    """Returns "4 hours and 5 minutes" as one value: sizes of one kind, each in smaller units than the one before."""
    sizes = [(item.expression, item.unit) for item in items if isinstance(item, Value) and item.unit]
    if len(sizes) < len(items) or len({unit[0] for _, unit in sizes}) != 1:
        return None
    if any(small[1][1] >= large[1][1] for large, small in itertools.pairwise(sizes)):
        return None
    return Value(sum(number * _sympy(unit[1]) for number, unit in sizes), unit=(sizes[0][1][0], 1))


def _sympy(factor: float | Fraction) -> Any:
    return Rational(factor.numerator, factor.denominator) if isinstance(factor, Fraction) else Rational(factor)
