"""Reads units of measure behind a value: km/h, square meters, red marbles."""

from stages.rewards.verifiers.mathematics import units
from stages.rewards.verifiers.mathematics.readings import Unit
from stages.rewards.verifiers.mathematics.tokens import Token


def product(unit: Unit, other: Unit, power: int = 1) -> Unit:
    """Returns a unit times a power of another."""
    powers = dict(unit[0])
    for name, exponent in other[0]:
        powers[name] = powers.get(name, 0) + power * exponent
    kept = tuple(sorted((name, exponent) for name, exponent in powers.items() if exponent))
    return kept, unit[1] * other[1] ** power


def unit_of(tokens: list[Token], letters_are_units: bool) -> Unit | None:
    """Returns the unit that all tokens together name, such as "km/h", "square meters" or "red marbles"."""
    unit: Unit = ((), 1)
    place, sign, shape = 0, 1, 1
    if [token.text for token in tokens] in (["^", "{", "\\circ", "}", "C"], ["^", "{", "\\circ", "}", "F"]):
        return ((("celsius" if tokens[-1].text == "C" else "fahrenheit", 1),), 1)
    while place < len(tokens):
        token = tokens[place]
        text = token.text
        if text == "/" or text.lower() == "per":
            sign = -1
        elif text in ("\\cdot", "*", "-", "of") and place:
            pass
        elif text.lower() in units.LENGTHS_SQUARED:
            shape = units.LENGTHS_SQUARED[text.lower()]
        elif (one := _one_unit(token, letters_are_units or sign < 0)) is not None:
            power, place = _power_after(tokens, place)
            unit = product(unit, one, sign * shape * power)
            shape, sign = 1, sign
        elif token.kind == "word" and text.islower() and place + 1 < len(tokens) and _ends_in_noun(tokens[place:]):
            return product(unit, _noun(tokens[place:]))
        else:
            return None
        place += 1
    return unit if unit[0] else None


def _ends_in_noun(tokens: list[Token]) -> bool:
    """Returns whether words are an adjective or two and a plural noun: "red marbles"."""
    is_short = len(tokens) <= 3 and all(token.kind == "word" and token.text.islower() for token in tokens)
    adjectives = [token.text for token in tokens[:-1]]
    return is_short and units.counted_noun(tokens[-1].text) is not None and not set(adjectives) & units.NO_ADJECTIVES


def _noun(tokens: list[Token]) -> Unit:
    words = [token.text for token in tokens]
    return ((" ".join([*words[:-1], units.counted_noun(words[-1]) or words[-1]]), 1),), 1


def _one_unit(token: Token, letters_are_units: bool) -> Unit | None:
    """Returns the unit that one word is."""
    if token.kind == "letter" and not (letters_are_units and token.text in units.LETTER_UNITS):
        return None
    if token.kind not in ("word", "letter"):
        return None
    known = units.unit_named(token.text)
    if known is not None and known[0] == "speed":
        return (("length", 1), ("time", -1)), known[1]
    if known is not None:
        return ((known[0], 1),), known[1]
    noun = units.counted_noun(token.text) if token.kind == "word" else None
    return (((noun, 1),), 1) if noun else None


def _power_after(tokens: list[Token], place: int) -> tuple[int, int]:
    """Returns the power of the unit at a place, and the place of the last token that belongs to it."""
    if place + 1 < len(tokens) and tokens[place + 1].text == "^":
        after = [token.text for token in tokens[place + 2 : place + 6]]
        digits = "".join(after[: after.index("}") + 1] if after[:1] == ["{"] and "}" in after else after[:1])
        number = digits.strip("{}")
        if number.lstrip("-").isdigit():
            return int(number), place + 1 + (len(number.lstrip("-")) > 0) + (2 if digits.startswith("{") else 0) + (
                number.startswith("-")
            )
    return 1, place
