"""Reads and compares mathematics with Math-Verify and sympy.

It runs in the worker processes of `stages/rewards/pool.py`, because any text may make it hang. docs/verifiers.md says
what is done before and after Math-Verify, and why.
"""

import logging
import re
from dataclasses import replace
from functools import lru_cache
from typing import Any

from math_verify import ExprExtractionConfig, LatexExtractionConfig, parse, verify
from sympy import Basic, Float, Integer, Rational

from stages.engines import patches
from stages.rewards.verifiers.math import MAX_CHARACTERS

patches.parse_latex_in_two_stages()


def _is_not_about_limits(record: logging.LogRecord) -> bool:
    """Drops Math-Verify's warning that the caller has to set a time limit; the pool does."""
    return not str(record.msg).startswith("Timeout is disabled as ")


for _module in ("grader", "parser"):
    logging.getLogger(f"math_verify.{_module}").addFilter(_is_not_about_limits)

_SMALL = 1e-3  # Math-Verify compares 6 decimals, which are too few to tell numbers below this size apart
_RELATIVE = 1e-4  # how close such small numbers must be

_LATEX = LatexExtractionConfig(boxed_match_priority=0)
_FORMULAS = {
    drops_units: [replace(_LATEX, normalization_config=replace(_LATEX.normalization_config, units=drops_units))]
    for drops_units in (True, False)
}
# Plain numbers are looked for in prose only: of a formula that does not parse, one of its numbers would be the answer.
_IN_PROSE = [ExprExtractionConfig()]
_DELIMITERS = re.compile(r"\\boxed|\\\(|\\\[|(?<!\\)\$.*(?<!\\)\$", re.DOTALL)
_ONE_FORMULA = re.compile(r"\$[^$]*\$|\$\$[^$]*\$\$|\\\(.*\\\)|\\\[.*\\\]", re.DOTALL)
# Math-Verify reads a percent sign after a formula, but drops it within one.
_PERCENT = re.compile(r"\s*(?:\\?%|(?<=[\d\s}$])(?:percent(?:age)?|pct))\s*([}$]*)\s*\.?\s*$")
_REWRITES = [
    (re.compile(pattern), to)
    for pattern, to in (
        (r"\\?[$€£¥](?=\s*-?(?:\d|\.\d))(?![^$]*(?<!\\)\$)", ""),  # a currency sign, unless it opens a formula
        (r"^([^$]*\d)\s*\\?[$€£¥]\s*$", r"\1"),
        (r"\\mathrm\{([a-z])\}", r"\1"),
        (r"(?<![\w\\])(\d+(?:\.\d+)?)[eE]([-+]?\d+)(?!\w)", r"\1\\times10^{\2}"),
        (r"(?<=\d) (?=\d{3}(?:\D|$))", ""),  # 1 000
        (r"\\varnothing", r"\\emptyset"),
        (r"−", "-"),
    )
]
_LEAD = re.compile(
    r"^.*?\b(?:final\s+)?(?:answer|result|solution)\s*(?:is|are|:|=)+\s*:?\s*", re.IGNORECASE | re.DOTALL
)
_TEXT = re.compile(r"\\(?:text|mbox|textnormal|textrm|mathrm|operatorname)\s*\{[^{}]*\}")
_TEXT_UNIT = re.compile(
    r"(?<=[\w})])\s*(?:\\[ ,;]\s*)?\\(?:text|mbox|textnormal|textrm)\s*\{[^{}]*\}(?:\^\{?\d\}?)?(?=\s*[.$]*\s*$)"
)
_COMMAND = re.compile(r"\\[A-Za-z]+|[$%]")
_DELIMITERS_ONLY = re.compile(r"\\boxed\{|\\[()\[\]]")
_SEPARATE_UNIT = re.compile(r"(?<=[\d}])\s+[A-Za-z]+(?:\^?\d)?\s*\}*$")
_UNIT_POWER = re.compile(r"(?<=\d)\s*[a-z]{1,2}\s*\^\{?\d\}?(?=\s*[.$}]*\s*$)")
_WORD = re.compile(r"(?<![A-Za-z\\])[A-Za-z]{2,}")
_NUMBER = re.compile(r"-?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:/\d+)?\s*%?")
_FORMULA = re.compile(r"[\\^_{}=<>+*/|]|\d[A-Za-z(]|[A-Za-z)]\d")


def warm_up() -> None:
    """Fills the parser's caches before the workers are forked, so that every worker inherits them."""
    for given, reference in (
        (r"\frac{1}{2}", "0.5"),
        (r"x^2+\sqrt{2}", r"\sqrt{2}+x^{2}"),
        (r"\{1,2\}", "2,1"),
        ("[0,1)", "(0,1]"),
        (r"50\%", "1,000"),
        ("the answer is 5 cm", "5"),
        (r"\begin{pmatrix}1\\2\end{pmatrix}", r"(1,2,3)"),
        (r"x=2", r"2\pi"),
        (r"x\le3", r"\sin x"),
    ):
        is_equivalent(given, reference)


