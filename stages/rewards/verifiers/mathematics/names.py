"""Tells what names a quantity, such as x, f(3), AB or the angle ABC, from what computes one."""

from collections.abc import Sequence

from stages.rewards.verifiers.mathematics import units
from stages.rewards.verifiers.mathematics.brackets import partners
from stages.rewards.verifiers.mathematics.tokens import Token
from stages.text.statements import CHANGING, STOPS

_MARKS = {"\\angle", "\\triangle", "\\measuredangle", "\\odot", "\\square", "\\parallelogram"}
ACCENTS = {"\\overline", "\\vec", "\\hat", "\\bar", "\\tilde", "\\widehat", "\\overrightarrow", "\\dot", "\\ddot"}
_CONSTANTS = {"e", "i"}


def plain(tokens: Sequence[Token]) -> str:
    """Returns tokens as one text without braces, so that a_n and a_{n} are the same."""
    return "".join(token.text for token in tokens if token.text not in ("{", "}")).replace("\\vec", "")


def symbol_end(tokens: Sequence[Token], start: int, ends: dict[int, int]) -> int:
    """Returns where the symbol ends that begins with the letter or the accent at `start`: with its index and primes."""
    place = start + 1
    if tokens[start].text in ACCENTS:
        place = ends.get(place, place) + 1
    while place < len(tokens):
        if tokens[place].text == "_" and place + 1 < len(tokens):
            place = ends.get(place + 1, place + 1) + 1
        elif tokens[place].text == "'":
            place += 1
        elif tokens[place].text == "^" and place + 1 < len(tokens) and tokens[place + 1].text in ("'", "*"):
            place += 2
        elif _is_braced_prime(tokens, place, ends):
            place = ends[place + 1] + 1
        else:
            break
    return place


def _is_braced_prime(tokens: Sequence[Token], place: int, ends: dict[int, int]) -> bool:
    """Returns whether ^{\\prime} stands at a place."""
    if tokens[place].text != "^" or place + 1 not in ends:
        return False
    return {token.text for token in tokens[place + 2 : ends[place + 1]]} in ({"'"}, {"*"})


def name_of(tokens: Sequence[Token]) -> str | None:
    """Returns the name that tokens are, or None where they are anything else."""
    if not tokens:
        return None
    texts = [token.text for token in tokens]
    if all(token.kind == "word" for token in tokens):
        said = [text.lower() for text in texts]
        return None if set(said) & (STOPS | CHANGING | set(units.UNITS)) else " ".join(said)
    if texts[0] == "m" and len(texts) > 1 and texts[1] in _MARKS:
        return name_of(tokens[1:])
    if texts[0] in _MARKS:
        is_figure = len(tokens) > 1 and all(token.kind in ("letter", "number") for token in tokens[1:])
        return plain(tokens) if is_figure else None
    ends = partners(tokens)
    if ends.get(0) == len(tokens) - 1 or (texts[0] == "|" and texts[-1] == "|"):
        return _name_in_brackets(tokens)
    if ":" in texts or texts[0] == "\\frac":
        return _ratio_of_names(tokens, ends)
    if tokens[0].kind not in ("letter", "word") and texts[0] not in ACCENTS:
        return None
    end = symbol_end(tokens, 0, ends)
    if end == len(tokens):
        return None if texts == ["e"] else plain(tokens)
    return plain(tokens) if _is_application(tokens, end, ends) else None


def _name_in_brackets(tokens: Sequence[Token]) -> str | None:
    """Returns the name of {x}, (x, y), |AB| or [ABC]."""
    inner = tokens[1:-1]
    if tokens[0].text == "{":
        return name_of(inner)
    if tokens[0].text == "(":
        parts = [name_of([token]) for token in inner if token.text != ","]
        return plain(tokens) if len(parts) > 1 and all(parts) else None
    return plain(inner) if len(inner) == 1 and _is_segment(inner[0]) else None


def _is_segment(token: Token) -> bool:
    return token.kind == "letter" and len(token.text) > 1 and token.text.isupper()


def _ratio_of_names(tokens: Sequence[Token], ends: dict[int, int]) -> str | None:
    """Returns the name of AB : CD, V_1 : V_2 or \\frac{AB}{CD}."""
    texts = [token.text for token in tokens]
    if ":" in texts:
        place = texts.index(":")
        sides = (name_of(tokens[:place]), name_of(tokens[place + 1 :]))
        return plain(tokens) if all(sides) else None
    is_whole = 1 in ends and ends[1] + 1 in ends and ends[ends[1] + 1] == len(tokens) - 1
    is_of_segments = is_whole and all(_is_segment(t) or t.text in "{}_" for t in tokens[1:])
    return plain(tokens) if is_of_segments else None


def _is_application(tokens: Sequence[Token], end: int, ends: dict[int, int]) -> bool:
    """Returns whether f(..) ends the tokens, where f is what stands before `end`; x(x+1) is a product."""
    if tokens[end].text == "^" and end + 1 < len(tokens):
        end = ends.get(end + 1, end + 1) + 1  # f^{-1}(x)
    if end not in ends or ends[end] != len(tokens) - 1 or tokens[end].text not in ("(", "["):
        return False
    return all(token.text != tokens[0].text for token in tokens[end:])
