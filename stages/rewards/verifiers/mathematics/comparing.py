"""Compares what an answer says with what the reference says, each by its kind."""

from collections.abc import Sequence
from typing import Any

import sympy

from stages.rewards.verifiers.mathematics import numeric, regions, relations
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

_MIN_DECIMALS = 6  # a decimal fraction with as many digits may stand for the exact number that it rounds


def equal(reference: Reading, answer: Reading) -> bool:
    """Returns whether an answer says what the reference says."""
    reference, answer = plain(reference), plain(answer)
    if reference == answer:
        return True
    if isinstance(reference, Value) and isinstance(answer, Value):
        return equal_values(reference, answer)
    if isinstance(reference, Text) and isinstance(answer, Text):
        return same_words(reference.words, answer.words)
    if isinstance(reference, Chain) or isinstance(answer, Chain):
        return relations.equal_chains(reference, answer, equal)
    if isinstance(reference, Several | Elements) and isinstance(answer, Several | Elements):
        return _equal_collections(reference, answer)
    if isinstance(reference, Several) and isinstance(answer, Group):
        return _equal_assignments(reference, answer)
    if isinstance(reference, Group) and isinstance(answer, Several):
        return _equal_assignments(answer, reference)
    if isinstance(reference, Group) and isinstance(answer, Group):
        return _equal_groups(reference, answer)
    if isinstance(reference, Ratio) or isinstance(answer, Ratio):
        return _equal_ratios(_as_ratio(reference), _as_ratio(answer))
    if isinstance(reference, Group | Value) and isinstance(answer, Group | Value):
        return _equal_to_vector(reference, answer)
    if isinstance(reference, Time) and isinstance(answer, Time):
        is_same = (reference.hours, reference.minutes) == (answer.hours, answer.minutes)
        return is_same and (reference.half == answer.half or not (reference.half and answer.half))
    return regions.equal_regions(reference, answer)


def plain(reading: Reading) -> Reading:
    """Returns a reading without what it is wrapped in: a list or a set of alternatives of one."""
    if isinstance(reading, Several) and len(reading.items) == 1:
        return plain(reading.items[0])
    return reading


def value_in(reading: Reading) -> Reading:
    """Returns what an equation such as x = 5 says that something is; anything else as it is."""
    found = relations.assigned_value(reading, equal) if isinstance(reading, Chain) else None
    return reading if found is None else found[1]


def same_words(a: str, b: str) -> bool:
    """Returns whether two texts are the same words, apart from case and from the plural of the last."""
    left, right = (" ".join(text.casefold().split()).strip(" .!") for text in (a, b))
    return left == right or (len(left.split()) > 1 and left.removesuffix("s") == right.removesuffix("s"))


def equal_values(a: Value, b: Value) -> bool:
    """Returns whether two values are equal: in value, unit, angle, percentage and modulus."""
    if a.modulus is not None and b.modulus is not None:
        is_congruent = sympy.Mod(a.expression - b.expression, a.modulus) == 0
        return numeric.equal(a.modulus, b.modulus) is True and bool(is_congruent)
    if a.unit and b.unit:
        if a.unit[0] != b.unit[0]:
            return False
        if a.unit[1] != b.unit[1]:
            factor = sympy.nsimplify(a.unit[1]) / sympy.nsimplify(b.unit[1])
            return equal_numbers(a, b, a.expression * factor, b.expression)
    if a.is_percent != b.is_percent:
        percent, other = (a, b) if a.is_percent else (b, a)
        return any(equal_numbers(percent, other, percent.expression / size, other.expression) for size in (1, 100))
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
    """Returns whether a decimal fraction with many digits is what the other number rounds or cuts to."""
    decimals = [v.num_decimals for v in (a, b) if v.num_decimals is not None and v.num_decimals >= _MIN_DECIMALS]
    if not decimals or left.free_symbols or right.free_symbols:
        return False
    values = numeric.number(left), numeric.number(right)
    if values[0] is None or values[1] is None:
        return False
    difference = abs(values[0] - values[1])
    is_close = difference <= 1.001 * 10.0 ** -min(decimals)
    return is_close and difference <= 1e-4 * max(abs(values[0]), abs(values[1]))


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
