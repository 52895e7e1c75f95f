"""Verifier `exact`: the final answer must be the reference's text, ignoring case and white space."""

import re
import unicodedata

from stages.prompting.prompt import Prompt
from stages.rewards.grading import Explanation
from stages.text.answers import extract_answers

_TAGGED = re.compile(r"<answer>((?:(?!<answer>).)*?)</answer>", re.DOTALL)
MAX_BESIDE_A_BOX = 200  # characters: a longer answer is a solution, which may well say "or"
_OR = r"(?:\bor\b|\boder\b|\bou\b|/|\||或|または|또는)"
_HEDGED = re.compile(rf"{_OR}\W*\\boxed|\\boxed\s*\{{[^{{}}]*\}}\W*?{_OR}", re.IGNORECASE)


def grade(completion: str, prompt: Prompt) -> float:
    """Returns 1 where the final answer is the reference's text, else 0; no text is never right."""
    given = vote(completion, prompt)
    return float(given is not None and given == _normalised(prompt.answer))


def vote(completion: str, prompt: Prompt) -> str | None:
    """Returns the text of the final answer in lower case with single spaces; several boxes together are one text.

    Where short answer tags hold a box and something else beside an "or", there is no answer.
    """
    tagged = _TAGGED.findall(completion)
    if tagged and len(tagged[-1]) <= MAX_BESIDE_A_BOX and _HEDGED.search(tagged[-1]):
        return None
    given = extract_answers(completion)
    return (_normalised(given) or None) if given is not None else None


def reference_problem(prompt: Prompt) -> str | None:
    """Returns why the reference cannot be used: it is empty."""
    return None if prompt.answer.strip() else "the answer is empty"


def explain(completion: str, prompt: Prompt) -> Explanation:
    """Says which texts were compared, and why the verdict is what it is."""
    expected, given = _normalised(prompt.answer) or None, vote(completion, prompt)
    if expected is None:
        why = "The reference is empty."
    elif given is None:
        why = "The completion has no final answer, or one that does not decide."
    else:
        why = "Both are the same text." if given == expected else "The texts differ."
    return Explanation(expected, given, why)


def _normalised(text: str) -> str:
    """Returns a text in lower case with single spaces, and an accented letter as one character."""
    return unicodedata.normalize("NFC", " ".join(text.split()).casefold())
