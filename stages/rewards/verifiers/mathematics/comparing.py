"""Compares what an answer says with what the reference says, each by its kind."""

import re
from collections.abc import Callable, Sequence
from typing import Any

import sympy

from stages.rewards.verifiers.mathematics import numeric, regions, relations
from stages.rewards.verifiers.mathematics.normal_form import ROUNDED
from stages.rewards.verifiers.mathematics.readings import (
    Chain,
    Elements,
    Group,
    Ratio,
    Reading,
    Several,
    Text,
    Time,
    Value,
)

_RADIANS = ((("angle", 1),), 1)


def equal(reference: Reading, answer: Reading) -> bool:
    """Returns whether an answer says what the reference says."""
    reference, answer = plain(reference), plain(answer)
    if reference == answer:
        return True
    kinds = (type(reference), type(answer))
    if kinds in _COMPARISONS:
        return _COMPARISONS[kinds](reference, answer)
    if Chain in kinds:
        return relations.equal_chains(reference, answer, equal)
    if Ratio in kinds:
        return _equal_ratios(_as_ratio(reference), _as_ratio(answer))
    return regions.equal_regions(reference, answer)


def plain(reading: Reading) -> Reading:
    """Returns a reading without what it is wrapped in: a list or a set of alternatives of one."""
    if isinstance(reading, Several | Elements) and len(reading.items) == 1:
        return plain(reading.items[0])
    return reading


def value_in(reading: Reading) -> Reading:
    """Returns what an equation such as x = 5 says that something is; anything else as it is."""
    found = relations.assigned_value(reading, equal) if isinstance(reading, Chain) else None
    return reading if found is None else found[1]


def _equal_texts(a: Text, b: Text) -> bool:
    return same_words(a.words, b.words)


def _equal_to_letters(reference: Reading, answer: Reading) -> bool:
    """Compares a word with a short word that was read as letters side by side."""
    text, value = (reference, answer) if isinstance(reference, Text) else (answer, reference)
    assert isinstance(text, Text) and isinstance(value, Value)
    return bool(value.form) and same_words(text.words, value.form)


def _equal_times(a: Time, b: Time) -> bool:
    """Compares times of the day; where one does not say a.m. or p.m., that does not count."""
    is_same = (a.hours, a.minutes) == (b.hours, b.minutes)
    return is_same and (a.half == b.half or not (a.half and b.half))


# What a formula has and a name has not.
_SIGN = re.compile(r"[=+*/^_\\<>|]|(?<![A-Za-z]{2})-|-(?![A-Za-z]{2})")


def same_words(a: str, b: str) -> bool:
    """Returns whether two texts are the same words, apart from case and from the plural of the last.

    In a formula that could not be read the case of letters counts.
    """
    is_formula = bool(_SIGN.search(a) or _SIGN.search(b))
    left, right = (" ".join((text if is_formula else text.casefold()).split()).strip(" .!") for text in (a, b))
    return left == right or (len(left.split()) > 1 and left.removesuffix("s") == right.removesuffix("s"))


def equal_values(a: Value, b: Value) -> bool:
    """Returns whether two values are equal: in value, unit, angle, percentage and modulus."""
    if a.modulus is not None and b.modulus is not None:
        is_congruent = sympy.Mod(a.expression - b.expression, a.modulus) == 0
        return numeric.equal(a.modulus, b.modulus) is True and bool(is_congruent)
    if a.modulus is not None or b.modulus is not None:
        taken, other = (a, b) if a.modulus is not None else (b, a)
        return numeric.equal(sympy.Mod(taken.expression, taken.modulus), other.expression) is True
    if (a.is_degrees and b.unit == _RADIANS) or (b.is_degrees and a.unit == _RADIANS):
        degrees, other = (a, b) if a.is_degrees else (b, a)
        return equal_numbers(degrees, other, degrees.expression * sympy.pi / 180, other.expression)
    if a.unit and b.unit:
        if a.unit[0] != b.unit[0]:
            return False
        if a.unit[1] != b.unit[1]:
            factor = sympy.nsimplify(a.unit[1]) / sympy.nsimplify(b.unit[1])
            return equal_numbers(a, b, a.expression * factor, b.expression)
    if a.is_percent != b.is_percent:
        percent, other = (a, b) if a.is_percent else (b, a)
        sizes = (1, 100) if percent.expression.is_Rational else (100,)
        return any(equal_numbers(percent, other, percent.expression / size, other.expression) for size in sizes)
    if a.is_degrees != b.is_degrees:
        degrees, other = (a, b) if a.is_degrees else (b, a)
        sizes = (1, sympy.pi / 180)
        return any(equal_numbers(degrees, other, degrees.expression * size, other.expression) for size in sizes)
    return equal_numbers(a, b, a.expression, b.expression)


