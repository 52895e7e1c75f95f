"""Reads a value: a number or an expression, with its unit, percent sign, degrees, currency or base."""

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any

from sympy import Integer, Rational

from stages.rewards.verifiers.mathematics import formulas, units
from stages.rewards.verifiers.mathematics.brackets import partners
from stages.rewards.verifiers.mathematics.readings import Reading, Unit, Value
from stages.rewards.verifiers.mathematics.tokens import Token, Unreadable

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
        unit = _product(unit, currency) if unit[0] and unit[0][0][0].startswith("per ") else unit
    unit = unit or currency
    if not rest:
        raise Unreadable("a unit without a number")
    return replace(_bare(rest), unit=unit) if unit else _bare(rest)


def is_unit(tokens: Sequence[Token]) -> bool:
    """Returns whether tokens name a unit, and nothing else."""
    return _unit_of(list(tokens), True) is not None


def _value_of_number(tokens: Sequence[Token], number: Any) -> Value:
    decimals = tokens[-1].text.partition(".")[2]
    form = "decimal" if "." in tokens[-1].text else ""
    return Value(number, num_decimals=len(decimals) if form else None, is_decimal=bool(form))


def _bare(tokens: list[Token]) -> Value:
    """Reads a value without a unit."""
    if tokens and tokens[-1].text == "%":
        return replace(_bare(tokens[:-1]), is_percent=True)
    if (angle := _degrees(tokens)) is not None:
        return angle
    if (number := formulas.plain_number(tokens)) is not None:
        return _value_of_number(tokens, number)
    if (number := _in_base(tokens)) is not None:
        return number
    decimals = [len(token.text.partition(".")[2]) for token in tokens if token.kind == "number" and "." in token.text]
    is_decimal = len(decimals) == 1 and all(t.kind == "number" or t.text in ("-", "+", "(", ")") for t in tokens)
    expression = formulas.expression(tokens)
    return Value(expression, num_decimals=min(decimals, default=None), is_decimal=is_decimal)


def _degrees(tokens: list[Token]) -> Value | None:
    """Reads 45^\\circ and 45^\\circ 30' as degrees."""
    places = [place for place, token in enumerate(tokens) if token.text == "\\circ"]
    if not places:
        return None
    circle = places[0]
    end = circle + 1
    start = circle - 1
    if end < len(tokens) and tokens[end].text == "}" and tokens[start].text == "{":
        start, end = start - 1, end + 1
    if len(places) > 1 or start < 1 or tokens[start].text != "^":
        if len(places) == 1 or not tokens[-1].text.endswith(("}", "circ")):
            raise Unreadable("a degree sign out of place")
        kept = _without_degree_signs(tokens)
        return replace(_bare(kept), is_degrees=True)
    degrees = _bare(tokens[:start])
    rest = tokens[end:]
    if not rest:
        return replace(degrees, is_degrees=True)
    expression = degrees.expression
    for size in (60, 3600):
        if not rest:
            break
        if rest[0].kind != "number":
            raise Unreadable("something after a degree sign")
        num_marks = 1 if size == 60 else 2
        if [token.text for token in rest[1 : 1 + num_marks]] not in (["'"], ["'", "'"]):
            raise Unreadable("minutes of an angle without their sign")
        expression += Rational(rest[0].text) / size
        rest = rest[1 + num_marks :]
    if rest:
        raise Unreadable("something after an angle")
    return Value(expression, is_degrees=True)


def _without_degree_signs(tokens: list[Token]) -> list[Token]:
    """Returns a sum of angles without its degree signs."""
    texts = [token.text for token in tokens]
    kept, place = [], 0
    while place < len(tokens):
        if texts[place : place + 4] == ["^", "{", "\\circ", "}"]:
            place += 4
        elif texts[place : place + 2] == ["^", "\\circ"]:
            place += 2
        else:
            kept.append(tokens[place])
            place += 1
    return kept


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
        unit = _unit_of(tokens[opening + 1 : -1], True) if opening else None
        if unit and all(token.kind == "word" or token.text in "/^2{}3" for token in tokens[opening + 1 : -1]):
            return opening, unit
    for start in range(1, len(tokens)):
        if not (_may_begin(tokens, start, letters_are_units)):
            continue
        unit = _unit_of(tokens[start:], letters_are_units)
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
    parts, start = [], 0
    for place, token in enumerate(tokens):
        is_last = place == len(tokens) - 1
        if token.kind == "word" and (is_last or tokens[place + 1].kind == "number"):
            if is_last and not start:
                raise Unreadable("words after a unit")
            parts.append(value_of(tokens[start : place + 1], letters_are_units))
            start = place + 1
    sizes = [part.unit for part in parts]
    if start != len(tokens) or any(s is None or s[0] != sizes[0][0] for s in sizes):  # type: ignore[index]
        raise Unreadable("a unit within a value")
    total = sum(part.expression * _sympy(part.unit[1]) for part in parts)  # type: ignore[index]
    return Value(total, unit=(sizes[0][0], 1))  # type: ignore[index]


