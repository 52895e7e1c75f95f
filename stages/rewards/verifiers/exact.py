"""Verifier `exact`: the final answer must be the reference's text, ignoring case and white space."""

from stages.prompting.prompt import Prompt
from stages.text.answers import extract_answer


def grade(completion: str, prompt: Prompt) -> float:
    """Returns 1 where the final answer is the reference's text, else 0."""
    return float(vote(completion, prompt) == _normalised(prompt.answer))


def vote(completion: str, prompt: Prompt) -> str | None:
    """Returns the text of the final answer in lower case with single spaces."""
    given = extract_answer(completion)
    return None if given is None else _normalised(given)


def reference_problem(prompt: Prompt) -> str | None:
    """Returns why the reference cannot be used: it is empty."""
    return None if prompt.answer.strip() else "the answer is empty"


def _normalised(text: str) -> str:
    return " ".join(text.split()).casefold()
