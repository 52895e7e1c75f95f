"""Verifier `choice`: the final answer must name the option, or the options, that the reference names.

The final answer is what stands in the last <answer> tags, or the text after the thought. In it the last line that says
its answer ("ANSWER: C", "The answer is (C)") counts, or a box after that line, or else the last boxes. `choice_options`
finds the options of a prompt, `choice_answers` reads which of them a text names.
"""

import re

from stages.prompting.prompt import Prompt
from stages.rewards.grading import Explanation
from stages.rewards.verifiers.choice_answers import (
    answer_line,
    begins_with_doubt,
    letters_in,
    mentions_option,
)
from stages.rewards.verifiers.choice_options import LETTERS, options_of, plain_text
from stages.text.answers import extract_answer
from stages.text.completion import summary_of
from stages.text.normal_form import visible

__all__ = ["LETTERS", "is_letter", "letters_of", "options_of"]

# Characters: what is longer beside a box or after a line is a solution, which may well mention other options.
MAX_BESIDE = 200
_TAGGED = re.compile(r"<answer>((?:(?!<answer>).)*?)</answer>", re.DOTALL)
_BOX = re.compile(r"\\(?:boxed|fbox)\s*(?:\{((?:[^{}]|\{[^{}]*\})*)\}|([A-Z])(?![A-Za-z]))")
_BETWEEN_BOXES = re.compile(r"(?:[\s$.,;&/|]|and|or|\\q?quad|\\(?:text|mbox)\{[^{}]*\}|和|或者?|与)*")
_SINGLE = re.compile(r"\(?\[?([A-Ja-j])\]?\)?[.:,)]?")


def grade(completion: str, prompt: Prompt) -> float:
    """Returns 1 where the final answer names the same options as the reference, else 0."""
    given = vote(completion, prompt)
    return float(given is not None and given == letters_of(prompt.answer, prompt))


def vote(completion: str, prompt: Prompt) -> str | None:
    """Returns the letters of the options that the final answer names, as "B" or "AC"."""
    options = options_of(prompt)
    return next((letters for text in _said(completion, options) if (letters := letters_in(text, options))), None)


def reference_problem(prompt: Prompt) -> str | None:
    """Returns why the reference cannot be used: it names no option, or one that the prompt does not have."""
    options = options_of(prompt)
    if letters_in(prompt.answer, options):
        return None
    if options and letters_in(prompt.answer, {}):
        return (
            f"{prompt.answer[:60]!r} names none of the options {', '.join(options)}: where they are read wrongly from "
            'the prompt, name them in its checks, {"options": ["first", "second", ...]}'
        )
    return f"{prompt.answer[:60]!r} names no option of the prompt, as B or its text does"


def explain(completion: str, prompt: Prompt) -> Explanation:
    """Says which options both sides name, and why the verdict is what it is."""
    options = options_of(prompt)
    expected, given, said = letters_in(prompt.answer, options), vote(completion, prompt), _said(completion, options)
    if problem := reference_problem(prompt):
        why = f"The reference {problem}."
    elif not said:
        why = "The completion has no final answer."
    elif given is None:
        why = f"The answer {said[0][:60]!r} names no option, or several without deciding."
    else:
        why = "Both name the same option." if given == expected else f"The answer names {given}, not {expected}."
    return Explanation(expected, given, why)


def is_letter(text: str) -> bool:
    """Returns whether a reference is the capital letter of an option, rather than mathematics."""
    plain = plain_text(text)
    bare = plain.strip("().")
    return len(bare) == 1 and _SINGLE.fullmatch(plain) is not None and bare.isupper()


def letters_of(text: str, prompt: Prompt) -> str | None:
    """Returns the letters of the prompt's options that a text names, as `letters_in` does."""
    return letters_in(text, options_of(prompt))


def _said(completion: str, options: dict[str, str]) -> list[str]:
    """Returns the texts in which the final answer may stand, the one that counts first; none where there is none.

    A line that says its answer decides, even where it hedges. A box is only the first try: what is in it may be a
    value, with the letter beside it.
    """
    completion = visible(completion)
    tagged = _TAGGED.findall(completion)
    is_thinking = "<think>" in completion and "</think>" not in completion
    region = tagged[-1] if tagged else "" if is_thinking else summary_of(completion)
    if line := answer_line(region, options):
        said, start = line
        rest = region[start + len(said) :]
        boxed = _boxed(rest)
        if len(rest) <= MAX_BESIDE and begins_with_doubt(rest) and mentions_option(rest, options):
            return [_with_claims(said + rest)]  # "The answer is C", and below it "Or \\boxed{D}"
        return [_with_claims(said)] if boxed is None else [boxed, _with_claims(said)]
    boxed = _boxed(region if tagged else completion)
    if not tagged:
        return [] if boxed is None else [boxed]
    if boxed is None:
        above, _, last_line = region.rstrip().rpartition("\n")
        return [region] if mentions_option(above[-1000:], options) else [region, last_line]
    beside = _BOX.sub("", region)
    are_joined = len(_BOX.findall(region)) in (1, len(_BOX.findall(boxed)))
    if len(beside) <= MAX_BESIDE and (not are_joined or mentions_option(beside, options)):
        return [_with_claims(region)]  # "C or \\boxed{D}"
    return [boxed, region]


def _with_claims(text: str) -> str:
    """Writes each box as a claim, so that what stands beside it is read with it."""
    return _BOX.sub(lambda box: f" answer: ({plain_text(box[1] or box[2] or '')}) ", text)


def _boxed(text: str) -> str | None:
    """Returns the content of the last box, or the last boxes with what joins them; None where there is none."""
    answer = extract_answer(text)
    boxes = list(_BOX.finditer(text))
    if answer is None or not boxes:
        return answer
    first = len(boxes) - 1
    while first and _BETWEEN_BOXES.fullmatch(text[boxes[first - 1].end() : boxes[first].start()]):
        first -= 1
    last = boxes[-1]
    return (last[1] or last[2] or "") if first == len(boxes) - 1 else text[boxes[first].start() : last.end()]
