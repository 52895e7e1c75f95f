r"""Splits a text into the words that a person would read as language, leaving out formulas, code, tags and links.

A word is a run of letters; in a script without spaces, such as Chinese, each character is one. Single letters are
variables and no words.
"""

import re
import unicodedata
from functools import cache, lru_cache
from typing import NamedTuple

from stages.config.languages import ALPHABETS_MIXED_UP, KANA, WITHOUT_SPACES

# Environments of LaTeX that hold formulas.
_FORMULAS = (
    r"(?:align|aligned|alignat|array|bmatrix|Bmatrix|cases|displaymath|eqnarray|equation|flalign|gather|gathered|math"
    r"|matrix|multline|pmatrix|smallmatrix|split|vmatrix|Vmatrix)\*?"
)
# A line of a program outside of a block: one that begins with a keyword and has the signs of a program, a statement
# that ends in a semicolon, and an assignment of something that no formula has.
_CODE_LINE = (
    r"^[ \t]*(?:"
    r"(?:def|class|for|while|if|elif|with|except|switch)\b[^\n]{0,200}(?:\w[(\[]|[=<>!]=|_)[^\n]{0,200}[:{]"
    r"|for \w+(?:, ?\w+)* in [\w.]+:"
    r"|(?:import [\w.]+|from [\w.]+ import|return\b[^\n]{0,200}[()\[\]_=]"
    r"|print ?\(|(?:std|cout|cin|console|System)[.:< ])"
    r"[^\n]{0,200}"
    r"|(?:int|long|float|double|char|bool|auto|void|let|const|var|static|public|private)[*&]? \w+"
    r"(?: ?=|\(|;)[^\n]{0,200}"
    r"|[^\n]{0,200}[=(\[][^\n]{0,200};|#include[^\n]{0,200}"
    r"|[A-Za-z_][\w.\[\], ]{0,80}[ \t](?:[-+*/%|&^]|//|\*\*|:)?=[ \t][^\n]{0,200}"
    r"(?:\w[(\[]|[\[{_\"'%]|//|\*\*)[^\n]{0,200}"
    r")[ \t]*$"
)
# Text that is not written in any human language.
_NOT_WORDS = re.compile(
    r"```.*?(?:```|\Z)|~~~.*?(?:~~~|\Z)|`[^`\n]*`|\$\$.*?\$\$|\$[^$\n]*\$"
    r"|\\\[(?:(?!\\\[).)*?\\\]|\\\((?:(?!\\\().)*?\\\)"
    rf"|\\begin\{{({_FORMULAS})\}}(?:(?!\\begin\{{).)*?\\end\{{\1\}}"
    r"|\\(?:begin|end|operatorname\*?|label|ref|mathrm|mathit|mathbf)\{[^{}]*\}"
    rf"|(?m:{_CODE_LINE})"
    r"|\b[A-Za-z]\w*(?:\.\w+)*\([!-'*-~ ]{0,60}\)|\b\w*[^\W\d]_\w+|\b[a-z]+[A-Z]\w*"
    r"|</?[A-Za-z_]+>|\\[A-Za-z]+|https?://\S+",
    re.DOTALL,
)
_MAY_HAVE_NOT_WORDS = re.compile(r"[`$\\<_({\[;~#%\"'/]|\*\*|[a-z][A-Z]")
_PASSAGE_END = re.compile(r"[=+*^<>.!?;:\n\u3002\uff01\uff1f\uff1b\u0964\u061f]+")
# A letter, without superscripts, fractions and Roman numerals.
_LETTER = r"[^\W\d_\u00b2\u00b3\u00b9\u00bc-\u00be\u02b0-\u02ff\u2070-\u209f\u2150-\u218b]"
# Combining marks and vowel signs, which belong to a word although \w does not match them.
_MARK = r"[\u0300-\u036f\u0483-\u0487\u0591-\u05c7\u0610-\u061a\u064b-\u065f\u0670\u0900-\u0dff\u0e00-\u0eff\u200c]"
_LETTERS = re.compile(rf"{_LETTER}(?:{_LETTER}|{_MARK})*(?:['\u2019]{_LETTER}+)*")
_ONE_LETTER_WORDS = ("a", "A", "I")  # other single letters are variables
_MIXED = "MIXED"  # the script of a word that mixes look-alike alphabets

