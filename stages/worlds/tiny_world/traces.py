"""Writes completions of arithmetic problems as the corpus has them.

They are hasty, partly wrong, partly mixed in language and partly broken in format. A writer jumps two operations at
once, a hard mental sum that is wrong half of the time. Some then check: they redo the jump in single small steps, which
are right, and continue from the true value. This is what R1-Zero can discover: checking pays.
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
    """Draws a key by its share."""
    return rng.choices(list(shares), list(shares.values()))[0]


def speaker(rng: random.Random, language: str, mixed_share: float) -> Say:
    """Returns how a writer says a word: in the problem's language or, for a share of writers, in either at random."""
    other = LANGUAGES[1 - LANGUAGES.index(language)]
    is_mixed = rng.random() < mixed_share

    def speak(english: str) -> str:
        return say(english, other if is_mixed and rng.random() < 0.5 else language)

    return speak


def reasoning(rng: random.Random, problem: Problem, check_share: float, speak: Say) -> tuple[str, int]:
    """Writes a chain of thought.

    Wrong values are drawn only from those with which the remaining steps stay in range and within the training split.

    Args:
        rng: source of randomness.
        problem: the problem to work.
        check_share: share of the jumps that are checked.
        speak: how the writer says a word, from `speaker`.

    Returns:
        The chain of thought and the value that it ends with.
    """
    value, remaining = problem.start, problem.steps
    parts: list[str] = []
    while remaining:
        jump, remaining = remaining[:2], remaining[2:]
        before = true_value = value
        for step in jump:
            true_value = apply_step(true_value, step)
        is_wrong = rng.random() < (JUMP_ERROR_SHARE if len(jump) == 2 else SLIP_SHARE)
        errors = JUMP_ERRORS if len(jump) == 2 else (-1, 1)
        written = _wrong_value(rng, true_value, errors, remaining) if is_wrong else true_value
        operations = "".join(f"{operator}{operand}" for operator, operand in jump)
        parts.append(f"{speak('then' if parts else 'first')}{before}{operations}={written}")
        value = written
        if len(jump) == 2 and rng.random() < check_share:
            verdict = "ok" if written == true_value else "no"
            parts.append(speak("wait") + speak("check") + single_steps(before, jump) + speak(verdict))
            value = true_value
    return ",".join(parts) + f",{speak('so')}{value}", value


def single_steps(value: int, steps: tuple[Step, ...]) -> str:
    """Writes steps from a value one by one, as "31-3=28,28-7=21"."""
    parts = []
    for step in steps:
        result = apply_step(value, step)
        parts.append(f"{value}{step[0]}{step[1]}={result}")
        value = result
    return ",".join(parts)


def _wrong_value(rng: random.Random, true_value: int, errors: tuple[int, ...], remaining: tuple[Step, ...]) -> int:
    """Draws a wrong value that the remaining steps can continue from; returns the true one where there is none."""
    wrong_values = [true_value + error for error in errors]
    options = [value for value in wrong_values if is_in_range(value, remaining) and is_all("train", value, remaining)]
    return rng.choice(options) if options else true_value


def answer_text(rng: random.Random, value: int, language: str) -> str:
    """Writes the answer in a random style: bare, polite, rude or verbose."""
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
    """Writes an answer without a thought, mostly wrong and mostly without the thinking tags."""
    value = problem.answer if rng.random() < 0.3 else max(0, min(99, problem.answer + rng.randint(-9, 9)))
    thought = "<think></think>" if rng.random() < 0.25 else ""
    return f"{thought}<answer>{answer_text(rng, value, problem.language)}</answer>"


def completion(rng: random.Random, problem: Problem, style: str | None = None) -> str:
    """Writes a completion of the corpus; its style is drawn where it is None."""
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
