"""Finds the options of a multiple-choice prompt.

The loaders of published sets hand them over in `checks`: {"options": ["3", "4"]}. Where a user's file has them in the
text alone, they are read from there: a run A, B, C, ... of one style, each at the beginning of a line, or, where there
is no such run, within lines.
"""

import json
import re
from functools import lru_cache

from stages.prompting.prompt import Prompt

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_FULL_WIDTH = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)} | {0x3000: 0x20}
# Letters in circles and brackets; Unicode has them in rows from A to Z.
_DRESSED = {
    start + offset: f"({letter})"
    for start in (0x24B6, 0x24D0, 0x249C, 0x1F110, 0x1F130, 0x1F150, 0x1F170)
    for offset, letter in enumerate(LETTERS)
}
_DRESSED |= {
    start + offset: letter
    for first in range(0x1D400, 0x1D6A4, 52)  # bold, italic and other letters of mathematics
    for start, alphabet in ((first, LETTERS), (first + 26, LETTERS.lower()))
    for offset, letter in enumerate(alphabet)
}
_TABLE = _FULL_WIDTH | _DRESSED
_FONTS = (
    r"text|textbf|textrm|textit|textsf|texttt|mathrm|mathbf|mathit|mathsf|mathtt|mathcal|mathbb|boldsymbol|bm|bf|rm|it"
    r"|mbox|hbox|fbox|boxed|framebox|underline|emph|operatorname|textcircled|displaystyle|large|Large|huge|Huge|normalsize"
)
_WRAPPED = re.compile(rf"\\(?:{_FONTS})\*?\s*\{{([^{{}}]*)\}}")
_COMMAND = re.compile(rf"\\(?:{_FONTS})(?![A-Za-z])")
_BARE_BRACES = re.compile(r"(?<![\w}\\^])\{\s*([^{}]*?)\s*\}(?![\w{])")
_NOISE = re.compile(
    r"\\[,;:! ]|\\q?quad|[$*`]|(?<=[)}])~|\\[()\[\]]|</?(?:b|i|u|em|strong|span|code|p|br)\s*/?>|(?<!\w)_+|_+(?!\w)"
)
_QUOTES = re.compile(r"[\"'\u2018-\u201f\u00ab\u00bb\u300c-\u3011](?!s\b|t\b|ll\b|re\b|ve\b|m\b|d\b)")
# How options are marked: (A) or A) or [A] or A. or A: or A、
_MARK = (
    r"(?:(?P<open>[(\[])\s*(?P<inner>[A-Za-z])\s*(?P<close>[)\]])[.:]?|(?P<bare>[A-Za-z])\s?(?P<sign>[).:\u3001,\]]))"
)
_AT_LINE_START = re.compile(rf"^[ \t>+\u2022\u25cf\u25cb-]*{_MARK}(?=\s|[^\x00-\x7f]|[\w$\\(\[-])", re.MULTILINE)
_ANYWHERE = re.compile(rf"(?:(?<!\S)|(?<=[^\x00-\x7f])){_MARK}(?=\s|[^\x00-\x7f])")
_BLANK_LINE = re.compile(r"\n[ \t]*\n")


def plain_text(text: str) -> str:
    """Removes LaTeX, Markdown and quotes around letters and words, and writes full-width and dressed letters plainly.

    >>> plain_text(r"**\\\\text{（Ｃ）}**")
    '(C)'
    """
    text = text.translate(_TABLE).strip()
    before = None
    while text != before:  # wrappers may be nested
        before = text
        text = _BARE_BRACES.sub(r" \1 ", _WRAPPED.sub(r" \1 ", text))
    text = _QUOTES.sub(" ", _NOISE.sub(" ", _COMMAND.sub(" ", text)))
    return re.sub(r"[ \t]+", " ", text).strip()


@lru_cache(maxsize=16384)
def normalised(text: str) -> str:
    """Returns the text of an option in the form in which it is compared."""
    return " ".join(plain_text(text).split()).strip(" .;\u3002").casefold()


def options_of(prompt: Prompt) -> dict[str, str]:
    """Returns letter -> text of a prompt's options, lettered from A on without a gap; empty where it shows none.

    Raises:
        ValueError: the `checks` are not as they should be.
    """
    return dict(_options(prompt.text, prompt.checks))


@lru_cache(maxsize=1024)
def _options(text: str, checks: str) -> tuple[tuple[str, str], ...]:
    if checks:
        try:
            listed = json.loads(checks).get("options")
        except (ValueError, AttributeError, RecursionError):
            raise ValueError(f'checks {checks[:60]!r} are not {{"options": ["first", "second", ...]}}') from None
        if listed is not None:
            return _listed(listed)
    plain = plain_text(text)
    return tuple(_run(plain, _AT_LINE_START) or _run(plain, _ANYWHERE))


def _listed(listed: object) -> tuple[tuple[str, str], ...]:
    """Checks the options that a row or a loader names."""
    if isinstance(listed, dict) and list(listed) == list(LETTERS[: len(listed)]):
        listed = list(listed.values())
    if not isinstance(listed, list) or not 2 <= len(listed) <= len(LETTERS):
        raise ValueError(f"checks.options must be a list of 2 to {len(LETTERS)} options, got {listed!r:.60}")
    if any(isinstance(option, (list, dict)) or option is None for option in listed):
        raise ValueError(f"checks.options must be texts, got {listed!r:.60}")
    return tuple(zip(LETTERS, map(str, listed)))


def _run(text: str, mark: re.Pattern[str]) -> list[tuple[str, str]]:
    """Returns the last run A, B, C, ... of marks of one style: before it there may be solved examples."""
    marks = [(*_letter_and_style(match), match.start(), match.end()) for match in mark.finditer(text)]
    for first in reversed(range(len(marks))):
        if marks[first][0] != "A":
            continue
        run = [marks[first]]
        for candidate in marks[first + 1 :]:
            if len(run) == len(LETTERS):
                break
            if candidate[:2] == (LETTERS[len(run)], run[0][1]):
                run.append(candidate)
        if len(run) > 1:
            return _texts(text, [(letter, start, end) for letter, _, start, end in run])
    return []


def _letter_and_style(match: re.Match[str]) -> tuple[str, tuple]:
    letter = match["inner"] or match["bare"]
    return letter.upper(), (match["open"], match["sign"], letter.isupper())


def _texts(text: str, run: list[tuple[str, int, int]]) -> list[tuple[str, str]]:
    """Cuts the text at the marks. The last option ends with its line, or with its paragraph where others have lines."""
    ends = [start for _, start, _ in run[1:]] + [len(text)]
    parts = [text[end:stop].strip() for (_, _, end), stop in zip(run, ends)]
    last = _BLANK_LINE.split(parts[-1], maxsplit=1)[0]
    parts[-1] = last if any("\n" in part for part in parts[:-1]) else last.split("\n", 1)[0]
    return [(letter, " ".join(part.split())) for (letter, _, _), part in zip(run, parts)]