def equal_numbers(a: Value, b: Value, left: Any, right: Any) -> bool:
    """Returns whether two expressions are equal, exactly or within the rounding of long decimal fractions."""
    if isinstance(left, sympy.MatrixBase | sympy.MatrixExpr) or isinstance(right, sympy.MatrixBase | sympy.MatrixExpr):
        return _equal_matrices(a, b, left, right)
    verdict = numeric.equal(left, right)
    if verdict is None:
        return _equal_by_sympy(left, right)
    return verdict or _are_rounded(a, b, left, right)


def _are_rounded(a: Value, b: Value, left: Any, right: Any) -> bool:
    """Returns whether a decimal fraction with many digits is what the other number rounds to, or begins with."""
    pairs = [(a.num_decimals, left, right), (b.num_decimals, right, left)]
    found = [pair for pair in pairs if pair[0] is not None and pair[0] >= ROUNDED]
    if not found or left.free_symbols or right.free_symbols:
        return False
    num_decimals, rounded, exact = min(found, key=lambda pair: pair[0] or 0)
    rounded, exact = numeric.to_many_digits(rounded), numeric.to_many_digits(exact)
    if rounded is None or exact is None:
        return False
    error, unit = abs(exact) - abs(rounded), sympy.Rational(1, 10 ** (num_decimals or 0))
    is_same_sign = rounded * exact > 0 and abs(error) <= abs(exact) / 10**4
    return bool(is_same_sign and (abs(error) <= unit / 2 or 0 < error < unit))


def _equal_matrices(a: Value, b: Value, left: Any, right: Any) -> bool:
    try:
        one, other = (m.doit() if hasattr(m, "doit") else m for m in (left, right))
        one, other = (sympy.Matrix(m) for m in (one, other))
    except (TypeError, ValueError, AttributeError):
        return False
    if one.shape != other.shape:
        return False
    return all(equal_numbers(a, b, x, y) for x, y in zip(one, other))


def _equal_by_sympy(left: Any, right: Any) -> bool:
    """Asks Math-Verify where values at points do not tell."""
    from math_verify import verify

    return bool(verify(left, right, timeout_seconds=None))


def _equal_collections(reference: Several | Elements, answer: Several | Elements) -> bool:
    """Compares lists and sets. A set has no order, a list of solutions neither; other lists do."""
    first, second = list(reference.items), list(answer.items)
    is_set = isinstance(reference, Elements) or isinstance(answer, Elements)
    if not is_set and any(isinstance(item, Chain) for item in (*first, *second)):
        return relations.equal_systems(reference, answer, equal)
    if is_set or all(isinstance(item, Group) for item in first):
        first, second = distinct(first), distinct(second)
    if len(first) != len(second):
        return False
    if not is_set and (_has_order(first)):
        return all(equal(x, y) for x, y in zip(first, second))
    return matched(first, second)


def distinct(items: Sequence[Reading]) -> list[Reading]:
    """Returns readings without those that are equal to an earlier one."""
    found: list[Reading] = []
    for item in items:
        if not any(equal(item, other) for other in found):
            found.append(item)
    return found


def matched(first: Sequence[Reading], second: Sequence[Reading]) -> bool:
    """Returns whether each value of one list has its equal in the other, each used once."""
    left = list(second)
    for item in first:
        place = next((i for i, other in enumerate(left) if equal(item, other)), None)
        if place is None:
            return False
        del left[place]
    return not left


def _has_order(items: Sequence[Reading]) -> bool:
    """Returns whether a list is a sequence rather than solutions, which are written in order of size.

    It is, where its three or more natural numbers, decimals or labels are neither ascending nor descending.
    """
    if len(items) < 3:
        return False
    if all(isinstance(item, Text) for item in items):
        keys: list[Any] = [item.words.casefold() for item in items]  # type: ignore[union-attr]
    elif all(isinstance(item, Value) and item.expression.is_Symbol for item in items):
        keys = [item.expression.name for item in items]  # type: ignore[union-attr]
    elif all(isinstance(item, Value) and item.expression.is_Rational for item in items):
        keys = [item.expression for item in items]  # type: ignore[union-attr]
        if any(key < 0 for key in keys):
            return False
    else:
        return False
    return keys != sorted(keys) and keys != sorted(keys, reverse=True)


