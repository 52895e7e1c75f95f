"""Verifier `integer`: the final answer must name the same integer as the reference."""

from stages.prompting.prompt import Prompt
from stages.text.integers import final_integer, read_integer


def grade(completion: str, prompt: Prompt) -> float:
    """Returns 1 where the one integer of the final answer is the reference's, else 0."""
    value = final_integer(completion)
    return float(value is not None and value == read_integer(prompt.answer))


def vote(completion: str, prompt: Prompt) -> str | None:
    """Returns the integer that the final answer names, as text."""
    value = final_integer(completion)
    return None if value is None else str(value)


def reference_problem(prompt: Prompt) -> str | None:
    """Returns why the reference cannot be used: it does not name exactly one integer."""
    return None if read_integer(prompt.answer) is not None else f"{prompt.answer[:60]!r} is not one integer"
