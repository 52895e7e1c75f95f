"""Reads the one integer that a text or a final answer names."""

import re
from functools import lru_cache

from stages.text.answers import extract_answer

_INTEGER = re.compile(r"(?<![\w.])[-+]?\d{1,3}(?:,\d{3})+(?![\d,.]*\d)|[-+]?\d+")


@lru_cache(maxsize=4096)
def read_integer(text: str) -> int | None:
    """Returns the only integer that a text names, or None where it names none, several different ones, or a decimal.

    >>> read_integer("the answer is 1,234. So 1234")
    1234
    >>> read_integer("46 or 47") is None
    True
    """
    if re.search(r"\d\.\d", text):
        return None
    found = {int(match.replace(",", "")) for match in _INTEGER.findall(text)}
    return found.pop() if len(found) == 1 else None


def final_integer(completion: str) -> int | None:
    """Returns the integer that a completion's final answer names, or None where no answer names exactly one."""
    given = extract_answer(completion)
    return None if given is None else read_integer(given)
