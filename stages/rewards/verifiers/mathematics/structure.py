"""Makes a reading of tokens: lists, tuples, intervals, sets, equations, ratios, times, and values with units.

Each function reads all the tokens that it is given, or raises Unreadable.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import TypeGuard

from stages.rewards.verifiers.mathematics import values, words
from stages.rewards.verifiers.mathematics.brackets import outside, partners, split
from stages.rewards.verifiers.mathematics.names import name_of
from stages.rewards.verifiers.mathematics.readings import (
    Builder,
    Chain,
    Combined,
    Elements,
    Group,
    Named,
    Ratio,
    Reading,
    Several,
    Text,
    Time,
    Value,
)
from stages.rewards.verifiers.mathematics.tokens import Token, Unreadable
from stages.text.statements import words_of

RELATIONS = frozenset({"=", "<", ">", "\\le", "\\ge", "\\ne", "\\approx", "\\equiv", "\\in", "\\notin", "\\subset"})
_ARRANGEMENTS = ("aligned", "align", "alignedat", "equation", "gathered", "gather", "split", "cases", "multline")
_SETS = {"\\mathbb{N}": "N", "\\mathbb{Z}": "Z", "\\mathbb{Q}": "Q", "\\mathbb{R}": "R", "\\mathbb{C}": "C",
         "\\mathbb{P}": "P", "\\emptyset": "empty"}  # fmt: skip
_SET_OPERATORS = {"\\cup": "union", "\\cap": "intersection", "\\setminus": "difference"}


def read(tokens: Sequence[Token], letters_are_units: bool = False) -> Reading:
    """Returns what tokens say.

    Args:
        tokens: of `prose.without_words`.
        letters_are_units: whether a letter after a number and a space may be a unit, as in "5 m".

    Raises:
        Unreadable: something in them cannot be read.
    """
    tokens = _joined_thousands(_in_one_row(list(tokens)))
    if not tokens:
        raise Unreadable("nothing is there")
    return _Reader(letters_are_units).several(tokens)


class _Reader:
    """Reads with one decision on letters that may be units."""

    def __init__(self, letters_are_units: bool) -> None:
        self.letters_are_units = letters_are_units

    def several(self, tokens: Sequence[Token]) -> Reading:
        """Reads values side by side, or the one that is there."""
        if places := outside(tokens, lambda token: token.kind == "sign" and token.text == ";"):
            rows = [self.several(part) for part in split(tokens, places) if part]
            return Several(tuple(rows), ";") if len(rows) > 1 else rows[0]
        places = outside(tokens, _is_separator)
        parts = self._parts(tokens, places)
        if len(parts) == 1:
            return self.item(parts[0])
        said = {tokens[place].text.lower() for place in places}
        joiner = "or" if "or" in said else "and" if "and" in said else ","
        items = [self.item(part) for part in parts]
        if joiner == "and" and (total := values.sum_of_sizes(items)) is not None:
            return total
        flat = [one for item in items for one in (item.items if _is_alternatives(item) else (item,))]
        return Several(tuple(_with_shared_name(flat)), joiner)

    def _parts(self, tokens: Sequence[Token], places: Sequence[int]) -> list[Sequence[Token]]:
        """Cuts at separators; "," and "and" side by side are one."""
        parts = split(tokens, places)
        kept = [part for part in parts if part]
        for number, part in enumerate(parts):
            is_doubled = 0 < number < len(parts) - 1 and tokens[places[number]].kind == "word"
            if not part and not is_doubled:
                raise Unreadable("a part of the list is missing")
        return kept

    def item(self, tokens: Sequence[Token]) -> Reading:
        """Reads an equation, an inequality or a value."""
        tokens, modulus = _without_modulus(list(tokens))
        if not tokens:
            raise Unreadable("nothing stands before the modulus")
        places = outside(tokens, lambda token: token.kind != "word" and token.text in RELATIONS)
        if not places:
            reading = self.operand(tokens)
        else:
            sides = split(tokens, places)
            if not sides[0] and tokens[0].text in ("=", "\\approx"):
                return self.item(tokens[1:])
            reading = self._chain(sides, tuple(tokens[place].text for place in places))
        if modulus is not None:
            number = values.value_of(modulus).expression
            if isinstance(reading, Chain) and isinstance(reading.sides[-1], Value):
                last = replace(reading.sides[-1], modulus=number)
                return Chain((*reading.sides[:-1], last), reading.relations, reading.names)
            if not isinstance(reading, Value):
                raise Unreadable("a modulus without a number")
            return replace(reading, modulus=number)
        return reading

    def _chain(self, sides: list[Sequence[Token]], relations: tuple[str, ...]) -> Reading:
        if not all(sides):
            raise Unreadable("a side of an equation is missing")
        names = tuple(name_of(side) for side in sides)
        if any(_is_predicate(side) for side in sides[1:]):
            raise Unreadable("what is said of the answer")
        read_sides = [self._side(side, name) for side, name in zip(sides, names)]
        alternatives = [side for side in read_sides if _is_alternatives(side)]
        if not alternatives:
            return Chain(tuple(read_sides), relations, names)
        chains = [
            Chain(tuple(side.items[i] if _is_alternatives(side) else side for side in read_sides), relations, names)
            for i in range(len(alternatives[0].items))
        ]
        return Several(tuple(chains), "pm")

    def _side(self, tokens: Sequence[Token], name: str | None) -> Reading:
        """Reads a side of an equation; a name may also be what no formula is, such as "the angle ABC"."""
        try:
            return self.operand(tokens)
        except Unreadable:
            if name is None:
                raise
            return Text(name)

    def operand(self, tokens: Sequence[Token]) -> Reading:
        """Reads a value, a group, a set or a text."""
        if not tokens:
            raise Unreadable("a value is missing")
        signs = [place for place, token in enumerate(tokens) if token.text in ("\\pm", "\\mp")]
        if signs and not (partners(tokens).get(0) == len(tokens) - 1 and _separators(tokens[1:-1])):
            return self._alternatives(tokens, signs)  # within a fraction
        if places := outside(tokens, lambda token: token.text in _SET_OPERATORS):
            return self._combined(tokens, places)
        if places := outside(tokens, lambda token: token.kind == "sign" and token.text == ":"):
            return self._ratio(tokens, places)
        is_enclosed = tokens[0].kind in ("sign", "command") and partners(tokens).get(0) == len(tokens) - 1
        if is_enclosed and (group := self._group(tokens)) is not None:
            return group
        if (named := _named_set(tokens)) is not None:
            return named
        is_text = all(token.kind == "word" or token.text in ("-", "'", "/") for token in tokens)
        if is_text and not values.is_unit(tokens):
            return Text(" ".join(token.text for token in tokens))
        return values.value_of(tokens, self.letters_are_units)

    def _combined(self, tokens: Sequence[Token], places: list[int]) -> Reading:
        """Reads sets joined by operators; those that bind least are taken first, and the others are in its parts."""
        operators = {tokens[place].text for place in places}
        if len(operators) > 1:
            places = _last_operators(tokens, places)
        parts = tuple(self.operand(part) for part in split(tokens, places))
        return Combined(_SET_OPERATORS[tokens[places[0]].text], parts)

    def _alternatives(self, tokens: Sequence[Token], places: Sequence[int]) -> Reading:
        """Reads "a plus or minus b" as the two values that it is."""
        both = []
        for signs in ({"\\pm": "+", "\\mp": "-"}, {"\\pm": "-", "\\mp": "+"}):
            chosen = [
                Token("sign", signs[token.text], token.is_spaced) if i in places else token
                for i, token in enumerate(tokens)
            ]
            both.append(self.operand(chosen))
        return Several(tuple(both), "pm")

    def _ratio(self, tokens: Sequence[Token], places: Sequence[int]) -> Reading:
        parts = split(tokens, places)
        if time := _time(tokens, parts):
            return time
        return Ratio(tuple(self.operand(part) for part in parts))

    def _group(self, tokens: Sequence[Token]) -> Reading | None:
        """Reads what one pair of brackets encloses; None where they only enclose a value."""
        opening, closing, inner = tokens[0].text, tokens[-1].text, tokens[1:-1]
        if opening in ("\\lfloor", "\\lceil") or opening.startswith("\\begin"):
            return None
        if opening == "\\{" or (opening == "{" and _separators(inner)):
            return self._set(inner)
        if not inner:
            raise Unreadable("empty brackets")
        if inner[0].text.startswith("\\begin") and partners(inner).get(0) == len(inner) - 1:
            return self.operand(inner)
        places = _separators(inner)
        if not places:
            if opening in ("(", "{") and closing in (")", "}"):
                return self.item(inner)
            if opening == "[" and closing == "]":
                return Group("[", "]", (self.item(inner),))
            raise Unreadable("brackets that do not match around one value")
        items = [self.item(part) for part in self._parts(inner, places)]
        opening, closing = ("(", ")") if opening == "\\langle" else (opening, closing)
        if any(_is_alternatives(item) for item in items):
            chosen = [tuple(item.items[i] if _is_alternatives(item) else item for item in items) for i in range(2)]
            return Several(tuple(Group(opening, closing, one) for one in chosen), "pm")
        return Group(opening, closing, tuple(items))

    def _set(self, inner: Sequence[Token]) -> Reading:
        """Reads what curly braces enclose: elements, or a variable and a condition."""
        if not inner:
            return Named("empty")
        bars = outside(inner, lambda token: token.kind != "word" and token.text in ("|", ":"))
        if len(bars) == 1 and outside(inner[bars[0] + 1 :], lambda token: token.text in RELATIONS):
            variable, condition = split(inner, bars)
            reading = self.several(condition)
            domain = outside(variable, lambda token: token.text == "\\in")
            if domain:
                reading = Several((self.item(variable), reading), "and")
                variable = variable[: domain[0]]
            name = name_of(variable)
            if name is None:
                raise Unreadable("a set of what is no variable")
            return Builder(name, reading)
        reading = self.several(inner)
        return Elements(reading.items if isinstance(reading, Several) else (reading,))


# With one of these a side names the answer, "5 is the number of rows"; without any it judges it, "5 is extraneous".
_NAMING = words_of("the a an my our its their his her this that what number value left remaining possible needed")


def _is_predicate(tokens: Sequence[Token]) -> bool:
    """Returns whether a side of an equation is words that name nothing."""
    said = {token.text.lower() for token in tokens}
    is_latin = all(token.kind == "word" and len(token.text) > 1 and token.text.isascii() for token in tokens)
    return is_latin and not said & _NAMING and tokens[0].text.islower()


def _is_separator(token: Token) -> bool:
    if token.kind == "word":
        return token.text.lower() in words.SEPARATORS
    return token.text in (",", "\\\\", "\\quad", "\\qquad")


def _separators(tokens: Sequence[Token]) -> list[int]:
    """Returns where commas and semicolons stand outside all brackets, and their like."""
    return outside(tokens, lambda token: _is_separator(token) or token.text == ";")


def _is_alternatives(reading: Reading) -> TypeGuard[Several]:
    return isinstance(reading, Several) and reading.joiner == "pm"


def _with_shared_name(items: list[Reading]) -> list[Reading]:
    """Gives the name in "x = 1, 2" or "(x, y) = (1, 2) or (3, 4)" to the values that follow it."""
    first = items[0]
    if not isinstance(first, Chain) or first.relations != ("=",) or first.names[0] is None:
        return items
    if any(isinstance(item, Chain | Text) for item in items[1:]):
        return items
    return [first, *(Chain((first.sides[0], item), ("=",), (first.names[0], None)) for item in items[1:])]


def _in_one_row(tokens: list[Token]) -> list[Token]:
    """Drops what arranges lines: \\begin{aligned}, line breaks before "=", and signs that align."""
    kept = [
        token for token in tokens
        if not (token.text.startswith(("\\begin", "\\end")) and any(name in token.text for name in _ARRANGEMENTS))
    ]  # fmt: skip
    if any(token.text.startswith("\\begin") for token in kept):
        return kept
    found: list[Token] = []
    for place, token in enumerate(kept):
        after = kept[place + 1] if place + 1 < len(kept) else None
        if token.text == "&":
            continue
        if token.text == "\\\\" and (after is None or after.text in RELATIONS or after.text == "&"):
            continue
        if token.text in ("\\quad", "\\qquad"):
            is_between = bool(found) and after is not None and not _is_separator(found[-1])
            if not is_between or after is None or _is_separator(after) or after.kind == "word" or after.text in ";(":
                continue
        found.append(token)
    return found


_GROUP_OF_THREE = re.compile(r"\d{3}(?:\.\d+)?")


def _joined_thousands(tokens: list[Token]) -> list[Token]:
    """Reads 1,234 as one number, outside brackets whose commas separate."""
    found: list[Token] = []
    depth = place = 0
    while place < len(tokens):
        token = tokens[place]
        depth += {"(": 1, "[": 1, "\\{": 1, ")": -1, "]": -1, "\\}": -1}.get(token.text, 0)
        end = place + 1
        is_start = token.kind == "number" and token.text.isdigit() and len(token.text) <= 3 and token.text[0] != "0"
        while is_start and depth == 0 and _continues(tokens, end) and "." not in tokens[end - 1].text:
            end += 2
        found.append(token._replace(text="".join(t.text for t in tokens[place:end:2])))
        place = end
    return found


def _continues(tokens: list[Token], place: int) -> bool:
    """Returns whether a comma and three digits stand at a place, without space."""
    if place + 1 >= len(tokens) or tokens[place].text != "," or tokens[place].is_spaced:
        return False
    group = tokens[place + 1]
    return group.kind == "number" and not group.is_spaced and _GROUP_OF_THREE.fullmatch(group.text) is not None


def _without_modulus(tokens: list[Token]) -> tuple[list[Token], list[Token] | None]:
    """Cuts "mod 7" off the end."""
    for place, token in enumerate(tokens):
        if token.text in ("\\bmod", "\\pmod"):
            before, after = tokens[:place], tokens[place + 1 :]
            if before and before[-1].text == "(" and after and after[-1].text == ")":
                before, after = before[:-1], after[:-1]
            return before, after
    return tokens, None


def _named_set(tokens: Sequence[Token]) -> Reading | None:
    if tokens[0].text not in _SETS:
        return None
    name = _SETS[tokens[0].text]
    said = "".join(token.text for token in tokens[1:]).replace("{", "").replace("}", "")
    if said in ("", "^+", "^-", "_+", "_-", "^*", "_0^+", "_>0", "_\\ge0"):
        return Named(name + said.replace("_+", "^+").replace("_-", "^-").replace("_>0", "^+"))
    return None


def _time(tokens: Sequence[Token], parts: list[Sequence[Token]]) -> Time | None:
    """Reads 3:30, which is a time where it looks like one, or where a.m. or p.m. says so."""
    if len(parts) != 2 or len(parts[0]) != 1 or not parts[1]:
        return None
    hours, minutes = parts[0][0].text, parts[1][0].text
    half = "".join(token.text for token in parts[1][1:]).lower().replace(".", "")
    is_close = not tokens[1].is_spaced and not tokens[2].is_spaced
    if not (re.fullmatch(r"\d{1,2}", hours) and re.fullmatch(r"[0-5]\d", minutes) and is_close):
        return None
    return Time(int(hours), int(minutes), half) if int(hours) <= 24 and half in ("", "am", "pm") else None


def _last_operators(tokens: Sequence[Token], places: list[int]) -> list[int]:
    """Returns the places of the operators that bind least: the last difference, else all unions."""
    differences = [place for place in places if tokens[place].text == "\\setminus"]
    return differences[-1:] or [place for place in places if tokens[place].text == "\\cup"]
