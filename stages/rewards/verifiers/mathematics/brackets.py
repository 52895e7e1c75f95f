"""Finds brackets that belong together, and what stands outside all of them."""

import itertools
from collections.abc import Callable, Sequence

from stages.rewards.verifiers.mathematics.tokens import Token, Unreadable

_CLOSING_OF = {
    "(": ")]", "[": ")]", "{": ("}",), "\\{": ("\\}",), "\\langle": ("\\rangle",), "\\lfloor": ("\\rfloor",),
    "\\lceil": ("\\rceil",),
}  # fmt: skip
_CLOSINGS = {")", "]", "}", "\\}", "\\rangle", "\\rfloor", "\\rceil"}


def partners(tokens: Sequence[Token]) -> dict[int, int]:
    """Returns the place of the closing bracket for each opening one.

    Raises:
        Unreadable: brackets do not match.
    """
    found: dict[int, int] = {}
    opened: list[int] = []
    for place, token in enumerate(tokens):
        if token.kind in ("word", "number", "letter"):
            continue
        if token.text in _CLOSING_OF or token.text.startswith("\\begin"):
            opened.append(place)
        elif token.text in _CLOSINGS or token.text.startswith("\\end"):
            if not opened or not _match(tokens[opened[-1]].text, token.text):
                raise Unreadable("brackets do not match")
            found[opened.pop()] = place
    if opened:
        raise Unreadable("a bracket is not closed")
    return found


def _match(opening: str, closing: str) -> bool:
    if opening.startswith("\\begin"):
        return closing.startswith("\\end")
    return closing in _CLOSING_OF[opening]


def outside(tokens: Sequence[Token], is_wanted: Callable[[Token], bool]) -> list[int]:
    """Returns the places of the tokens that are wanted and stand outside all brackets and bars."""
    ends = partners(tokens)
    found, place = [], 0
    while place < len(tokens):
        if place in ends:
            place = ends[place] + 1
            continue
        if is_wanted(tokens[place]):
            found.append(place)
        place += 1
    return found


def split(tokens: Sequence[Token], places: Sequence[int]) -> list[Sequence[Token]]:
    """Cuts tokens at places, which are left out."""
    edges = [-1, *places, len(tokens)]
    return [tokens[start + 1 : end] for start, end in itertools.pairwise(edges)]
