r"""Reads the one integer that a text or a final answer names.

A text names an integer where it is one, perhaps dressed (\boxed{25}, 25.0, 1{,}000, "x = 25", "the answer is 25."), or
where it names it again and again. A formula that has yet to be computed (5+5, \sqrt{25}, 5!) names none.
"""

import re
from functools import lru_cache

from stages.text.answers import extract_answer

_PLAIN = re.compile(r"-?\d{1,18}")
_INTEGER = re.compile(r"(?<![\w.])[-+]?\d{1,3}(?:,\d{3})+(?:\.0+)?(?![\d,.]*\d)|[-+]?\d+(?:\.0+(?!\d))?")
_SPELLINGS = [
    (re.compile(pattern), to)
    for pattern, to in (
        ("[−–‐‑➖]", "-"),
        (r"\\(?:boxed|fbox|text|textbf|textrm|mbox|mathrm|mathbf|bf|displaystyle|left|right)(?![A-Za-z])", ""),
        (r"(?<=\d)\s*\{\s*,\s*\}\s*(?=\d{3}(?!\d))", ","),
        (r"(?<=\d)(?:\\[,! ]|~|,\\!| )(?=\d{3}(?!\d))", ","),
        (r"\\[,;:! ]|~|\\q?quad(?![A-Za-z])|[\u200b\u200c\u200d\ufeff]", " "),
        (r"(?<![\w)}\]])([-+])\s+(?=\d)", r"\1"),
        (r"\\%", "%"),
        (r"(?<=\d)\s*\{?\s*((?:c|m|k|d)?m|ft|in|yd|mi)\s*\}?\s*\^\s*\{?[23]\}?(?!\w)", r" \1"),
        (r"\\(?:approx|Rightarrow|therefore|checkmark)(?![A-Za-z])|≈", " "),
        (r"\^\s*\{?\s*\\circ\s*\}?|°", " degrees"),
    )
]
_FULL_WIDTH = str.maketrans({chr(0xFF01 + i): chr(0x21 + i) for i in range(1, 94)} | {"\u3000": " ", "\u00a0": " "})
# Between numbers, or beside one, these make a formula of it, a range, a ratio or a time.
_COMPUTED = re.compile(
    r"\\(?!\\|\(|\)|\[|\]|\$)[A-Za-z]+|\d\s*[*/^!<>|×÷·⋅±≤≥≠]|[*/^<>|×÷·⋅±≤≥≠√]=?\s*[-+]?\d|\d\s*[-+]\s*[\d(\\]"
    r"|\d\s*e\s*[-+]?\d|_\s*\{?\s*\d|\d\s*_|[\w)}\]]\s*\+\s*\d|\)\s*\(|\d\s*\(\s*\d|!=|[a-z]\s*\(\s*[-+]?\d|(?<![a-z])[a-z]\d|(?:^|\s)\d+\s*:\s*\d",
    re.IGNORECASE,
)
_DECIMAL = re.compile(r"\d\.(?!0+(?!\d))\d|(?<!\d)\.\d")
# Words beside a number that make another number of it, or none.
_CHANGED = re.compile(
    r"(?:\b(?:negative|minus|plus|times|not|half|half of|twice|double|triple|square of|cube of|root(?: of)?|log|ln|sin"
    r"|cos|tan|over|below|less than|more than|than|at least|at most|between|under|above|opposite of|reciprocal of|mod"
    r"|base|never|except)|(?:n't|not|cannot) be|n't|不是|没有|不等于|[非负√])\s*[$({]*[-+]?\d"
    r"|\d[)}$]*\s*(?:(?:half|halves|thirds?|quarters?|fourths?|fifths?|tenths?|hundreds?|thousands?|millions?|billions?"
    r"|dozens?|squared|cubed|times|over|remainder|below|less|more|factorial|to the power|pi|sqrt|is wrong)\b"
    r"|and a half|[倍半万亿]|[eix]\s*[.$]*\s*$|sqrt|pi\b)",
    re.IGNORECASE,
)


@lru_cache(maxsize=4096)
def read_integer(text: str) -> int | None:
    r"""Returns the only integer that a text names, or None where it names none, several different ones, or a formula.

    >>> read_integer("the answer is 1,234. So 1234")
    1234
    >>> read_integer(r"x = 1{,}000.0")
    1000
    >>> read_integer("46 or 47") is None and read_integer("5+5") is None
    True
    """
    if _PLAIN.fullmatch(text):
        return int(text)
    text = text.translate(_FULL_WIDTH)
    for pattern, to in _SPELLINGS:
        text = pattern.sub(to, text)
    if _DECIMAL.search(text) or _COMPUTED.search(text) or _CHANGED.search(text):
        return None
    found = {int(match.replace(",", "").split(".")[0]) for match in _INTEGER.findall(text)}
    return found.pop() if len(found) == 1 else None


def final_integer(completion: str) -> int | None:
    """Returns the integer that a completion's final answer names, or None where no answer names exactly one."""
    given = extract_answer(completion)
    return None if given is None else read_integer(given)
