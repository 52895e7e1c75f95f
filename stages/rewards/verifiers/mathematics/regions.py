"""Compares intervals, inequalities and sets of numbers as parts of the real line."""

from itertools import combinations
from typing import Any

import sympy
from sympy import EmptySet, FiniteSet, Interval, S, Set, Union, oo

from stages.rewards.verifiers.mathematics import numeric
from stages.rewards.verifiers.mathematics.readings import (
    Builder,
    Chain,
    Combined,
    Elements,
    Group,
    Named,
    Reading,
    Several,
    Value,
)

_LINES = {
    "R": S.Reals, "empty": EmptySet, "R^+": Interval.open(0, oo), "R^-": Interval.open(-oo, 0),
}  # fmt: skip
_POINTS = [step * 0.3717 - 11.1237 for step in range(60)] + [-1e3, -57.3, 41.9, 1e3]  # no ends of intervals
_INEQUALITIES = frozenset({"<", ">", "\\le", "\\ge", "\\ne"})


class _NoRegion(ValueError):
    """Raised where a reading is no part of the line."""


def equal_regions(reference: Reading, answer: Reading) -> bool:
    """Returns whether two readings are the same part of the line; False where one of them is none."""
    if isinstance(reference, Named) and isinstance(answer, Named):
        return reference.name == answer.name
    are_values = all(isinstance(side, Several | Elements | Value) for side in (reference, answer))
    if are_values and not any(
        _is_inequality(one) for side in (reference, answer) for one in getattr(side, "items", ())
    ):
        return False
    are_combined = isinstance(reference, Combined) and isinstance(answer, Combined)
    if are_combined and _equal_parts(reference, answer):
        return True
    if _differ_at_points(reference, answer):
        return False
    try:
        return _same_sets(_region(reference), _region(answer))
    except _NoRegion:
        return False


def _differ_at_points(reference: Reading, answer: Reading) -> bool:
    """Returns whether a point is in one part of the line and not in the other: the fast test, before any solving."""
    try:
        return any(_contains(reference, x) != _contains(answer, x) for x in _POINTS)
    except (_NoRegion, numeric.Undefined):
        return False


def _contains(reading: Reading, x: float) -> bool:
    """Returns whether a number, at the end of no interval, is in a part of the line."""
    if isinstance(reading, Chain):
        return _holds(reading, x)
    if isinstance(reading, Group) and len(reading.items) == 2:
        low, high = (_size(item) for item in reading.items)
        return low < x < high
    if isinstance(reading, Builder):
        return _contains(reading.condition, x)
    if isinstance(reading, Combined):
        parts = [_contains(part, x) for part in reading.parts]
        return {"union": any(parts), "intersection": all(parts), "difference": parts[0] and not any(parts[1:])}[
            reading.operator
        ]
    if isinstance(reading, Named) and reading.name in ("R", "empty"):
        return reading.name == "R"
    if isinstance(reading, Several) and reading.joiner == "or":
        return any(_contains(item, x) for item in reading.items)
    if isinstance(reading, Elements):
        return False
    raise _NoRegion


def _size(reading: Reading) -> float:
    """Returns a number without variables as a float, also an infinite one."""
    if not isinstance(reading, Value) or reading.expression.free_symbols:
        raise _NoRegion
    if reading.expression.is_infinite:
        return float(reading.expression)
    return numeric.value_at(reading.expression, {}, False).real


def _holds(chain: Chain, x: float) -> bool:
    """Returns whether a number solves a chain of inequalities in one variable."""
    variables = {one for side in chain.sides if isinstance(side, Value) for one in side.expression.free_symbols}
    if len(variables) != 1:
        raise _NoRegion
    point = {variables.pop(): complex(x)}
    for left, relation, right in zip(chain.sides, chain.relations, chain.sides[1:]):
        if relation in ("\\in", "\\notin"):
            if not isinstance(left, Value) or not left.expression.is_Symbol:
                raise _NoRegion
            if _contains(right, x) != (relation == "\\in"):
                return False
            continue
        if relation not in _INEQUALITIES or not isinstance(left, Value) or not isinstance(right, Value):
            raise _NoRegion
        values = [numeric.value_at(side.expression, point, False).real for side in (left, right)]
        if relation != "\\ne" and (values[0] < values[1]) != (relation in ("<", "\\le")):
            return False
    return True


def _is_inequality(reading: Reading) -> bool:
    return isinstance(reading, Chain) and bool(set(reading.relations) & _INEQUALITIES)


def _equal_parts(reference: Any, answer: Any) -> bool:
    """Compares unions and the like part by part, as they are written; so ends with variables compare too."""
    if reference.operator != answer.operator or len(reference.parts) != len(answer.parts):
        return False
    left = list(answer.parts)
    if reference.operator == "difference":
        return all(_equal_part(x, y) for x, y in zip(reference.parts, left))
    for part in reference.parts:
        place = next((i for i, other in enumerate(left) if _equal_part(part, other)), None)
        if place is None:
            return False
        del left[place]
    return True


def _equal_part(a: Reading, b: Reading) -> bool:
    if isinstance(a, Group) and isinstance(b, Group):
        is_same = (a.opening, a.closing, len(a.items)) == (b.opening, b.closing, len(b.items))
        pairs = list(zip(a.items, b.items))
        is_plain = all(isinstance(x, Value) and isinstance(y, Value) for x, y in pairs)
        return is_same and is_plain and all(numeric.equal(x.expression, y.expression) for x, y in pairs)
    return a == b or equal_regions(a, b)


