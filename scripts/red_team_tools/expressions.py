"""Formulas, tuples, sets, intervals and equations, and wrong ones that look like them.

A formula is a tree that is evaluated with plain Fractions at random points, where every letter is a variable of its
own, and capitals are others than small letters. So that two formulas are different is decided without any grader.
"""

from collections.abc import Callable
from fractions import Fraction
from random import Random
from typing import NamedTuple

from scripts.red_team_tools.numbers import other_number, plain, write

LETTERS = "abckmnprtvxyzGMPV"
Tree = tuple | str | int  # ("+", left, right), a variable or a number


class Wrong(NamedTuple):
    """A reference, a right way to write it, a wrong answer, and how that was made."""

    reference: str
    right: str
    answer: str
    how: str


def wrong_formula(draw: Random) -> Wrong:
    """Returns a formula in letters and another one that has other values."""
    letters = draw.sample(LETTERS, draw.choice((1, 2, 3)))
    while True:
        tree = _tree(draw, letters, depth=draw.choice((1, 2, 2, 3)))
        how, other = draw.choice(_TREE_SLIPS)(tree, draw)
        if _letters(tree) and other is not None and _differ(tree, other, draw):
            return Wrong(latex(tree), latex(_shuffled(tree, draw)), latex(other), how)


def _tree(draw: Random, letters: list[str], depth: int) -> Tree:
    if depth == 0:
        return draw.choice(letters) if draw.random() < 0.7 else draw.randint(2, 12)
    kind = draw.choice("+-*/^")
    left = _tree(draw, letters, depth - 1)
    if kind == "^":
        return ("^", left if isinstance(left, str) else draw.choice(letters), draw.randint(2, 4))
    return (kind, left, _tree(draw, letters, draw.randint(0, depth - 1)))


def latex(tree: Tree) -> str:
    """Returns the formula in LaTeX."""
    if not isinstance(tree, tuple):
        return str(tree)
    kind, left, right = tree
    if kind == "/":
        return rf"\frac{{{latex(left)}}}{{{latex(right)}}}"
    if kind == "^":
        return f"{_grouped(left)}^{{{latex(right)}}}"
    if kind == "*":
        if isinstance(left, int) and isinstance(right, str):
            return f"{left}{right}"
        return rf"{_grouped(left)} \cdot {_grouped(right)}"
    return f"{latex(left)} {kind} {_grouped(right) if kind == '-' else latex(right)}"


def _grouped(tree: Tree) -> str:
    return f"({latex(tree)})" if isinstance(tree, tuple) and tree[0] != "^" else latex(tree)


def value_of(tree: Tree, point: dict[str, Fraction]) -> Fraction | None:
    """Returns the value of a formula, or None where it divides by zero."""
    if isinstance(tree, str):
        return point[tree]
    if isinstance(tree, int):
        return Fraction(tree)
    left, right = value_of(tree[1], point), value_of(tree[2], point)
    if left is None or right is None or (tree[0] == "/" and not right):
        return None
    if tree[0] == "^":
        return left ** int(right)
    return {"+": left + right, "-": left - right, "*": left * right, "/": left / right if right else None}[tree[0]]


def _differ(one: Tree, other: Tree, draw: Random) -> bool:
    """Returns whether two formulas have different values at three random points each."""
    for _ in range(3):
        point = {
            letter: Fraction(draw.randint(2, 50), draw.randint(2, 9)) for letter in _letters(one) | _letters(other)
        }
        first, second = value_of(one, point), value_of(other, point)
        if first is None or second is None or abs(first - second) <= abs(first) / 1000:
            return False
    return True


def _letters(tree: Tree) -> set[str]:
    if isinstance(tree, tuple):
        return _letters(tree[1]) | _letters(tree[2])
    return {tree} if isinstance(tree, str) else set()


def _shuffled(tree: Tree, draw: Random) -> Tree:
    """Returns the same formula with the sides of sums and products exchanged here and there."""
    if not isinstance(tree, tuple):
        return tree
    kind, left, right = tree[0], _shuffled(tree[1], draw), _shuffled(tree[2], draw)
    return (kind, right, left) if kind == "+" and draw.random() < 0.5 else (kind, left, right)


def _replaced(tree: Tree, draw: Random, fits: Callable[[Tree], bool], change: Callable[[Tree], Tree]) -> Tree | None:
    """Returns the tree with one of its parts changed, or None where no part fits."""
    places: list[tuple[int, ...]] = []

    def visit(part: Tree, path: tuple[int, ...]) -> None:
        if fits(part):
            places.append(path)
        if isinstance(part, tuple):
            visit(part[1], (*path, 1))
            visit(part[2], (*path, 2))

    def rebuilt(part: Tree, path: tuple[int, ...]) -> Tree:
        if not path:
            return change(part)
        assert isinstance(part, tuple)
        pieces = list(part)
        pieces[path[0]] = rebuilt(part[path[0]], path[1:])
        return tuple(pieces)

    visit(tree, ())
    return rebuilt(tree, draw.choice(places)) if places else None