def is_equivalent(given: str, reference: str, tolerance: float = 0.0) -> bool:
    """Returns whether an answer is mathematically equivalent to the reference.

    Args:
        given: the answer.
        reference: the reference answer.
        tolerance: where it is not 0, both are numbers, and the answer is right within this relative difference.
    """
    drops_units = not has_variables(reference)
    answers, references = readings(given, drops_units), readings(reference, drops_units)
    if not answers or not references:
        return False
    if tolerance:
        return _are_close(answers[0], references[0], tolerance)
    if not verify(list(references), list(answers), timeout_seconds=None, allow_set_relation_comp=True):
        return False
    return not _are_small(answers[0], references[0]) or _are_close(answers[0], references[0], _RELATIVE)


def canonical(given: str) -> str | None:
    """Returns an answer in a form that is the same for 1/2, 0.5 and \\frac{1}{2}; None where it cannot be read."""
    answers = readings(given, not has_variables(given))
    if not answers:
        return None
    value = answers[0].doit() if isinstance(answers[0], Basic) else answers[0]
    if isinstance(value, Float):
        value = Rational(str(value)).limit_denominator(10**9)
    if getattr(value, "is_number", False) and not isinstance(value, (Integer, Rational)):
        value = value.evalf(10)
    return str(value)


def reference_problem(reference: str) -> str | None:
    """Returns why a reference cannot be used, or None where it can."""
    if len(reference) > MAX_CHARACTERS:
        return f"it has {len(reference)} characters, more than {MAX_CHARACTERS}"
    if readings(reference, not has_variables(reference)):
        return None
    return f"{reference[:60]!r} is not mathematics that Math-Verify reads"


def has_variables(text: str) -> bool:
    """Returns whether the letters in a formula are variables; if not, they are units, which are dropped.

    Math-Verify by itself drops units from any formula: it takes the h of \\pi r^2h for hours.
    """
    formula = _COMMAND.sub(" ", _DELIMITERS_ONLY.sub(" ", _TEXT.sub("", _LEAD.sub("", text)))).strip()
    return re.search("[A-Za-z]", _SEPARATE_UNIT.sub("", formula)) is not None and not _is_sentence(formula)


@lru_cache(maxsize=4096)
def readings(text: str, drops_units: bool = True) -> tuple:
    """Reads a text with Math-Verify.

    Args:
        text: an answer or a reference.
        drops_units: whether letters after a number are units rather than variables.

    Returns:
        The sympy objects that it may mean, without the plain strings that Math-Verify falls back to; empty where it
        cannot be read.
    """
    text = text.strip()
    if not text or len(text) > MAX_CHARACTERS:
        return ()
    for pattern, to in _REWRITES:
        text = pattern.sub(to, text)
    text = _UNIT_POWER.sub("", text) if drops_units else _TEXT_UNIT.sub("", text)
    percent, text = ("%", _PERCENT.sub(r"\1", text)) if _PERCENT.search(text) else ("", text)
    formula = _delimited(text)
    targets = _FORMULAS[drops_units] + ([] if _ONE_FORMULA.fullmatch(formula) else _IN_PROSE)
    return tuple(item for item in parse(formula + percent, targets, parsing_timeout=None) if not isinstance(item, str))


def _delimited(text: str) -> str:
    """Puts the formula of a text between dollar signs.

    Of a sentence, that is the only number that it names; a sentence with several numbers answers nothing.
    """
    if _DELIMITERS.search(text):
        return f"${text}$" if text.startswith("\\boxed") else text
    text = _LEAD.sub("", text).strip().strip("*").rstrip(".").strip()
    if _is_sentence(text):
        numbers = {number.strip() for number in _NUMBER.findall(text)}
        if len(numbers) == 1:
            return f"${numbers.pop()}$"
    return f"${text}$"


def _is_sentence(text: str) -> bool:
    return _WORD.search(text) is not None and _FORMULA.search(text.replace("%", "")) is None


def _are_small(a: Any, b: Any) -> bool:
    values = _numbers(a, b)
    return values is not None and all(abs(value) < _SMALL for value in values) and any(values)


def _are_close(a: Any, b: Any, tolerance: float) -> bool:
    values = _numbers(a, b)
    return values is not None and abs(values[0] - values[1]) <= tolerance * abs(values[1])


def _numbers(a: Any, b: Any) -> tuple[complex, complex] | None:
    """Returns the values of two sympy objects (of an equation, its right side), or None where they are not numbers."""
    try:
        a, b = (getattr(item, "rhs", item).doit().evalf(15) for item in (a, b))
        return complex(a), complex(b)
    except (AttributeError, TypeError, ValueError):
        return None
