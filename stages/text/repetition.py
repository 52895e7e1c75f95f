"""Measures repetition as the share of n-grams that a text has used before.

It is a rule reward and a filter of the SFT data [V2 B.3.2].
"""

import re

_UNIT = re.compile(r"[A-Za-z\u00c0-\u024f]+|\d+|[^\w\s]|[\u3400-\u9fff]")


def repeated_ngram_share(text: str, n: int = 4) -> float:
    """Returns 1 - (different n-grams) / (all n-grams), and 0 for a text that is shorter than one n-gram.

    The units are words, numbers, punctuation marks and CJK characters. The bigrams of "a b a b a b" are ab ba ab ba ab;
    two of the five are different:

    >>> repeated_ngram_share("a b a b a b", n=2)
    0.6
    """
    units = _UNIT.findall(text)
    ngrams = [tuple(units[start : start + n]) for start in range(len(units) - n + 1)]
    return 1 - len(set(ngrams)) / len(ngrams) if ngrams else 0.0
