"""Numbers, other numbers than these, and ways to write them; everything is an exact Fraction."""

from fractions import Fraction
from random import Random

LEAST_DIFFERENCE = Fraction(1, 1000)  # relative; what is nearer may be a rounded right answer


def draw_number(draw: Random, is_integer: bool) -> Fraction:
    """Returns a number as references have it: mostly small, sometimes large, negative or a fraction."""
    size = draw.choice((10, 100, 1000, 100_000))
    top = draw.randint(2, size) * (-1 if draw.random() < 0.15 else 1)
    if is_integer or draw.random() < 0.5:
        return Fraction(top)
    return Fraction(top, draw.choice((2, 3, 4, 5, 7, 8, 9, 10, 12, 25, 100)))


def differ(one: Fraction | float, other: Fraction | float) -> bool:
    """Returns whether two numbers are different, not only rounded."""
    return abs(one - other) > LEAST_DIFFERENCE * (1 + max(abs(one), abs(other)))


def other_number(value: Fraction, draw: Random) -> Fraction:
    """Returns another number that a slip could have made of this one: a digit, a sign, a factor, a place."""
    for _ in range(100):
        other = draw.choice(_SLIPS)(value, draw)
        if other is not None and differ(other, value):
            return other
    raise AssertionError(f"no slip changes {value}")


def write(value: Fraction, draw: Random) -> str:
    """Returns the number, written in one of many ways."""
    return draw.choice([way for way in _WAYS if way(value) is not None])(value) or ""


def plain(value: Fraction) -> str:
    """Returns "7" or "3/4"."""
    return str(value)


def _digit_slip(value: Fraction, draw: Random) -> Fraction | None:
    digits = list(str(abs(value.numerator)))
    place = draw.randrange(len(digits))
    kind = draw.randrange(4)
    if kind == 0:
        digits[place] = draw.choice("0123456789")
    elif kind == 1:
        digits.insert(place, draw.choice("0123456789"))
    elif kind == 2 and len(digits) > 1:
        del digits[place]
    elif len(digits) > 1:
        digits[place - 1], digits[place] = digits[place], digits[place - 1]
    sign = -1 if value < 0 else 1
    return Fraction(sign * int("".join(digits)), value.denominator)


_SLIPS = (
    _digit_slip,
    _digit_slip,
    lambda value, draw: -value,
    lambda value, draw: value + draw.choice((-1, 1)),
    lambda value, draw: value * draw.choice((2, 10, 100, Fraction(1, 2), Fraction(1, 10))),
    lambda value, draw: 1 / value if value else None,
    lambda value, draw: value + Fraction(1, draw.choice((2, 3, 10))),
    lambda value, draw: value * value,
)


def _decimal(value: Fraction) -> str | None:
    text = f"{float(value):.6f}".rstrip("0").rstrip(".")
    return text if Fraction(text) == value else None


def _latex_fraction(value: Fraction, command: str = "frac") -> str:
    sign = "-" if value < 0 else ""
    return rf"{sign}\{command}{{{abs(value.numerator)}}}{{{value.denominator}}}"


def _with_commas(value: Fraction) -> str | None:
    return f"{value.numerator:,}" if value.denominator == 1 and abs(value) >= 1000 else None


def _mixed(value: Fraction) -> str | None:
    whole, rest = divmod(abs(value), 1)
    if value.denominator == 1 or not whole:
        return None
    return rf"{'-' if value < 0 else ''}{whole}\frac{{{rest.numerator}}}{{{rest.denominator}}}"


_WAYS = (
    plain,
    plain,
    _decimal,
    _latex_fraction,
    _with_commas,
    _mixed,
    lambda value: _latex_fraction(value, "dfrac"),
    lambda value: rf"\frac{{{2 * value.numerator}}}{{{2 * value.denominator}}}",
    lambda value: f"{value.numerator}.0" if value.denominator == 1 else None,
    lambda value: str(value).replace("-", "\u2212"),
    lambda value: str(value).translate(str.maketrans("0123456789", "０１２３４５６７８９")),
    lambda value: f"({value})",
    lambda value: f"{value - 1}+1" if value.denominator == 1 else None,
)
