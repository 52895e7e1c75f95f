"""Completions of arithmetic problems as the corpus has them: hasty, partly wrong, partly mixed in language, partly
broken in format.

A writer jumps two operations at once, a hard mental sum that is wrong half the time. Some then check: redo the jump in
single small steps, which are nearly always right, and go on from the true value. That is what R1-Zero can discover:
checking pays.
"""

import random
from collections.abc import Callable

from stages.worlds.tiny_world.lexicon import LANGUAGES, say
from stages.worlds.tiny_world.problems import Problem
from stages.worlds.tiny_world.split import Step, apply_step, is_all, is_in_range

STYLES = {"direct": 0.11, "plain": 0.26, "check": 0.45, "broken": 0.18}
ANSWER_STYLES = {"bare": 0.5, "polite": 0.1, "rude": 0.2, "verbose": 0.2}
MIXED_LANGUAGE_SHARE = 0.4
JUMP_ERROR_SHARE = 0.5
SLIP_SHARE = 0.04
JUMP_ERRORS = (-9, -6, -5, -4, -3, -2, -1, 1, 2, 3, 4, 5, 6, 9)

Say = Callable[[str], str]


def pick(rng: random.Random, shares: dict[str, float]) -> str:
    return rng.choices(list(shares), list(shares.values()))[0]


def speaker(rng: random.Random, language: str, mixed_share: float) -> Say:
    """How a writer says a word: in the problem's language, or (a share of writers) in either, word by word."""
    other = LANGUAGES[1 - LANGUAGES.index(language)]
    is_mixed = rng.random() < mixed_share

    def speak(english: str) -> str:
        return say(english, other if is_mixed and rng.random() < 0.5 else language)

    return speak


def reasoning(rng: random.Random, problem: Problem, check_share: float, speak: Say) -> tuple[str, int]:
    """The chain of thought and the value it ends with; `check_share` of the jumps are checked.

    Wrong values are drawn only from those from which the rest stays in range and within the training split.
    """
    value, rest, parts = problem.start, problem.steps, []
    while rest:
        jump, rest = rest[:2], rest[2:]
        before = true_value = value
        for step in jump:
            true_value = apply_step(true_value, step)
        is_wrong = rng.random() < (JUMP_ERROR_SHARE if len(jump) == 2 else SLIP_SHARE)
        errors = JUMP_ERRORS if len(jump) == 2 else (-1, 1)
        written = _wrong_value(rng, true_value, errors, rest) if is_wrong else true_value
        operations = "".join(f"{operator}{operand}" for operator, operand in jump)
        parts.append(f"{speak('then' if parts else 'first')}{before}{operations}={written}")
        value = written
        if len(jump) == 2 and rng.random() < check_share:
            parts.append(
                speak("wait")
                + speak("check")
                + single_steps(before, jump)
                + speak("ok" if written == true_value else "no")
            )
            value = true_value
    return ",".join(parts) + f",{speak('so')}{value}", value


def single_steps(value: int, steps: tuple[Step, ...]) -> str:
    """31-3=28,28-7=21"""
    parts = []
    for step in steps:
        result = apply_step(value, step)
        parts.append(f"{value}{step[0]}{step[1]}={result}")
        value = result
    return ",".join(parts)


def _wrong_value(rng: random.Random, true_value: int, errors: tuple[int, ...], rest: tuple[Step, ...]) -> int:
    """A value near the true one; the true one where no wrong one can be continued."""
    options = [
        true_value + error
        for error in errors
        if is_in_range(true_value + error, rest) and is_all("train", true_value + error, rest)
    ]
    return rng.choice(options) if options else true_value


def answer_text(rng: random.Random, value: int, language: str) -> str:
    style = pick(rng, ANSWER_STYLES)
    if style == "bare":
        return str(value)
    if style == "polite":
        return f"{say('the answer is', language)}{value},{say('hope this helps', language)}!"
    if style == "rude":
        return f"{say('obviously', language)}{value},{say('whatever', language)}"
    so, answer_is = say("so", language), say("the answer is", language)
    return f"{so}{so}{answer_is}{value},{answer_is}{value},{so}{value}"


def direct_completion(rng: random.Random, problem: Problem) -> str:
    """An answer without a thought, mostly wrong and mostly without the thinking tags."""
    value = problem.answer if rng.random() < 0.3 else max(0, min(99, problem.answer + rng.randint(-9, 9)))
    thought = "<think></think>" if rng.random() < 0.25 else ""
    return f"{thought}<answer>{answer_text(rng, value, problem.language)}</answer>"


def completion(rng: random.Random, problem: Problem, style: str | None = None) -> str:
    """A completion of the corpus."""
    style = style or pick(rng, STYLES)
    if style == "direct":
        return direct_completion(rng, problem)
    check_share = {"plain": 0.0, "check": 1.0, "broken": rng.choice((0.0, 0.0, 0.34))}[style]
    thought, value = reasoning(rng, problem, check_share, speaker(rng, problem.language, MIXED_LANGUAGE_SHARE))
    answer = answer_text(rng, value, problem.language)
    if style == "broken":
        return rng.choice(
            (
                thought,
                f"<think>{thought}<answer>{answer}</answer>",
                f"{thought},{answer}",
                f"<think>{thought}</think>{answer}",
                f"<think>{thought}</think><answer>{answer}",
            )
        )
    return f"<think>{thought}</think><answer>{answer}</answer>"
