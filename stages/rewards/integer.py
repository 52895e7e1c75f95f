"""Verifier `integer`: the final answer names the same integer as the reference."""
import re
from functools import lru_cache

from stages.prompt import Prompt
from stages.rewards.answers import extract_answer

_INTEGER = re.compile(r"(?<![\w.])[-+]?\d{1,3}(?:,\d{3})+(?![\d,.]*\d)|[-+]?\d+")


@lru_cache(maxsize=4096)
def read_integer(text: str) -> int | None:
    """The one integer a text names, once or several times; None where it names none, different ones, or a fraction."""
    if re.search(r"\d\.\d", text):
        return None
    found = {int(match.replace(",", "")) for match in _INTEGER.findall(text)}
    return found.pop() if len(found) == 1 else None


def grade(completion: str, prompt: Prompt) -> float:
    value = _final(completion)
    return float(value is not None and value == read_integer(prompt.answer))


def vote(completion: str, prompt: Prompt) -> str | None:
    value = _final(completion)
    return None if value is None else str(value)


def problem(prompt: Prompt) -> str | None:
    return None if read_integer(prompt.answer) is not None else f"{prompt.answer[:60]!r} is not one integer"


def _final(completion: str) -> int | None:
    given = extract_answer(completion)
    return None if given is None else read_integer(given)
