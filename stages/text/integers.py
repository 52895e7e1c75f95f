"""The integer that a text names."""

import re
from functools import lru_cache

from stages.text.answers import extract_answer

_INTEGER = re.compile(r"(?<![\w.])[-+]?\d{1,3}(?:,\d{3})+(?![\d,.]*\d)|[-+]?\d+")


@lru_cache(maxsize=4096)
def read_integer(text: str) -> int | None:
    """The one integer a text names, once or several times; None where it names none, different ones, or a fraction."""
    if re.search(r"\d\.\d", text):
        return None
    found = {int(match.replace(",", "")) for match in _INTEGER.findall(text)}
    return found.pop() if len(found) == 1 else None


def final_integer(completion: str) -> int | None:
    """The integer that the final answer of a completion names; None where there is no such answer."""
    given = extract_answer(completion)
    return None if given is None else read_integer(given)