# Names of functions, operators and units, which all languages write in Latin letters.
_NOTATION_WORDS = """
arccos arccot arcsin arctan arg cm cos cosh cot coth csc deg det dim dm exp gcd ghz hcf hom hz im inf kb ker kg khz
kj km kn kw kwh lcm lg lim liminf limsup ln log max mb mg mhz min mj ml mm mod mol ms nm pa pm prob rad re sec sgn
sin sinh sqrt sup tan tanh tg tr wh
"""
_NOTATION = frozenset(_NOTATION_WORDS.split())
_LONGEST_NAME, _WIDEST_NAME = 5, 5  # names of points: at most five capital letters that are near in the alphabet


class Word(NamedTuple):
    """A word of a text and the name of its script, as Unicode's character names begin ("LATIN", "CJK")."""

    text: str
    script: str


def without_notation(text: str) -> str:
    """Returns a text without what is not written in any human language."""
    return _NOT_WORDS.sub(" ", text) if _MAY_HAVE_NOT_WORDS.search(text) else text


def passages(text: str) -> list[list[Word]]:
    """Splits a text into passages, each a list of words: the sentences, lines and sides of equations that have words.

    Han characters in a passage with kana are Japanese; their script is then called HIRAGANA.
    """
    found = []
    for piece in _PASSAGE_END.split(without_notation(text)):
        words = [word for run in _LETTERS.findall(piece) for word in _words(run)]
        if any(word.script in KANA for word in words):
            words = [word._replace(script="HIRAGANA") if word.script == "CJK" else word for word in words]
        if words:
            found.append(words)
    return found


@lru_cache(maxsize=65536)
def is_notation(word: Word) -> bool:
    """Returns whether a word is notation where the text is in another script than Latin: sin, km, ABC.

    >>> [is_notation(Word(text, "LATIN")) for text in ("sin", "ABC", "GPU")]
    [True, True, False]
    """
    text = word.text
    if word.script != "LATIN" or text.lower() in _NOTATION:
        return word.script == "LATIN"
    is_short = len(text) <= _LONGEST_NAME and text.isascii() and text.isupper()
    return is_short and ord(max(text)) - ord(min(text)) <= _WIDEST_NAME


def is_letter(word: Word) -> bool:
    """Returns whether a word is a single Latin letter."""
    return len(word.text) == 1 and word.script == "LATIN"


@lru_cache(maxsize=65536)
def _words(run: str) -> tuple[Word, ...]:
    """Cuts a run of letters where its script changes.

    A run that mixes Latin with Cyrillic or Greek letters stays one word, and its script is MIXED.
    """
    pieces: list[list[str]] = []
    for character in run:
        script = _script(character) or (pieces[-1][1] if pieces else "")
        if pieces and pieces[-1][1] == script and script not in WITHOUT_SPACES:
            pieces[-1][0] += character
        elif not pieces or _script(character):
            pieces.append([character, script])
        else:
            pieces[-1][0] += character  # a mark on a character that is a word of its own
    scripts = {script for _, script in pieces}
    if len(run) > 2 and len(scripts) > 1 and scripts <= ALPHABETS_MIXED_UP:
        return (Word(run, _MIXED),)
    return tuple(
        Word(text, script)
        for text, script in pieces
        if len(text) > 1 or script in WITHOUT_SPACES or script == "HANGUL" or text in _ONE_LETTER_WORDS
    )


@cache
def _script(character: str) -> str:
    """Returns the script of a letter, or "" for a mark or apostrophe, which belongs to the letter before it."""
    if unicodedata.category(character)[0] != "L":
        return ""
    first = unicodedata.name(character, "OTHER").split("-")[0].split()[0]
    return {
        "HALFWIDTH": "KATAKANA",
        "FULLWIDTH": "LATIN",
        "IDEOGRAPHIC": "CJK",
        "KATAKANA-HIRAGANA": "KATAKANA",
        "MODIFIER": "",
    }.get(first, first)
