"""Reading and comparing mathematics with Math-Verify and sympy. Runs in the worker processes of
`stages/rewards/pool.py`: any text may hang it.

What is done before and after Math-Verify, and why, is in docs/verifiers.md.
"""

import logging
import re
from dataclasses import replace
from functools import lru_cache

from math_verify import ExprExtractionConfig, LatexExtractionConfig, parse, verify
from sympy import Basic, Float, Integer, Rational

from stages.engines import patches
from stages.rewards.verifiers.math import MAX_CHARACTERS

patches.parse_latex_in_two_stages()


def _is_not_about_limits(record: logging.LogRecord) -> bool:
    """Whether a log message is another one than that time limits are for the caller to set; they are set."""
    return not str(record.msg).startswith("Timeout is disabled as ")


for _module in ("grader", "parser"):
    logging.getLogger(f"math_verify.{_module}").addFilter(_is_not_about_limits)

_SMALLEST = 1e-3  # Math-Verify compares 6 decimals: below this size they are too few to tell numbers apart
_RELATIVE = 1e-4  # how close such small numbers must be

_LATEX = LatexExtractionConfig(boxed_match_priority=0)
_FORMULAS = {
    drops_units: [replace(_LATEX, normalization_config=replace(_LATEX.normalization_config, units=drops_units))]
    for drops_units in (True, False)
}
_IN_PROSE = [
    ExprExtractionConfig()
]  # plain numbers: not in a formula, where one of its numbers would be the answer if it does not parse
_DELIMITERS = re.compile(r"\\boxed|\\\(|\\\[|(?<!\\)\$.*(?<!\\)\$", re.DOTALL)
_ONE_FORMULA = re.compile(r"\$[^$]*\$|\$\$[^$]*\$\$|\\\(.*\\\)|\\\[.*\\\]", re.DOTALL)
_PERCENT = re.compile(
    r"\s*(?:\\?%|(?<=[\d\s}$])(?:percent(?:age)?|pct))\s*([}$]*)\s*\.?\s*$"
)  # read after a formula, but dropped in it
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
    """Fills the caches of the parser, which every worker inherits."""
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
    """Whether an answer means the same as the reference; with a relative `tolerance`, also whether it is a number that
    close to it.
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
    """The answer in a form that is the same for 1/2, 0.5 and \\frac{1}{2}, or None where it cannot be read."""
    answers = readings(given, not has_variables(given))
    if not answers:
        return None
    value = answers[0].doit() if isinstance(answers[0], Basic) else answers[0]
    if isinstance(value, Float):
        value = Rational(str(value)).limit_denominator(10**9)
    if getattr(value, "is_number", False) and not isinstance(value, (Integer, Rational)):
        value = value.evalf(10)
    return str(value)


def problem(reference: str) -> str | None:
    if len(reference) > MAX_CHARACTERS:
        return f"it has {len(reference)} characters, more than {MAX_CHARACTERS}"
    return (
        None
        if readings(reference, not has_variables(reference))
        else f"{reference[:60]!r} is not mathematics that Math-Verify reads"
    )


def has_variables(text: str) -> bool:
    """Whether letters in a formula are variables. If not, they are units: Math-Verify takes the h of \\pi r^2h for
    hours in any formula.
    """
    formula = _COMMAND.sub(" ", _DELIMITERS_ONLY.sub(" ", _TEXT.sub("", _LEAD.sub("", text)))).strip()
    return re.search("[A-Za-z]", _SEPARATE_UNIT.sub("", formula)) is not None and not _is_sentence(formula)


@lru_cache(maxsize=4096)
def readings(text: str, drops_units: bool = True) -> tuple:
    """Math-Verify's reading as sympy objects, without the plain strings that it falls back to; empty where there is
    none.
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
    """The formula of a text between dollars. A sentence is taken by the one number it names: with several it answers
    nothing.
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


def _are_small(a, b) -> bool:
    values = _numbers(a, b)
    return values is not None and all(abs(value) < _SMALLEST for value in values) and any(values)


def _are_close(a, b, tolerance: float) -> bool:
    values = _numbers(a, b)
    return values is not None and abs(values[0] - values[1]) <= tolerance * abs(values[1])


def _numbers(a, b) -> tuple[complex, complex] | None:
    try:
        a, b = (getattr(item, "rhs", item).doit().evalf(15) for item in (a, b))
        return complex(a), complex(b)
    except (AttributeError, TypeError, ValueError):
        return None
