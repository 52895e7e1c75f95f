"""Verifier `integer`: the final answer names the same integer as the reference."""

from stages.prompting.prompt import Prompt
from stages.text.integers import final_integer, read_integer


def grade(completion: str, prompt: Prompt) -> float:
    value = final_integer(completion)
    return float(value is not None and value == read_integer(prompt.answer))


def vote(completion: str, prompt: Prompt) -> str | None:
    value = final_integer(completion)
    return None if value is None else str(value)


def problem(prompt: Prompt) -> str | None:
    return None if read_integer(prompt.answer) is not None else f"{prompt.answer[:60]!r} is not one integer"
