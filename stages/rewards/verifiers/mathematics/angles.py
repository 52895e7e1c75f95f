"""Reads angles: 45^\\circ, 45^\\circ 30', sums of angles, and degrees within a formula."""

from collections.abc import Callable
from dataclasses import replace

from sympy import Rational

from stages.rewards.verifiers.mathematics.readings import Value
from stages.rewards.verifiers.mathematics.tokens import Token, Unreadable

_TRIGONOMETRY = frozenset({"\\sin", "\\cos", "\\tan", "\\cot", "\\sec", "\\csc"})
_SIGNS = (["^", "{", "\\circ", "}"], ["^", "\\circ"])


def angle_of(tokens: list[Token], value_of: Callable[[list[Token]], Value]) -> Value | None:
    """Returns the angle that tokens are, or None where there is no degree sign in them.

    Args:
        tokens: of one value.
        value_of: what reads a value without degree signs.
    """
    if not any(token.text == "\\circ" for token in tokens):
        return None
    if any(token.text in _TRIGONOMETRY for token in tokens):
        return value_of(_with_radians(tokens))
    texts = [token.text for token in tokens]
    start = texts.index("^") if "^" in texts else 0
    length = next((len(sign) for sign in _SIGNS if texts[start : start + len(sign)] == sign), 0)
    if not length or start == 0:
        raise Unreadable("a degree sign out of place")
    rest = tokens[start + length :]
    if any(token.text == "'" for token in rest):
        return _with_minutes(value_of(tokens[:start]), rest)
    if texts[-1] not in ("\\circ", "}"):
        raise Unreadable("something after an angle")
    return replace(value_of(_without_degree_signs(tokens)), is_degrees=True)


def _with_minutes(degrees: Value, rest: list[Token]) -> Value:
    """Adds minutes and seconds to an angle: 30' is half a degree."""
    expression = degrees.expression
    for size, marks in ((60, ["'"]), (3600, ["'", "'"])):
        if not rest:
            break
        end = 1 + len(marks)
        if rest[0].kind != "number" or [token.text for token in rest[1:end]] != marks:
            raise Unreadable("minutes of an angle without their sign")
        expression += Rational(rest[0].text) / size
        rest = rest[end:]
    if rest:
        raise Unreadable("something after an angle")
    return Value(expression, is_degrees=True)


def _with_radians(tokens: list[Token]) -> list[Token]:
    """Writes the degrees within a formula as parts of pi: the cosine of 60 degrees."""
    found: list[Token] = []
    for place, token in enumerate(tokens):
        following = [after.text for after in tokens[place + 1 : place + 5]]
        if token.kind == "number" and (following[:2] == ["^", "\\circ"] or following[:3] == ["^", "{", "\\circ"]):
            factor = ["\\cdot", "\\frac", "{", "\\pi", "}", "{", "180", "}", ")"]
            kinds = {"180": "number", "\\cdot": "command", "\\frac": "command", "\\pi": "command"}
            found += [Token("sign", "("), token, *(Token(kinds.get(text, "sign"), text) for text in factor)]
        else:
            found.append(token)
    if sum(token.text == "\\circ" for token in tokens) > sum(token.text == "180" for token in found):
        raise Unreadable("a degree sign behind no number")
    return _without_degree_signs(found)


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
