"""Turns what is said in words into signs, and lets lead-ins and remarks fall away.

What words are left over is the business of `structure.py`: units and nouns after a number, or a text.
"""

import re
from fractions import Fraction

from stages.rewards.verifiers.mathematics import words
from stages.rewards.verifiers.mathematics.tokens import Token, Unreadable
from stages.text.statements import STOPS

_COPULAS = frozenset({"is", "are", "=", ":", "was", "equals", "be"})
_LEADING_SIGNS = frozenset(
    {"=", ":", "\\Rightarrow", "\\approx", "\\therefore", "\\Leftrightarrow", "\\to", ",", "*", '"'}
)
_TRAILING_SIGNS = frozenset({".", ",", ";", ":", '"', "*", "\\Rightarrow", "\\ldots", "\\square"})
_REMARKS = sorted((remark.split() for remark in words.REMARKS), key=len, reverse=True)
_SIGN_PHRASES = {tuple(phrase.split()): sign for phrase, sign in words.SIGNS.items()}
_LONGEST = max(map(len, _SIGN_PHRASES))


def without_words(tokens: list[Token]) -> list[Token]:
    """Returns the tokens with words as signs and numbers, and without lead-ins, remarks and edges.

    Raises:
        Unreadable: there are several statements, and it is not plain which is the answer.
    """
    tokens = _separated(tokens)
    if any(token.kind == "word" for token in tokens) or any(token.text == "." for token in tokens):
        tokens = _statement(tokens)
        tokens = _without_lead(_trimmed(tokens))
        tokens = _without_remarks(tokens)
        tokens = _numbers_in_words(tokens)
        tokens = _signs_in_words(tokens)
    return _trimmed(tokens)


def _separated(tokens: list[Token]) -> list[Token]:
    """Drops the edges of formulas; between formulas that touch, a comma takes their place."""
    found: list[Token] = []
    for place, token in enumerate(tokens):
        if token.kind != "edge":
            found.append(token)
        elif token.text == "(" and place and tokens[place - 1] == ("edge", ")", False):
            found.append(Token("sign", ","))
    return found


def _trimmed(tokens: list[Token]) -> list[Token]:
    """Drops signs around the whole that say nothing."""
    start, end = 0, len(tokens)
    while start < end and tokens[start].kind != "word" and tokens[start].text in _LEADING_SIGNS:
        start += 1
    while end > start and tokens[end - 1].kind != "word" and tokens[end - 1].text in _TRAILING_SIGNS:
        end -= 1
    return tokens[start:end]


def _statement(tokens: list[Token]) -> list[Token]:
    """Returns the sentence that gives the answer: the only one, or the one that says so."""
    marks = [
        place
        for place in range(len(tokens) - 1)
        if _word(tokens[place]) in ("answer", "answers") and _word(tokens[place + 1]) in _COPULAS
    ]
    while len(marks) > 1 and all(_word(token) in words.LEADS | _COPULAS for token in tokens[marks[0] : marks[1]]):
        del marks[0]  # "Final answer: the final answer is"
    if len(marks) > 1:
        raise Unreadable("it names several answers")
    if marks:
        before = tokens[: marks[0]]
        while before and _word(before[-1]) in words.LEADS:
            before.pop()
        is_own_sentence = not before or before[-1].text in (",", ".", ":", ";", "!")
        if is_own_sentence and not any(_word(token) in STOPS for token in tokens[: marks[0]]):
            tokens = tokens[marks[0] :]
    sentences: list[list[Token]] = [[]]
    for token in tokens:
        if token.kind == "sign" and token.text == ".":
            sentences.append([])
        else:
            sentences[-1].append(token)
    said = [sentence for sentence in sentences if sentence and not _is_remark(sentence)]
    if len(said) > 1:
        raise Unreadable("it has several sentences")
    return said[0] if said else []


def _word(token: Token) -> str:
    return token.text.lower()


