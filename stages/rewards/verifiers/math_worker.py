"""Decides whether an answer is equivalent to the reference, in the worker processes of `stages/rewards/pool.py`.

Any text may make sympy hang, therefore the processes. What is done is in the package `mathematics`; docs/verifiers.md
says what counts as equivalent, and why.
"""

import logging
import re
from functools import lru_cache
from typing import Any, NamedTuple

from stages.rewards.verifiers.math import MAX_CHARACTERS
from stages.rewards.verifiers.mathematics import comparing, numeric
from stages.rewards.verifiers.mathematics.characters import in_one_spelling
from stages.rewards.verifiers.mathematics.normal_form import normal_form
from stages.rewards.verifiers.mathematics.prose import without_words
from stages.rewards.verifiers.mathematics.readings import Reading, Text, Value
from stages.rewards.verifiers.mathematics.structure import read
from stages.rewards.verifiers.mathematics.tokens import Unreadable, tokens_of
from stages.rewards.verifiers.mathematics.variables import has_variables


def _is_not_about_limits(record: logging.LogRecord) -> bool:
    """Drops Math-Verify's warning that the caller has to set a time limit; the pool does."""
    return not str(record.msg).startswith("Timeout is disabled as ")


logging.getLogger("math_verify.grader").addFilter(_is_not_about_limits)
_MAX_WORDS = 12  # of a reference that is words; nobody writes a longer one again word by word
_NOISE = re.compile(r"\\(?:text|mbox|textbf|textit|mathrm|textnormal)\b|\\left|\\right|\\[,;:!>() \[\]]|[\s${}\"`]")


class Verdict(NamedTuple):
    """Whether an answer is right, the readings of both sides (why there is none, where it is text), and why."""

    is_right: bool
    reference: Reading | str
    answer: Reading | str
    why: str


def warm_up() -> None:
    """Fills the caches of parser and sympy before the workers are forked, so that every worker inherits them."""
    for given, reference in (
        (r"\frac{x}{2}", "0.5"),
        (r"x^2+\sqrt{2}", r"\sqrt{2}+x^{2}"),
        (r"\{1,2\}", "2,1"),
        ("[0,1)", "(0,1]"),
        (r"50\%", "1,000"),
        ("the answer is 5 cm", "5"),
        (r"\begin{pmatrix}1\\2\end{pmatrix}", r"(1,2,3)"),
        (r"y=2x", r"2\pi"),
        (r"x\le3", r"\sin x"),
        (r"x\ge3", "[3,\\infty)"),
        (r"x+2y=3", r"2x+4y=6"),
    ):
        is_equivalent(given, reference)


def is_equivalent(given: str, reference: str, tolerance: float = 0.0) -> bool:
    """Returns whether an answer is mathematically equivalent to the reference.

    Args:
        given: the answer.
        reference: the reference answer.
        tolerance: where it is not 0, both are numbers, and the answer is right within this relative difference.
    """
    return _verdict(given, reference, tolerance).is_right


def explain(given: str, reference: str, tolerance: float = 0.0) -> list:
    """Returns what `is_equivalent` decides, what was read out of both sides, and why, as plain data."""
    is_right, expected, answer, why = _verdict(given, reference, tolerance)
    forms = [None if isinstance(one, str) else normal_form(one) for one in (expected, answer)]
    if is_right:
        forms = [forms[0] or reference, forms[1] or given]
    return [is_right, *forms, why]


def vote(given: str, reference: str) -> str:
    """Returns an answer in normal form, for counting; one that is right votes as the reference does.

    The vote is itself an answer that is equal to the given one, so that votes can be compared.
    """
    if given != reference and is_equivalent(given, reference):
        given = reference
    reading = _reading(given, True)
    if isinstance(reading, str):
        return _letters(given)
    form = normal_form(reading)
    again = _reading(form, False)
    is_same = not isinstance(again, str) and comparing.equal(reading, again) and comparing.equal(again, reading)
    return form if is_same else given.strip()


