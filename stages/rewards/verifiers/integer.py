"""Verifier `integer`: the final answer must name the same integer as the reference."""

from stages.prompting.prompt import Prompt
from stages.rewards.grading import Explanation
from stages.text.answers import extract_answer
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


def explain(completion: str, prompt: Prompt) -> Explanation:
    """Says which integers were read, and why the verdict is what it is."""
    expected, given, answer = read_integer(prompt.answer), final_integer(completion), extract_answer(completion)
    if expected is None:
        why = "The reference is not one integer."
    elif answer is None:
        why = "The completion has no final answer."
    elif given is None:
        why = f"The answer {answer[:60]!r} is not one integer."
    else:
        why = "Both are the same integer." if given == expected else "The integers differ."
    read = [None if value is None else str(value) for value in (expected, given)]
    return Explanation(read[0], read[1], why)