def _is_remark(tokens: list[Token]) -> bool:
    said = [_word(token) for token in tokens if token.text not in ("(", ")", ",", "!")]
    return said in _REMARKS or said[:2] in (["i", "hope"], ["hope", "this"])


def _without_remarks(tokens: list[Token]) -> list[Token]:
    """Drops remarks at the end, in brackets or not; a part that only repeats the number in words, too."""
    for remark in _REMARKS:
        for wrapped in (["(", *remark, ")"], [",", *remark], remark):
            if len(tokens) > len(wrapped) and [_word(token) for token in tokens[-len(wrapped) :]] == wrapped:
                return tokens[: -len(wrapped)]
    return tokens


def _without_lead(tokens: list[Token]) -> list[Token]:
    """Drops words before the answer that say nothing of its value: "the answer is", "so there are"."""
    start = 0
    last = ""
    while start < len(tokens):
        token = tokens[start]
        word = _word(token)
        phrase = tuple(_word(t) for t in tokens[start : start + 4] if t.kind == "word")
        if any(phrase[:n] in _SIGN_PHRASES and phrase[n - 1] == "of" for n in range(2, len(phrase) + 1)):
            break
        is_article = token.kind == "letter" and token.text in ("a", "I", "A") and start + 1 < len(tokens)
        is_article = is_article and tokens[start + 1].kind == "word" and tokens[start + 1].text not in words.SIGNS
        is_article = is_article and tokens[start + 1].text not in words.PARTS | words.SCALES
        is_lead = token.kind == "word" and word in words.LEADS
        is_lead = is_lead and (word not in words.NOT_LEADS or _word_after(tokens, start) in _COPULAS)
        is_noun = token.kind == "word" and last in ("of", "many") and word.endswith("s") and word not in words.SIGNS
        if is_lead or is_article or (is_noun and _word_after(tokens, start) in _COPULAS):
            last = word
        elif token.kind == "sign" and token.text in (":", "=", ",") and last:
            last = token.text
        else:
            break
        start += 1
    if start == len(tokens):
        return tokens
    return tokens[start:]


def _word_after(tokens: list[Token], place: int) -> str:
    return _word(tokens[place + 1]) if place + 1 < len(tokens) else ""


def _signs_in_words(tokens: list[Token]) -> list[Token]:
    """Writes words that are signs ("negative", "divided by", "percent") as such."""
    found: list[Token] = []
    place = 0
    while place < len(tokens):
        for length in range(min(_LONGEST, len(tokens) - place), 0, -1):
            phrase = tokens[place : place + length]
            if any(token.kind != "word" for token in phrase):
                continue
            sign = _SIGN_PHRASES.get(tuple(_word(token) for token in phrase))
            if sign is not None and _fits(sign, phrase, tokens, place, length):
                found += _tokens_of_sign(sign)
                place += length
                if sign.startswith("\\sqrt") and _is_fraction(tokens[place : place + 3]):  # "the square root of 1/4"
                    found += [Token("sign", "{"), *tokens[place : place + 3], Token("sign", "}")]
                    place += 3
                break
        else:
            found.append(tokens[place])
            place += 1
    return found


def _is_fraction(tokens: list[Token]) -> bool:
    return [token.kind for token in tokens] == ["number", "sign", "number"] and tokens[1].text == "/"


def _fits(sign: str, phrase: list[Token], tokens: list[Token], place: int, length: int) -> bool:
    """Returns whether a word is a sign here: "in" and "to" stand between numbers, else "in" is an inch."""
    if phrase[0].text.lower() == "of" and length == 1:
        return bool(place and tokens[place - 1].text in (")", "}"))
    if phrase[0].text.lower() not in ("in", "to") or length > 1:
        return True
    after = tokens[place + 1] if place + 1 < len(tokens) else None
    return bool(place and tokens[place - 1].kind == "number" and after and after.kind == "number")


_PIECE = re.compile(r"\\[a-zA-Z]+|\d+|\S")


def _tokens_of_sign(sign: str) -> list[Token]:
    pieces = _PIECE.findall(sign)
    return [
        Token("number" if piece.isdigit() else "command" if piece.startswith("\\") else "sign", piece)
        for piece in pieces
    ]