def _is_kind(kinds: str) -> Callable[[Tree], bool]:
    return lambda part: isinstance(part, tuple) and part[0] in kinds


def _is_letter(part: Tree) -> bool:
    return isinstance(part, str)


def _is_number(part: Tree) -> bool:
    return isinstance(part, int)


TreeSlip = Callable[[Tree, Random], tuple[str, Tree | None]]
_TREE_SLIPS: tuple[TreeSlip, ...] = (
    lambda tree, draw: ("case of a letter", _replaced(tree, draw, _is_letter, lambda part: str(part).swapcase())),
    lambda tree, draw: ("another letter", _replaced(tree, draw, _is_letter, lambda part: draw.choice(LETTERS))),
    lambda tree, draw: ("sign", _replaced(tree, draw, _is_kind("+-"), lambda p: ("-" if p[0] == "+" else "+", *p[1:]))),
    lambda tree, draw: ("operator", _replaced(tree, draw, _is_kind("*/"), lambda p: ("+", *p[1:]))),
    lambda tree, draw: ("sides", _replaced(tree, draw, _is_kind("-/"), lambda p: (p[0], p[2], p[1]))),
    lambda tree, draw: ("exponent", _replaced(tree, draw, _is_kind("^"), lambda p: (*p[:2], p[2] + 1))),
    lambda tree, draw: ("no exponent", _replaced(tree, draw, _is_kind("^"), lambda p: p[1])),
    lambda tree, draw: ("number", _replaced(tree, draw, _is_number, lambda p: p + draw.choice((-1, 1, 10)))),
    lambda tree, draw: ("a part is lost", _replaced(tree, draw, _is_kind("+-*/"), lambda p: p[1])),
    lambda tree, draw: ("more", ("+", tree, draw.randint(1, 9))),
    lambda tree, draw: ("a factor", ("*", draw.randint(2, 9), tree)),
    lambda tree, draw: ("negative", ("-", 0, tree)),
)


def wrong_collection(draw: Random) -> Wrong:
    """Returns a tuple, a set, a list of solutions or an interval, and a wrong one."""
    numbers = sorted({Fraction(draw.randint(-9, 30), draw.choice((1, 1, 1, 2))) for _ in range(5)})[
        : draw.choice((2, 3))
    ]
    if len(numbers) < 2:
        return wrong_collection(draw)
    other = list(numbers)
    place = draw.randrange(len(other))
    other[place] = other_number(other[place], draw)
    more = [*numbers, max(numbers) + 1]
    kind = draw.choice((_tuples, _sets, _intervals))
    return kind(numbers, other, more, draw)


def _tuples(numbers: list[Fraction], other: list[Fraction], more: list[Fraction], draw: Random) -> Wrong:
    answers = [
        ("a member", f"({_listed(other)})"),
        ("order", f"({_listed(numbers[::-1])})"),
        ("more", f"({_listed(more)})"),
        ("less", f"({_listed(numbers[:-1])})"),
        ("twice", f"({_listed([numbers[0], *numbers])})"),
        ("a set", rf"\{{{_listed(numbers)}\}}"),
        ("one of them", plain(numbers[0])),
        ("hedge", f"({_listed(numbers)}) or ({_listed(other)})"),
        ("sum", plain(sum(numbers) + 100)),
    ]
    how, answer = draw.choice(answers)
    return Wrong(f"({_listed(numbers)})", f"({_listed(numbers, draw)})", answer, f"tuple: {how}")


def _sets(numbers: list[Fraction], other: list[Fraction], more: list[Fraction], draw: Random) -> Wrong:
    reference = rf"\{{{_listed(numbers)}\}}" if draw.random() < 0.5 else _listed(numbers)
    answers = [
        ("a member", rf"\{{{_listed(other)}\}}" if sorted(other) != numbers else f"{_listed(more)}"),
        ("more", rf"\{{{_listed(more)}\}}"),
        ("less", _listed(numbers[:-1])),
        ("one of them", plain(numbers[-1])),
        ("hedge", f"{_listed(numbers)} or {_listed(more)}"),
        ("interval", f"[{plain(numbers[0])}, {plain(numbers[-1])})"),
    ]
    how, answer = draw.choice(answers)
    return Wrong(reference, rf"\{{{_listed(numbers[::-1], draw)}\}}", answer, f"set: {how}")