def sum_of_sizes(items: Sequence[Reading]) -> Value | None:
    """Returns "4 hours and 5 minutes" as one value: sizes of one kind, each in smaller units than the one before."""
    if not all(isinstance(item, Value) and item.unit for item in items):
        return None
    sizes = [item.unit for item in items if isinstance(item, Value) and item.unit]
    is_one_kind = len({size[0] for size in sizes}) == 1
    if not is_one_kind or any(small[1] >= large[1] for large, small in zip(sizes, sizes[1:])):
        return None
    total = sum(item.expression * _sympy(item.unit[1]) for item in items)  # type: ignore[union-attr]
    return Value(total, unit=(sizes[0][0], 1))


def _sympy(factor: float | Fraction) -> Any:
    return Rational(factor.numerator, factor.denominator) if isinstance(factor, Fraction) else Rational(factor)


def _product(unit: Unit, other: Unit, power: int = 1) -> Unit:
    """Returns a unit times a power of another."""
    powers = dict(unit[0])
    for name, exponent in other[0]:
        powers[name] = powers.get(name, 0) + power * exponent
    kept = tuple(sorted((name, exponent) for name, exponent in powers.items() if exponent))
    return kept, unit[1] * other[1] ** power


def _unit_of(tokens: list[Token], letters_are_units: bool) -> Unit | None:
    """Returns the unit that all tokens together name, such as "km/h", "square meters" or "red marbles"."""
    unit: Unit = ((), 1)
    place, sign, shape = 0, 1, 1
    if [token.text for token in tokens] in (["^", "{", "\\circ", "}", "C"], ["^", "{", "\\circ", "}", "F"]):
        return ((("celsius" if tokens[-1].text == "C" else "fahrenheit", 1),), 1)
    while place < len(tokens):
        token = tokens[place]
        text = token.text
        if text == "/" or text.lower() == "per":
            sign = -1
        elif text in ("\\cdot", "*", "-", "of") and place:
            pass
        elif text.lower() in units.LENGTHS_SQUARED:
            shape = units.LENGTHS_SQUARED[text.lower()]
        elif (one := _one_unit(token, letters_are_units or sign < 0)) is not None:
            power, place = _power_after(tokens, place)
            unit = _product(unit, one, sign * shape * power)
            shape, sign = 1, sign
        elif token.kind == "word" and text.islower() and place + 1 < len(tokens) and _ends_in_noun(tokens[place:]):
            return _product(unit, ((" ".join(t.text for t in tokens[place:]), 1),), 1) if place else _noun(tokens)
        else:
            return None
        place += 1
    return unit if unit[0] else None


def _ends_in_noun(tokens: list[Token]) -> bool:
    """Returns whether words are an adjective or two and a plural noun: "red marbles"."""
    is_short = len(tokens) <= 3 and all(token.kind == "word" and token.text.islower() for token in tokens)
    adjectives = [token.text for token in tokens[:-1]]
    return is_short and units.counted_noun(tokens[-1].text) is not None and not set(adjectives) & units.NO_ADJECTIVES


def _noun(tokens: list[Token]) -> Unit:
    words = [token.text for token in tokens]
    return ((" ".join([*words[:-1], units.counted_noun(words[-1]) or words[-1]]), 1),), 1


def _one_unit(token: Token, letters_are_units: bool) -> Unit | None:
    """Returns the unit that one word is."""
    if token.kind == "letter" and not (letters_are_units and token.text in units.LETTER_UNITS):
        return None
    if token.kind not in ("word", "letter"):
        return None
    if (known := units.unit_named(token.text)) is not None:
        return ((known[0], 1),), known[1]
    noun = units.counted_noun(token.text) if token.kind == "word" else None
    return (((noun, 1),), 1) if noun else None


def _power_after(tokens: list[Token], place: int) -> tuple[int, int]:
    """Returns the power of the unit at a place, and the place of the last token that belongs to it."""
    if place + 1 < len(tokens) and tokens[place + 1].text == "^":
        after = [token.text for token in tokens[place + 2 : place + 6]]
        digits = "".join(after[: after.index("}") + 1] if after[:1] == ["{"] and "}" in after else after[:1])
        number = digits.strip("{}")
        if number.lstrip("-").isdigit():
            return int(number), place + 1 + (len(number.lstrip("-")) > 0) + (2 if digits.startswith("{") else 0) + (
                number.startswith("-")
            )
    return 1, place
