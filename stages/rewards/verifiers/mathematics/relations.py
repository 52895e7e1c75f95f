"""Compares equations, inequalities and systems of them by what solves them; what they assign, by its value.

The functions take `equal`, which compares two readings of any kind (`comparing.equal`).
"""

from collections.abc import Callable, Sequence
from typing import Any

import sympy

from stages.rewards.verifiers.mathematics import numeric, regions
from stages.rewards.verifiers.mathematics.formulas import symbol
from stages.rewards.verifiers.mathematics.readings import Chain, Elements, Reading, Several, Value

Equal = Callable[[Reading, Reading], bool]
_EQUATIONS = frozenset({"=", "\\approx", "\\equiv"})
_STARTS = (-7.3, -3.1, -1.2, -0.4, 0.3, 0.9, 1.7, 2.9, 5.3, 11.7)  # where roots are looked for
_APPROXIMATE = 0.05  # how far off what stands after an approximation sign may be


def equal_chains(reference: Reading, answer: Reading, equal: Equal) -> bool:
    """Compares two readings of which one is an equation or an inequality, or both are."""
    if isinstance(reference, Chain) and isinstance(answer, Chain):
        return _equal_both(reference, answer, equal)
    chain, other = (reference, answer) if isinstance(reference, Chain) else (answer, reference)
    assert isinstance(chain, Chain)
    if (value := assigned_value(chain, equal)) is not None:
        return equal(value[1], other)
    return regions.equal_regions(reference, answer)


def assigned(items: Sequence[Reading], equal: Equal) -> list[tuple[str, Reading]] | None:
    """Returns the names and values of assignments, or None where one of the items is none."""
    found = [assigned_value(item, equal) if isinstance(item, Chain) else None for item in items]
    return [value for value in found if value is not None and value[0]] if all(v and v[0] for v in found) else None


def assigned_value(chain: Chain, equal: Equal) -> tuple[str, Reading] | None:
    """Returns the name and the value of an equation that says what something is; the name is "" where it has none.

    "x = 2 + 3 = 5" says 5. A bare number on the way that is another one makes it say nothing, as in "x = 7 = 8", unless
    a computation on the way has the last value. None where an equation is to be solved, such as k^2 = 9.
    """
    if not set(chain.relations) <= _EQUATIONS:
        if chain.relations in (("\\in",), ("=", "\\in")) and chain.names[0]:
            return chain.names[0], chain.sides[-1]
        return None
    sides = list(zip(chain.sides, chain.names, ("=", *chain.relations)))
    named = [name for _, name, _ in sides if name]
    kept = [(side, relation) for side, name, relation in sides if not name] or [(sides[-1][0], "=")]
    if len(kept) < len(sides) - 1 and len(sides) > 2 and len(named) > 2:
        return None
    exact = [side for side, relation in kept if relation != "\\approx"] or [kept[0][0]]
    value = exact[-1]
    if named:
        if isinstance(value, Value) and any(
            symbol(name) in _symbols(value) for name in named if len(kept) < len(sides)
        ):
            return None
        agrees = [equal(value, side) for side in exact[:-1]]
        is_backed = any(same and not _is_bare(side) for same, side in zip(agrees, exact))
        own = {symbol(name) for name in named}
        is_clear = all(same for same, side in zip(agrees, exact) if _is_bare(side) or own & _symbols(side))
        return (named[0], value) if is_clear or is_backed else None
    if any(_symbols(side) for side, _ in kept):
        return None
    rounded = [side for side, relation in kept if relation == "\\approx"]
    is_true = all(equal(value, side) for side in exact[:-1]) and all(_is_near(value, side) for side in rounded)
    return ("", value) if is_true else None


def _symbols(reading: Reading) -> set[Any]:
    return reading.expression.free_symbols if isinstance(reading, Value) else set()


def _is_bare(reading: Reading) -> bool:
    return not isinstance(reading, Value) or bool(reading.expression.is_Rational)


def _is_near(a: Reading, b: Reading) -> bool:
    values = [numeric.number(side.expression) if isinstance(side, Value) else None for side in (a, b)]
    if values[0] is None or values[1] is None:
        return False
    return abs(values[0] - values[1]) <= _APPROXIMATE * abs(values[0])