def _region(reading: Reading) -> Set:
    """Returns the part of the line that a reading is."""
    if isinstance(reading, Named):
        if reading.name not in _LINES:
            raise _NoRegion
        return _LINES[reading.name]
    if isinstance(reading, Group):
        return _interval(reading)
    if isinstance(reading, Elements):
        return FiniteSet(*(_number(item) for item in reading.items))
    if isinstance(reading, Combined):
        return _combined(reading.operator, [_region(part) for part in reading.parts])
    if isinstance(reading, Builder):
        return _region(reading.condition)
    if isinstance(reading, Chain):
        return _of_chain(reading)
    if isinstance(reading, Several):
        return _of_several(reading)
    raise _NoRegion


def _of_several(reading: Several) -> Set:
    """Returns the part of the line that several readings are together."""
    parts = [_region(item) for item in reading.items]
    if reading.joiner == "or" and all(map(_may_be_pair, reading.items)) and _overlap(parts):
        raise _NoRegion  # "(1, 8) or (1, 7)" does not decide between two points
    if reading.joiner == "or" or (reading.joiner in (",", ";") and not any(map(_is_inequality, reading.items))):
        return Union(*parts)
    both = sympy.Intersection(*parts)
    return Union(*parts) if both is EmptySet and reading.joiner != "and" else both


def _may_be_pair(reading: Reading) -> bool:
    """Returns whether a reading may be a point of the plane as well as an open interval."""
    if not isinstance(reading, Group) or (reading.opening, reading.closing) != ("(", ")"):
        return False
    return all(isinstance(one, Value) and not one.expression.is_infinite for one in reading.items)


def _overlap(parts: list[Set]) -> bool:
    return any(sympy.Intersection(*pair) is not EmptySet for pair in combinations(parts, 2))


def _number(reading: Reading) -> Any:
    """Returns the real number that a reading is, or plus or minus infinity."""
    if not isinstance(reading, Value) or reading.expression.free_symbols or reading.unit:
        raise _NoRegion
    value = sympy.simplify(reading.expression) if not reading.expression.is_Rational else reading.expression
    if not value.is_extended_real:
        raise _NoRegion
    return value


def _interval(group: Group) -> Set:
    if len(group.items) != 2:
        raise _NoRegion
    low, high = (_number(item) for item in group.items)
    is_open = group.opening == "(", group.closing == ")"
    is_infinite = low.is_infinite, high.is_infinite
    if not (low < high) or any(infinite and not opened for infinite, opened in zip(is_infinite, is_open)):
        raise _NoRegion
    return Interval(low, high, *is_open)


def _combined(operator: str, parts: list[Set]) -> Set:
    if operator == "union":
        return Union(*parts)
    if operator == "intersection":
        return sympy.Intersection(*parts)
    return sympy.Complement(parts[0], Union(*parts[1:]))


def _of_chain(chain: Chain) -> Set:
    """Returns what solves an inequality in one variable, or a chain of them."""
    found: Set = S.Reals
    variables = {one for side in chain.sides if isinstance(side, Value) for one in side.expression.free_symbols}
    for left, name, relation, right in zip(chain.sides, chain.names, chain.relations, chain.sides[1:]):
        if relation in ("\\in", "\\notin"):
            if name is None:
                raise _NoRegion
            region = _region(right)
            found = sympy.Intersection(found, region if relation == "\\in" else sympy.Complement(S.Reals, region))
        elif relation in _INEQUALITIES or relation == "=":
            if len(variables) != 1 or not isinstance(left, Value) or not isinstance(right, Value):
                raise _NoRegion
            found = sympy.Intersection(found, _solutions(left.expression, relation, right.expression))
        else:
            raise _NoRegion
    return found


def _solutions(left: Any, relation: str, right: Any) -> Set:
    """Returns what solves an inequality; where one side is the variable, that needs no computation."""
    if left.free_symbols and right.free_symbols:
        left, right = left - right, sympy.Integer(0)
    if right.free_symbols:
        left, right = right, left
        relation = {"<": ">", ">": "<", "\\le": "\\ge", "\\ge": "\\le"}.get(relation, relation)
    bound = _number(Value(right))
    if left.is_Symbol:
        if relation == "=":
            return FiniteSet(bound)
        if relation == "\\ne":
            return sympy.Complement(S.Reals, FiniteSet(bound))
        if relation in ("<", "\\le"):
            return Interval(-oo, bound, True, relation == "<")
        return Interval(bound, oo, relation == ">", True)
    made = {"<": sympy.Lt, ">": sympy.Gt, "\\le": sympy.Le, "\\ge": sympy.Ge, "=": sympy.Eq, "\\ne": sympy.Ne}
    try:
        return made[relation](left.doit(), bound).as_set()
    except (NotImplementedError, TypeError, ValueError, AttributeError) as error:
        raise _NoRegion from error


def _same_sets(a: Set, b: Set) -> bool:
    """Returns whether two sets are the same: piece by piece, ends by value."""
    if a == b:
        return True
    first, second = _pieces(a), _pieces(b)
    if first is None or second is None or len(first) != len(second):
        return False
    return all(
        x[2:] == y[2:] and all(s == t or numeric.equal(s, t) is True for s, t in zip(x[:2], y[:2]))
        for x, y in zip(first, second)
    )


def _pieces(region: Set) -> list[tuple] | None:
    """Returns a set as intervals (start, end, is open left, is open right) in order, or None where it is not."""
    parts = region.args if isinstance(region, Union) else (region,)
    found: list[tuple] = []
    for part in parts:
        if isinstance(part, Interval):
            found.append((part.start, part.end, bool(part.left_open), bool(part.right_open)))
        elif isinstance(part, sympy.FiniteSet):
            found += [(value, value, False, False) for value in part]
        else:
            return None
    try:
        return sorted(found, key=lambda piece: (float(piece[0]), float(piece[1])))
    except TypeError:
        return None
