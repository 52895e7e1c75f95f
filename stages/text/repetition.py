"""Repetition: the share of n-grams of a text that stood in it before; a reward, and a filter of the SFT data [V2
B.3.2].
"""

import re

_UNIT = re.compile(r"[A-Za-z\u00c0-\u024f]+|\d+|[^\w\s]|[\u3400-\u9fff]")


def repeated_ngram_share(text: str, n: int = 4) -> float:
    """1 - (different n-grams) / (n-grams) over words, numbers, punctuation marks and CJK characters; 0 for shorter
    texts.

    "a b a b a b" with n = 2: ab ba ab ba ab, 2 of 5 different: 0.6.
    """
    units = _UNIT.findall(text)
    ngrams = [tuple(units[start : start + n]) for start in range(len(units) - n + 1)]
    return 1 - len(set(ngrams)) / len(ngrams) if ngrams else 0.0
