r"""Splits a prompt into the words by which it is found in other texts; operators and signs of mathematics count.

A sign belongs to the word after it ("3-5" is 3, -5), and "!" and "%" to the number before them, so that a run of words
is also a run of the operations between them: 3+5 is not 3-5, and 2(3+4) is not 2*3+4. What only formats a formula or a
sentence ($, \, braces, commas, quotes, hyphens between words) does not count.
"""

import re

from stages.data.preparing.text_hashes import CJK, MARK, SYLLABIC, UNSPACED, WORD
from stages.text.normal_form import normal_form

_FILLER = r"[\s$\\{}]*"
# A sign of prose too is an operator where a number, a variable, a formula or another sign of mathematics follows.
_MATHEMATICS = rf"(?={_FILLER}(?:[-+(|]{_FILLER}){{0,4}}(?:\.?\d|[^\W\d_]\b(?!')|(?<=\\)[a-z]))"
_SYMBOLS = "+=<>^\u00ac\u00b1\u00d7\u00f7\u203b\u2190-\u2bff"
_END_OF_TERM = r"(?:(?<=[\d)!%|])|(?<=\b[a-z]))"
_OPERATOR = (
    rf"(?:[{_SYMBOLS}]|(?<!\*)\*(?!\*){_MATHEMATICS}|[-/|(&]{_MATHEMATICS}|(?<=\d):(?=\d)|(?<=\d),(?={_FILLER}-)"
    rf"|{_END_OF_TERM}{_FILLER}\)(?={_FILLER}[-+*/^=<>(\d{_SYMBOLS}]))"
)
_POSTFIX = r"(?:(?:(?<=\d)|(?<=\b[a-z]))(?:!(?!\w)|'(?!\w)|\\?%))?"
# Runs of signs are read up to eight at a time, so that a long line of them costs no more than its length.
_TOKEN = re.compile(rf"(?:{_OPERATOR}{_FILLER}){{0,8}}(?:\d+(?:\.\d+)+|{UNSPACED}{MARK}*|{WORD}){_POSTFIX}")
_PLAIN_TOKEN, _ASCII_TOKEN = re.compile(rf"{UNSPACED}{MARK}*|{WORD}"), re.compile(r"\w+")
_MAY_HAVE_SIGNS = re.compile(r"[^\w\s.,;?]|\d[.,]")
_HAS_SIGNS = re.compile(
    rf"[*%|&{_SYMBOLS}]|\d(?:\.\d|[!:,])|\b[a-z]['!]|[-/(]{_FILLER}(?:[-+(\d]|(?<=\\)[a-z]|[^\W\d_]\b)"
)
_LATEX = re.compile(r"\\(?:(times|cdot)|(div)|(?:left|right|displaystyle|bigl?|bigr?)|[,;:!>()\[\]])(?![a-z])")
_FORMATTING = re.compile(r"[\s$\\{}]+")
_PIECE = re.compile(rf"[{CJK}]|[^\W\d_{CJK}]+|\d+|_|[^\w\s]")

# The share of a word that a character is worth in a script without spaces: words of Chinese and Japanese have about 1.7
# characters, those of Thai, Lao, Burmese, Khmer and Tibetan about four.
WORD_WEIGHT, CJK_WEIGHT, SYLLABIC_WEIGHT = 20, 12, 5
_IS_CJK, _IS_SYLLABIC = re.compile(f"[{CJK}]"), re.compile(f"[{SYLLABIC}]")


def problem_tokens(text: str) -> list[str]:
    """Returns the words of a text, each with the operators before it.

    >>> problem_tokens("What is $3 - 5!$?")
    ['what', 'is', '3', '-5!']
    """
    text = normal_form(text)
    if "\\" in text:
        text = _LATEX.sub(_plain_latex, text)
    if not (_MAY_HAVE_SIGNS.search(text) and _HAS_SIGNS.search(text)):
        return (_ASCII_TOKEN if text.isascii() else _PLAIN_TOKEN).findall(text)
    return [_FORMATTING.sub("", token).replace("*", "\u00d7") for token in _TOKEN.findall(text)]


def weights_of(tokens: list[str]) -> list[int]:
    """Returns what each token is worth; a word is worth WORD_WEIGHT."""
    return [WORD_WEIGHT if token.isascii() else _weight(token) for token in tokens]


def is_telling(tokens: list[str]) -> bool:
    """Returns whether a short prompt says enough to be recognised in the middle of another text.

    "Compute 7!" does, and "Find x" does not. A sentence needs four words, something with a number three pieces.
    """
    pieces = [piece for token in tokens for piece in _PIECE.findall(token)]
    has_number = any(piece[0].isdigit() for piece in pieces)
    return sum(map(_weight, pieces)) >= (3 if has_number else 4) * WORD_WEIGHT


def goes_on(token: str) -> bool:
    """Returns whether a token continues the expression before it: "+5" after 3 does."""
    return not token[0].isalnum() and token[0] != "_"


def _weight(token: str) -> int:
    if _IS_CJK.search(token):
        return CJK_WEIGHT
    return SYLLABIC_WEIGHT if _IS_SYLLABIC.search(token) else WORD_WEIGHT


def _plain_latex(command: re.Match[str]) -> str:
    """Returns the sign of an operator, and nothing for what only formats."""
    return "\u00d7" if command[1] else "\u00f7" if command[2] else " "