def _equal_both(reference: Chain, answer: Chain, equal: Equal) -> bool:
    values = [assigned_value(chain, equal) for chain in (reference, answer)]
    if _equal_sides(reference, answer, equal):
        return True
    if "\\approx" in reference.relations and "\\approx" in answer.relations and not any(reference.names):
        return False
    if values[0] is not None and values[1] is not None:
        (name, value), (other_name, other) = values[0], values[1]
        if _same_name(name, other_name):
            return equal(value, other)
        if not (_symbols(value) and _symbols(other)):
            return False
    is_equation = [set(chain.relations) == {"="} and len(chain.sides) == 2 for chain in (reference, answer)]
    if all(is_equation):
        return _same_solutions(reference, answer)
    if any(is_equation):
        return False
    variables = [_variables(chain) for chain in (reference, answer)]
    if variables[0] != variables[1] or not variables[0]:
        return False
    if len(variables[0]) > 1:
        return _equal_inequalities(reference, answer)
    return regions.equal_regions(reference, answer)


def _same_name(a: str, b: str) -> bool:
    """Returns whether two names are the same; y is f(x)."""
    return a == b or {a, b} in ({"y", "f(x)"}, {"y", "g(x)"}, {"y", "y(x)"})


def _variables(chain: Chain) -> set[Any]:
    return {one for side in chain.sides for one in _symbols(side)}


def _equal_sides(reference: Chain, answer: Chain, equal: Equal) -> bool:
    """Returns whether two chains say the same side by side; of sides that are names, the names count."""
    if reference.relations != answer.relations:
        return False
    pairs = zip(reference.sides, reference.names, answer.sides, answer.names)
    return all(
        name == other_name if name or other_name else equal(side, other) for side, name, other, other_name in pairs
    )


def _difference(chain: Chain) -> Any:
    """Returns left side minus right side of an equation, or None where they are no expressions."""
    left, right = chain.sides
    if isinstance(left, Value) and isinstance(right, Value) and not (left.unit or right.unit):
        if not (isinstance(left.expression, sympy.Expr) and isinstance(right.expression, sympy.Expr)):
            return None
        return left.expression - right.expression
    return None


def _same_solutions(reference: Chain, answer: Chain) -> bool:
    """Returns whether two equations have the same solutions, by values at random points and roots near them."""
    first, second = _difference(reference), _difference(answer)
    if first is None or second is None:
        return False
    if first.free_symbols != second.free_symbols or not first.free_symbols:
        return False
    if (factor := _constant_factor(first, second)) is not None:
        return factor != 0
    variables = sorted(first.free_symbols, key=lambda one: one.name)
    return all(_same_roots(first, second, one) for one in variables)


def _constant_factor(first: Any, second: Any) -> complex | None:
    """Returns the number that one expression is of the other everywhere, or None where there is none."""
    is_complex = first.has(sympy.I) or second.has(sympy.I)
    factors: list[complex] = []
    for point in numeric.points(first.free_symbols | second.free_symbols):
        try:
            left = numeric.value_at(first, point, is_complex)
            right = numeric.value_at(second, point, is_complex)
        except numeric.Undefined:
            continue
        if abs(left) < 1e-9 and abs(right) < 1e-9:
            continue
        if abs(right) < 1e-9:
            return None
        factors.append(left / right)
        if abs(factors[-1] - factors[0]) > 1e-9 * abs(factors[0]):
            return None
    if len(factors) < 3:
        return None
    exact = sympy.nsimplify(factors[0].real, rational=True, tolerance=1e-10)
    return factors[0] if numeric.equal(first, exact * second) is not False else None


def _same_roots(first: Any, second: Any, variable: Any) -> bool:
    """Returns whether each root of one expression in a variable is one of the other, at a few points."""
    num_found = 0
    for number, point in enumerate(numeric.points(first.free_symbols - {variable})):
        for one, other in ((first, second), (second, first)):
            for root in _roots(one, variable, point):
                num_found += 1
                try:
                    value = numeric.value_at(other, point | {variable: root}, False)
                except numeric.Undefined:
                    return False
                if abs(value) > 1e-6 * _size(other, variable, point, root):
                    return False
        if number == 3 or not point:
            break
    return num_found >= 2