def reference_problem(reference: str) -> str | None:
    """Returns why a reference cannot be used, or None where it can."""
    if len(reference) > MAX_CHARACTERS:
        return f"it has {len(reference)} characters, more than {MAX_CHARACTERS}"
    reading = _reading(reference, False)
    if not isinstance(reading, str):
        return None
    if not re.search(r"[^\W_]", reference):
        return f"{reference[:60]!r} is not mathematics: {reading}"
    if len(reference.split()) > _MAX_WORDS:
        return f"{reference[:60]!r} is {len(reference.split())} words of prose, which no answer can be compared with"
    return None


def _verdict(given: str, reference: str, tolerance: float) -> Verdict:
    expected = _reading(reference, False)
    answer = _reading(given, False)
    if isinstance(expected, str) or isinstance(answer, str):
        return _unread(given, reference, expected, answer)
    if tolerance:
        return _within(tolerance, expected, _with_units(given, answer, expected))
    is_right = comparing.equal(expected, answer) or _same_letters(reference, given, expected, answer)
    if not is_right and not has_variables(expected):
        with_units = _with_units(given, answer, expected)
        if with_units is not answer and comparing.equal(expected, with_units):
            is_right, answer = True, with_units
    why = "Both say the same." if is_right else "They do not say the same."
    return Verdict(is_right, expected, answer, why)


def _with_units(given: str, answer: Reading, expected: Reading) -> Reading:
    """Returns an answer read with letters after a number as units, where it can be."""
    if has_variables(expected):
        return answer
    reading = _reading(given, True)
    return answer if isinstance(reading, str) else reading


def _unread(given: str, reference: str, expected: Reading | str, answer: Reading | str) -> Verdict:
    """Decides where a side cannot be read: only the same text is right."""
    if _letters(given) == _letters(reference) != "":
        return Verdict(True, expected, answer, "Both are the same text.")
    side, reason = ("reference", expected) if isinstance(expected, str) else ("answer", answer)
    return Verdict(False, expected, answer, f"The {side} cannot be read as a whole: {reason}.")


# What a formula has and a name has not; a hyphen between words is no sign.
_SIGN = re.compile(r"[\\^_=<>+*/]|(?<![A-Za-z]{2})-|-(?![A-Za-z]{2})")


def _letters(text: str) -> str:
    """Returns a text without markup and spaces; the case of letters counts in what is no plain text."""
    plain = _NOISE.sub("", in_one_spelling(text)).rstrip(".")
    return plain if _SIGN.search(plain) else plain.casefold()


def _same_letters(reference: str, given: str, expected: Reading, answer: Reading) -> bool:
    """Returns whether a word and letters that were read as a product are the same: \\text{even} and even."""
    is_text = isinstance(expected, Text) != isinstance(answer, Text)
    return is_text and _letters(reference) == _letters(given)


def _within(tolerance: float, expected: Reading, answer: Reading) -> Verdict:
    """Decides for numbers whether they differ by at most a part of the reference."""
    values: list[Any] = []
    for reading in (expected, answer):
        reading = comparing.value_in(reading)
        values.append(numeric.number(reading.expression) if isinstance(reading, Value) else None)
    is_close = None not in values and abs(values[1] - values[0]) <= tolerance * abs(values[0])
    why = f"The numbers differ by {'at most' if is_close else 'more than'} {tolerance:g} of the reference."
    return Verdict(bool(is_close), expected, answer, why)


@lru_cache(maxsize=8192)
def _reading(text: str, letters_are_units: bool) -> Reading | str:
    """Returns what a text says, or, as a string, why it cannot be read."""
    text = text.strip()
    if not text or len(text) > MAX_CHARACTERS:
        return f"it has {len(text)} characters"
    try:
        return read(without_words(tokens_of(in_one_spelling(text))), letters_are_units)
    except Unreadable as error:
        return str(error)