def _equal_groups(reference: Group, answer: Group) -> bool:
    """Compares tuples, lists and intervals, whose brackets count."""
    brackets = [(group.opening, group.closing) for group in (reference, answer)]
    is_list = len(reference.items) > 2 and all(pair in (("(", ")"), ("[", "]")) for pair in brackets)
    if len(reference.items) != len(answer.items) or (brackets[0] != brackets[1] and not is_list):
        return False
    return all(equal(x, y) for x, y in zip(reference.items, answer.items))


def _equal_assignments(several: Several, group: Group) -> bool:
    """Compares "x = 1, y = 2" with (1, 2); and a list without brackets with one in square brackets."""
    if regions.equal_regions(several, group):
        return True  # x > 1 and x < 2
    if group.opening == "[" and group.closing == "]" and all(not isinstance(item, Chain) for item in several.items):
        same = len(several.items) == len(group.items)
        return same and len(group.items) > 2 and all(equal(x, y) for x, y in zip(several.items, group.items))
    values = relations.assigned(several.items, equal)
    if values is None or len(values) != len(group.items) or (group.opening, group.closing) != ("(", ")"):
        return False
    names = [name for name, _ in values]
    return len(set(names)) == len(names) and all(equal(value, item) for (_, value), item in zip(values, group.items))


def _equal_to_vector(reference: Reading, answer: Reading) -> bool:
    """Compares a point (1, 2) with a matrix of one row or column; a list of one in brackets is its value."""
    group, value = (reference, answer) if isinstance(reference, Group) else (answer, reference)
    if not isinstance(group, Group) or not isinstance(value, Value):
        return False
    if not isinstance(value.expression, sympy.MatrixBase):
        return group.opening == "[" and len(group.items) == 1 and equal(group.items[0], value)
    entries = list(value.expression)
    is_vector = 1 in value.expression.shape and len(entries) == len(group.items) and group.opening == "("
    return is_vector and all(equal(item, Value(entry)) for item, entry in zip(group.items, entries))


def _as_ratio(reading: Reading) -> Reading:
    """Returns what looks like a time, but stands against a ratio, as one: 6:16 against 3:8."""
    if not isinstance(reading, Time) or reading.half:
        return reading
    return Ratio((Value(sympy.Integer(reading.hours)), Value(sympy.Integer(reading.minutes))))


def _equal_ratios(reference: Reading, answer: Reading) -> bool:
    """Compares ratios: 2:3 is 4:6, and 1:2 is one half."""
    if isinstance(reference, Ratio) and isinstance(answer, Ratio):
        if len(reference.parts) != len(answer.parts):
            return False
        pairs = list(zip(reference.parts, answer.parts))
        values = [value for pair in pairs for value in pair]
        if not all(isinstance(value, Value) for value in values):
            return all(equal(x, y) for x, y in pairs)
        if any(value.expression.is_zero for value in values if isinstance(value, Value)):
            return all(equal(x, y) for x, y in pairs)
        (first, second), *others = pairs
        return all(
            numeric.equal(x.expression * second.expression, y.expression * first.expression) is True for x, y in others
        )
    ratio, other = (reference, answer) if isinstance(reference, Ratio) else (answer, reference)
    if not isinstance(ratio, Ratio) or not isinstance(other, Value) or len(ratio.parts) != 2:
        return False
    if not all(isinstance(part, Value) for part in ratio.parts):
        return False
    quotient = ratio.parts[0].expression / ratio.parts[1].expression
    if quotient.is_Integer:
        return False  # 3 to 1 is not the number 3
    return numeric.equal(quotient, other.expression) is True


# What compares readings of two kinds; other pairs are compared as equations, ratios or parts of the line.
_COMPARISONS: dict[tuple[type, type], Callable[[Any, Any], bool]] = {
    (Value, Value): equal_values,
    (Text, Text): _equal_texts,
    (Text, Value): _equal_to_letters,
    (Value, Text): _equal_to_letters,
    (Several, Several): _equal_collections,
    (Several, Elements): _equal_collections,
    (Elements, Several): _equal_collections,
    (Elements, Elements): _equal_collections,
    (Several, Group): _equal_assignments,
    (Group, Several): lambda reference, answer: _equal_assignments(answer, reference),
    (Group, Group): _equal_groups,
    (Group, Value): _equal_to_vector,
    (Value, Group): _equal_to_vector,
    (Time, Time): _equal_times,
}
