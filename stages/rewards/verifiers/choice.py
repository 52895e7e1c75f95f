"""Verifier `choice`: the final answer must name the option, or the options, that the reference names.

An answer can name an option in many ways: "(B)", "B.", "the answer is B", \\boxed{\\text{B}}, or with the text of the
option. The texts are read from the prompt ("A) 3", "(A) 3", "A. 3"), or from its `checks`: {"options": ["3", "4"]}.
"""

import json
import re

from stages.prompting.prompt import Prompt
from stages.text.answers import extract_answer

LETTERS = "ABCDEFGHIJ"
MAX_CHARACTERS = 1000  # of an answer; a longer text is a solution and names no option
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
    """Returns 1 where the final answer names the same options as the reference, else 0."""
    given = vote(completion, prompt)
    return float(given is not None and given == letters_of(prompt.answer, prompt))


def vote(completion: str, prompt: Prompt) -> str | None:
    """Returns the letters of the options that the final answer names, as "B" or "AC"."""
    given = extract_answer(completion)
    return None if given is None or len(given) > MAX_CHARACTERS else letters_of(given, prompt)


def reference_problem(prompt: Prompt) -> str | None:
    """Returns why the reference cannot be used: it names no option."""
    if letters_of(prompt.answer, prompt):
        return None
    return f"{prompt.answer[:60]!r} names no option of the prompt, as B or its text does"


def is_letter(text: str) -> bool:
    """Returns whether a reference is the capital letter of an option, rather than mathematics."""
    plain = _without_markup(text)
    bare = plain.strip("().")
    return len(bare) == 1 and _SINGLE.fullmatch(plain) is not None and bare.isupper()


def letters_of(text: str, prompt: Prompt) -> str | None:
    """Returns the letters of the options that a text names.

    Args:
        text: a final answer or a reference.
        prompt: the prompt, which has the texts of the options.

    Returns:
        "B" for one option; "AC" for several that the text names together, sorted; None where the text names no option,
        or different ones in passing.
    """
    plain, options = _without_markup(text), options_of(prompt)
    if match := _SINGLE.fullmatch(plain):
        return match[1].upper()
    letter_of_text = {_normalised(option): letter for letter, option in options.items()}
    if letter := letter_of_text.get(_normalised(plain)):
        return letter
    if _SEVERAL.fullmatch(plain):
        return "".join(sorted(set(re.findall("[A-J]", plain))))
    if match := _LEADING.match(plain):
        text_after = _normalised(plain[match.end() - 1 :])
        is_contradiction = text_after in letter_of_text and letter_of_text[text_after] != match[1]
        if is_contradiction and match[1] in options:
            return None
        return _only({match[1], *_BRACKETED.findall(plain)})
    return _only(set(_NAMED.findall(plain)) or set(_BRACKETED.findall(plain)))


def options_of(prompt: Prompt) -> dict[str, str]:
    """Returns letter -> text of a prompt's options, lettered from A on without a gap; empty where it shows none."""
    if prompt.checks and (listed := json.loads(prompt.checks).get("options")):
        return dict(zip(LETTERS, map(str, listed)))
    options: dict[str, str] = {}
    for letter, text in _OPTION.findall(_without_markup(prompt.text)):
        if letter == LETTERS[len(options)]:
            options[letter] = text
    return options if len(options) > 1 else {}


def _only(letters: set[str]) -> str | None:
    """Returns the letter where there is exactly one."""
    return letters.pop() if len(letters) == 1 else None


def _without_markup(text: str) -> str:
    """Removes LaTeX and Markdown around letters and words."""
    text = text.strip()
    before = None
    while text != before:  # wrappers may be nested
        before = text
        text = _WRAPPED.sub(r"\1", text)
    return _NOISE.sub(" ", text).strip()


def _normalised(text: str) -> str:
    return " ".join(text.split()).strip(" .").casefold()
