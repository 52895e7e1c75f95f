"""Verifier `choice`: the final answer names the option, or the options, of the reference: "(B)", "B.", "the answer is
B", \\boxed{\\text{B}}, or its text.

The options' texts are read from the prompt ("A) 3", "(A) 3", "A. 3"), or from its `checks`: {"options": ["3", "4"]}.
"""

import json
import re

from stages.prompting.prompt import Prompt
from stages.text.answers import extract_answer

LETTERS = "ABCDEFGHIJ"
MAX_CHARACTERS = 1000  # of an answer: a solution is none
_WRAPPED = re.compile(r"\\(?:text|textbf|textrm|mathrm|mathbf|mathit|boxed|bf|rm)\s*\{([^{}]*)\}")
_NOISE = re.compile(r"\\[,;:! ]|\\q?quad|[$*`\"']|\\[()\[\]]")
_SINGLE = re.compile(r"\(?\[?([A-Ja-j])\]?\)?[.:,)]?")
_SEVERAL = re.compile(r"\(?([A-J])\)?(?:(?:\s*(?:,|;|and|&|/)\s*|\s*)\(?([A-J])\)?)+\.?")
_LEADING = re.compile(r"\(?([A-J])(?:\)|[.:](?=\s))\s*\S")
_NAMED = re.compile(
    r"\b(?i:answer|option|choice)s?\b(?:\s+(?i:is|are|would\s+be|choice|option))*\s*[:=]?\s*\(?([A-J])\)?(?![A-Za-z])"
)
_BRACKETED = re.compile(r"\(([A-J])\)")
_OPTION = re.compile(r"(?:^|(?<=\s))\(?([A-J])(?:\)|[.:](?=\s))\s*(.*?)(?=\s+\(?[A-J](?:\)|[.:](?=\s))|\Z)", re.DOTALL)


def grade(completion: str, prompt: Prompt) -> float:
    given = vote(completion, prompt)
    return float(given is not None and given == letters_of(prompt.answer, prompt))


def vote(completion: str, prompt: Prompt) -> str | None:
    given = extract_answer(completion)
    return None if given is None or len(given) > MAX_CHARACTERS else letters_of(given, prompt)


def problem(prompt: Prompt) -> str | None:
    return (
        None
        if letters_of(prompt.answer, prompt)
        else f"{prompt.answer[:60]!r} names no option of the prompt, as B or its text does"
    )


def is_letter(text: str) -> bool:
    """Whether a reference is the letter of an option rather than mathematics."""
    return (
        len(_plain(text).strip("().")) == 1
        and _SINGLE.fullmatch(_plain(text)) is not None
        and _plain(text).strip("().").isupper()
    )


def letters_of(text: str, prompt: Prompt) -> str | None:
    """The option that a text names, "B"; several that it names together, "AC"; None where it names none, or different
    ones in passing.
    """
    plain, options = _plain(text), options_of(prompt)
    if match := _SINGLE.fullmatch(plain):
        return match[1].upper()
    by_text = {_bare(option): letter for letter, option in options.items()}
    if letter := by_text.get(_bare(plain)):
        return letter
    if _SEVERAL.fullmatch(plain):
        return "".join(sorted(set(re.findall("[A-J]", plain))))
    if match := _LEADING.match(plain):
        rest = _bare(plain[match.end() - 1 :])
        stands_for = options.get(match[1])
        return (
            None
            if rest in by_text and by_text[rest] != match[1] and stands_for is not None
            else _one({match[1], *_BRACKETED.findall(plain)})
        )
    return _one(set(_NAMED.findall(plain)) or set(_BRACKETED.findall(plain)))


def options_of(prompt: Prompt) -> dict[str, str]:
    """Letter -> text of the options, lettered from A on without a gap; empty where the prompt shows none."""
    if prompt.checks and (listed := json.loads(prompt.checks).get("options")):
        return dict(zip(LETTERS, map(str, listed)))
    options: dict[str, str] = {}
    for letter, text in _OPTION.findall(_plain(prompt.text)):
        if letter == LETTERS[len(options)]:
            options[letter] = text
    return options if len(options) > 1 else {}


def _one(letters: set[str]) -> str | None:
    return letters.pop() if len(letters) == 1 else None


def _plain(text: str) -> str:
    """Without LaTeX and Markdown around letters and words."""
    text, before = text.strip(), None
    while text != before:
        before, text = text, _WRAPPED.sub(r"\1", text)
    return _NOISE.sub(" ", text).strip()


def _bare(text: str) -> str:
    return " ".join(text.split()).strip(" .").casefold()
