"""Counts words that show reflection: the ten that the paper counts [V2 C.2] and their Chinese counterparts."""

import re
from collections import Counter

ENGLISH = ("wait", "mistake", "however", "but", "retry", "error", "verify", "wrong", "evaluate", "check")
CHINESE = ("等等", "错误", "然而", "但是", "重试", "出错", "验证", "错了", "评估", "检查")
# A run of Latin letters counts if it is one of the words, or several written together ("waitcheck": the tiny world has
# no spaces). The name of a tag, such as <check>, is no word.
_RUN = re.compile(rf"(?<![A-Za-z<])(?<!</)(?:{'|'.join(ENGLISH)})+(?![A-Za-z])", re.IGNORECASE)
_WORD = re.compile("|".join(ENGLISH), re.IGNORECASE)
_CHINESE = re.compile("|".join(CHINESE))


def count_words(text: str) -> Counter[str]:
    """Counts each reflection word in a text; a Chinese word counts for its English counterpart.

    >>> sorted(count_words("Wait, check. waitcheck! 等等").items())
    [('check', 2), ('wait', 3)]
    """
    return Counter(word for word, _, _ in places(text))


def places(text: str) -> list[tuple[str, int, int]]:
    """Returns (English word, start, end) of each reflection word: the English ones in order, then the Chinese ones."""
    found = [
        (word[0].lower(), run.start() + word.start(), run.start() + word.end())
        for run in _RUN.finditer(text)
        for word in _WORD.finditer(run[0])
    ]
    return found + [(ENGLISH[CHINESE.index(word[0])], word.start(), word.end()) for word in _CHINESE.finditer(text)]


def count_reflections(text: str) -> int:
    """Returns the number of reflection words in a text."""
    return len(places(text))