def _intervals(numbers: list[Fraction], other: list[Fraction], more: list[Fraction], draw: Random) -> Wrong:
    low, high = plain(numbers[0]), plain(numbers[-1])
    opened, closed = draw.choice("(["), draw.choice(")]")
    if (opened, closed) == ("(", ")"):
        closed = "]"  # an open interval is written as a pair is
    swapped = {"(": "[", "[": "(", ")": "]", "]": ")"}
    answers = [
        ("end", f"{opened}{low}, {plain(numbers[-1] + 1)}{closed}"),
        ("begin", f"{opened}{plain(numbers[0] - 1)}, {high}{closed}"),
        ("left bracket", f"{swapped[opened]}{low}, {high}{closed}"),
        ("right bracket", f"{opened}{low}, {high}{swapped[closed]}"),
        ("infinite", rf"{opened}{low}, \infty)"),
        ("union", rf"{opened}{low}, {high}{closed} \cup (100, 101)"),
        ("ends", f"{low}, {high}"),
        ("order", f"{opened}{high}, {low}{closed}"),
        ("set", rf"\{{{low}, {high}\}}"),
        (
            "inequality",
            rf"{low} {'<' if opened == '[' else chr(92) + 'le'} x {'<' if closed == ')' else chr(92) + 'le'} {high}",
        ),
    ]
    how, answer = draw.choice(answers)
    less = {True: r"\le", False: "<"}
    right = f"{low} {less[opened == '[']} x {less[closed == ']']} {high}"
    return Wrong(f"{opened}{low}, {high}{closed}", right, answer, f"interval: {how}")


def _listed(numbers: list[Fraction], draw: Random | None = None) -> str:
    """Returns "1, 2", with `draw` in another writing."""
    if draw is None:
        return ", ".join(map(plain, numbers))
    return ", ".join(
        rf"\frac{{{one.numerator}}}{{{one.denominator}}}" if one.denominator > 1 else plain(one) for one in numbers
    )


def wrong_equation(draw: Random) -> Wrong:
    """Returns an equation or another form that the words around a number decide, and a wrong one."""
    value = Fraction(draw.randint(2, 60))
    v, w = plain(value), plain(other_number(value, draw))
    number, digits = draw.randint(2, 9), f"{draw.randint(1, 4)}{draw.randint(0, 4)}"
    forms = [
        (f"x = {v}", f"x={v}", f"x = {w}", "equation: number"),
        (f"x = {v}", v, f"x \\ne {v}", "equation: sign"),
        (f"y = {number}x + {v}", f"y={v}+{number}x", f"y = {number}x - {v}", "line: sign"),
        (f"y = {number}x + {v}", f"y={v}+{number}x", f"x = {number}y + {v}", "line: letters"),
        (f"y = {number}x + {v}", f"y={v}+{number}x", f"y = {number + 1}x + {v}", "line: slope"),
        (f"x^2 + y^2 = {v}", f"y^2+x^2={v}", f"x^2 - y^2 = {v}", "circle: sign"),
        (f"x^2 + y^2 = {v}", f"y^2+x^2={v}", f"x^2 + y^2 = {w}", "circle: number"),
        (f"x > {v}", f"x>{v}", f"x < {v}", "inequality: direction"),
        (f"x > {v}", f"{v}<x", rf"x \ge {v}", "inequality: equality"),
        (f"{v} \\text{{ km}}", f"{v} km", f"{v} m", "unit"),
        (f"{v} \\text{{ kg}}", f"{v} kg", f"{v} km", "unit"),
        (f"{v} \\text{{ cm}}^2", f"{v} cm^2", f"{v} cm^3", "unit"),
        (f"{digits}_5", f"{digits}_{{5}}", f"{digits}_6", "base"),
        (f"{number}:30 \\text{{ p.m.}}", f"{number}:30 p.m.", f"{number}:30 \\text{{ a.m.}}", "half of the day"),
        (f"{number}:30 \\text{{ p.m.}}", f"{number}:30 p.m.", f"{number}:35 \\text{{ p.m.}}", "time"),
        (f"{number}:{number + 1}", f"{number}:{number + 1}", f"{number + 1}:{number}", "ratio: order"),
        (f"{number} + {v}i", f"{v}i+{number}", f"{number} - {v}i", "complex: sign"),
        (f"{number} + {v}i", f"{v}i+{number}", f"{v} + {number}i" if number != value else f"{v}i", "complex: order"),
        (f"{number}\\sqrt{{{v}}}", f"{number} \\sqrt{{{v}}}", f"{v}\\sqrt{{{number}}}", "root: order"),
        (f"{number}\\pi", f"{number} \\pi", f"{number}", "pi is lost"),
        (f"\\frac{{\\pi}}{{{number}}}", f"\\pi/{number}", f"\\frac{{{number}}}{{\\pi}}", "pi: order"),
        (f"\\log_2 {v}", f"\\log_{{2}} {v}", f"\\log_3 {v}", "logarithm: base"),
        ("\\sin x", "\\sin(x)", "\\cos x", "function"),
        ("f(x)", "f(x)", "f(y)", "function: name of the variable"),
        (f"\\frac{{{v}}}{{x}}", f"{v}/x", f"\\frac{{x}}{{{v}}}", "fraction: order"),
    ]
    reference, right, answer, how = draw.choice([form for form in forms if form[0] != form[2]])
    if value == number or ("root" in how and number**2 * value == value**2 * number):
        return wrong_equation(draw)
    return Wrong(reference, right, answer, how)


def wrong_number(draw: Random, value: Fraction) -> Wrong:
    """Returns a number and another one, both written in many ways."""
    return Wrong(plain(value), write(value, draw), write(other_number(value, draw), draw), "another number")
