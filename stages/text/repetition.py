"""Measures repetition as the share of n-grams that a text has used before.

It is a rule reward and a filter of the SFT data [V2 B.3.2].
"""

import re
import unicodedata
from collections.abc import Iterable
from functools import cache

# Scripts without spaces between words, as character classes, and how many characters make up about a word there. One
# Chinese character counts as a word, as in the language reward. Japanese kana and the letters of Thai are sounds: four
# of them are hardly a word, so that n-grams of single ones would repeat themselves in every honest text.
_WITHOUT_SPACES = (
    ("\u3005-\u3007\u3400-\u9fff\ua000-\ua4cf\uf900-\ufaff\U00020000-\U0003ffff", 1),  # Han, Yi
    (
        "\u3041-\u3096\u309d-\u309f\u30a1-\u30fa\u30fc-\u30ff\u3105-\u312f\u31f0-\u31ff\uff66-\uff9d",
        2,
    ),  # kana, Bopomofo
    ("\u0e01-\u0e4e\u0e81-\u0ece\u1000-\u109f\u1780-\u17d3\u1950-\u19df\ua9e0-\uaa7f", 3),  # Thai, Lao, Burmese, Khmer
)
_FINEST = 6  # a word is so many parts: the least common multiple of the numbers above
# No letters for us: signs above and below the line. The signs for times and divided by are letters because they stand
# among Latin ones.
_NO_LETTERS = "\u00aa\u00b5\u00ba\u02b0-\u02ff\u2070-\u209f"
_TIMES, _TIBETAN_POINT = "\u00d7\u00f7", "\u0f0b"
# Most texts have Latin words and Chinese characters only, and their units are found in half the time.
_PLAIN_UNIT = re.compile(r"[A-Za-z\u00c0-\u024f]+|\d+|[^\w\s]|[\u3400-\u9fff]")
_NOT_PLAIN = re.compile(r"[^\x00-\u024f\u2000-\u206f\u2190-\u2bff\u3000-\u3004\u3008-\u3029\u3400-\u9fff\uff01-\uff0f]")


def repeated_ngram_share(text: str, n: int = 4) -> float:
    """Returns 1 - (different n-grams) / (all n-grams), and 0 for a text that is shorter than one n-gram.

    The units are words, numbers, punctuation marks and Chinese characters. Where a script writes no spaces and a
    character is less than a word, an n-gram has as many characters as n words have: two for a word in kana, three in
    Thai, Lao, Khmer and Burmese, each with the signs on it. The bigrams of "a b a b a b" are ab ba ab ba ab; two of the
    five are different:

    >>> repeated_ngram_share("a b a b a b", n=2)
    0.6
    """
    if _NOT_PLAIN.search(text):
        matches = list(_pattern().finditer(text))
        ngrams = _windows([m[0] for m in matches], [_FINEST // (m.lastindex or 1) for m in matches], n * _FINEST)
    else:
        ngrams = _ngrams(_PLAIN_UNIT.findall(text), n)
    different, total = len(set(ngrams)), len(ngrams)
    return 1 - different / total if total else 0.0


def _ngrams(units: list[str], n: int) -> list[tuple[str, ...]]:
    return [tuple(units[start : start + n]) for start in range(len(units) - n + 1)]


def _windows(units: list[str], sizes: list[int], length: int) -> list[tuple[str, ...]]:
    """Returns for each unit the units from there on whose sizes add up to `length`, where there are so many."""
    windows: list[tuple[str, ...]] = []
    end = size = 0
    for start in range(len(units)):
        while size < length and end < len(units):
            size += sizes[end]
            end += 1
        if size < length:
            break
        windows.append(tuple(units[start:end]))
        size -= sizes[start]
    return windows


@cache
def _pattern() -> re.Pattern[str]:
    """Returns the expression of a unit. The number of its group is how many of the unit make up about a word."""
    categories = [unicodedata.category(chr(code)) for code in range(0x10000)]
    marks = _ranges(code for code, category in enumerate(categories) if category[0] == "M")
    numerals = _ranges(code for code, category in enumerate(categories) if category in ("No", "Nl"))
    without_spaces = "".join(characters for characters, _ in _WITHOUT_SPACES)
    letter = rf"[^\W\d_{_NO_LETTERS}{numerals}{without_spaces}]|[{_TIMES}]"
    units = [rf"([{characters}][{marks}]*)" for characters, _ in _WITHOUT_SPACES]
    return re.compile(rf"(?:{letter})(?:{letter}|[{marks}])*|\d+|{'|'.join(units)}|[^\w\s{_TIBETAN_POINT}]")


def _ranges(codes: Iterable[int]) -> str:
    """Returns rising code points as the inside of a character class."""
    ranges: list[list[int]] = []
    for code in codes:
        if ranges and code == ranges[-1][1] + 1:
            ranges[-1][1] = code
        else:
            ranges.append([code, code])
    return "".join(f"\\u{first:04x}-\\u{last:04x}" for first, last in ranges)