def _numbers_in_words(tokens: list[Token]) -> list[Token]:
    """Writes numbers in words as digits: "twenty-five", "3 quarters", "2.5 million", "3 and a half"."""
    found: list[Token] = []
    tokens = [piece for token in tokens for piece in _without_hyphen(token)]
    place = 0
    while place < len(tokens):
        value, end = _number_at(tokens, place)
        if value is None:
            found.append(tokens[place])
            place += 1
            continue
        if _repeats(found, value) and end < len(tokens) and tokens[end].text == ")":  # "12 (twelve)"
            found.pop()
            place = end + 1
            continue
        place = end
        if end + 2 < len(tokens) and [t.text for t in tokens[end : end + 3]] == ["(", str(value), ")"]:
            place = end + 3  # "twelve (12)"
        found += _digits(value)
    return found


def _repeats(found: list[Token], value: Fraction) -> bool:
    return len(found) > 1 and found[-1].text == "(" and found[-2].kind == "number" and Fraction(found[-2].text) == value


def _without_hyphen(token: Token) -> list[Token]:
    pieces = token.text.lower().split("-")
    known = (words.NUMBERS, words.PARTS, words.SCALES)
    is_number = token.kind == "word" and len(pieces) == 2 and all(any(p in k for k in known) for p in pieces)
    return [Token("word", piece, token.is_spaced) for piece in pieces] if is_number else [token]


def _digits(value: Fraction) -> list[Token]:
    """Returns a number as tokens."""
    if value.denominator == 1:
        return [Token("number", str(value.numerator), True)]
    return _tokens_of_sign(f"(\\frac{{{value.numerator}}}{{{value.denominator}}})")


def _number_at(tokens: list[Token], start: int) -> tuple[Fraction | None, int]:
    """Returns the number in words that begins at a place, if one does, and where it ends.

    A number in digits counts only where a word follows that changes its value.
    """
    first, following = tokens[start], _word_after(tokens, start)
    if first.kind == "number":
        return _number_after(tokens, start, start + 1, Fraction(first.text))
    if first.kind == "word" and _word(first) == "half" and following != "of":
        return Fraction(1, 2), start + 1
    if first.kind == "word" and _word(first) in words.NUMBERS:
        return _number_after(tokens, start, start, Fraction(0))
    if _word(first) in ("a", "an") and (following in words.PARTS or following in words.SCALES):
        return _number_after(tokens, start, start + 1, Fraction(1))
    return None, start


def _number_after(tokens: list[Token], start: int, place: int, group: Fraction) -> tuple[Fraction | None, int]:
    """Goes on with a number: the words from `place` on, after `group`, as much as was read since the last scale."""
    total, has_words = Fraction(0), False
    while place < len(tokens) and tokens[place].kind == "word":
        word = _word(tokens[place])
        if word in words.NUMBERS and tokens[start].kind == "word" and (not has_words or group % 10 == 0):
            group, has_words = group + words.NUMBERS[word], True
        elif word in words.SCALES and group:
            group, has_words = group * words.SCALES[word], True
            if words.SCALES[word] > 100:
                total, group = total + group, Fraction(0)
        elif word in words.PARTS and group and not total:
            return group / words.PARTS[word], place + 1
        elif word == "and" and (part := _part_after_and(tokens, place)):
            return total + group + part[0], part[1]
        elif not (word == "and" and group >= 100 and _word_after(tokens, place) in words.NUMBERS):
            break
        place += 1
    return (total + group, place) if has_words else (None, start)


def _part_after_and(tokens: list[Token], place: int) -> tuple[Fraction, int] | None:
    """Returns the part of one in "and a half" or "and three quarters", and where it ends."""
    if _word_after(tokens, place) in ("a", "an", "one") and _word_after(tokens, place + 1) in words.PARTS:
        return Fraction(1, words.PARTS[_word_after(tokens, place + 1)]), place + 3
    return None