def _size(expression: Any, variable: Any, point: dict, root: complex) -> float:
    """Returns how much an expression changes near a root, to tell a root from a value that is small."""
    try:
        nearby = numeric.value_at(expression, point | {variable: root + 0.01}, False)
    except numeric.Undefined:
        return 1.0
    return max(abs(nearby) * 100, 1e-6)


def _roots(expression: Any, variable: Any, point: dict) -> list[complex]:
    """Returns the roots that the secant method finds from several starts."""

    def value(x: float) -> float:
        return numeric.value_at(expression, point | {variable: complex(x)}, False).real

    found: list[complex] = []
    for start in _STARTS:
        try:
            x, y = start, start + 0.01
            left, right = value(x), value(y)
            for _ in range(60):
                if right == left or abs(right) < 1e-13:
                    break
                x, y, left = y, y - right * (y - x) / (right - left), right
                right = value(y)
            if abs(right) < 1e-9 and all(abs(y - root) > 1e-6 for root in found):
                found.append(complex(y))
        except (numeric.Undefined, OverflowError, ZeroDivisionError):
            continue
    return found


def _atoms(chain: Chain) -> list[tuple[Any, str]] | None:
    """Returns the inequalities of a chain as (expression, relation to 0), turned to < or <=."""
    found = []
    for left, relation, right in zip(chain.sides, chain.relations, chain.sides[1:]):
        if not all(isinstance(side, Value) and isinstance(side.expression, sympy.Expr) for side in (left, right)):
            return None
        difference = left.expression - right.expression
        if relation in (">", "\\ge"):
            difference, relation = -difference, {">": "<", "\\ge": "\\le"}[relation]
        found.append((difference, relation))
    return found


def _equal_inequalities(reference: Chain, answer: Chain) -> bool:
    """Compares inequalities of several variables one by one."""
    first, second = _atoms(reference), _atoms(answer)
    if first is None or second is None or len(first) != len(second):
        return False
    left = list(second)
    for expression, relation in first:
        for place, (other, other_relation) in enumerate(left):
            factor = _constant_factor(expression, other) if relation == other_relation else None
            if factor is not None and (factor.real > 0 or relation in ("=", "\\ne")):
                del left[place]
                break
        else:
            return False
    return True


def equal_systems(reference: Several | Elements, answer: Several | Elements, equal: Equal) -> bool:
    """Compares lists with equations or inequalities in them."""
    first, second = assigned(reference.items, equal), assigned(answer.items, equal)
    if first is not None and second is not None:
        if len(dict(first)) == len(first) and len(dict(second)) == len(second):
            by_name = dict(second)
            is_same = set(dict(first)) == set(by_name)
            return is_same and all(equal(value, by_name[name]) for name, value in first)
        return _matched(first, second, lambda x, y: x[0] == y[0] and equal(x[1], y[1]))
    if first is not None or second is not None:
        named = first if first is not None else second
        other = answer if first is not None else reference
        assert named is not None
        if any(isinstance(item, Chain) for item in other.items) or len(named) != len(other.items):
            return False
        values = [value for _, value in named]
        if len({name.split("_")[0] for name, _ in named}) == 1:
            return _matched(values, other.items, equal)
        return all(equal(x, y) for x, y in zip(values, other.items))
    if len(reference.items) == len(answer.items) and _matched(reference.items, answer.items, equal):
        joiners = {side.joiner for side in (reference, answer) if isinstance(side, Several)}
        return joiners != {"and", "or"}
    return regions.equal_regions(reference, answer)


def _matched(first: Sequence, second: Sequence, is_equal: Callable) -> bool:
    """Returns whether each item of one list has its equal in the other, each used once."""
    left = list(second)
    for item in first:
        place = next((i for i, other in enumerate(left) if is_equal(item, other)), None)
        if place is None:
            return False
        del left[place]
    return not left
