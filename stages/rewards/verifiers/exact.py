"""Verifier `exact`: the final answer is the reference's text, apart from case and white space."""

from stages.prompting.prompt import Prompt
from stages.text.answers import extract_answer


def grade(completion: str, prompt: Prompt) -> float:
    return float(vote(completion, prompt) == _plain(prompt.answer))


def vote(completion: str, prompt: Prompt) -> str | None:
    given = extract_answer(completion)
    return None if given is None else _plain(given)


def problem(prompt: Prompt) -> str | None:
    return None if prompt.answer.strip() else "the answer is empty"


def _plain(text: str) -> str:
    return " ".join(text.split()).casefold()
