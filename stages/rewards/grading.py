"""The verifiers: what grades the completion of a prompt that has a right answer [V2 B.3.1].

A verifier is a module with three functions of (completion, prompt) or prompt; a new one is a module, its row here and a
test.

    grade(completion, prompt) -> float      1 right, 0 wrong; in between where there is partial credit
    vote(completion, prompt) -> str | None  the final answer in a form that can be counted: "the answer is 46" and "46"
                                            are one vote; None: no answer
    problem(prompt) -> str | None           why this prompt's reference cannot be used, or None; asked before any engine
                                            starts

A slow verifier (worker processes, a sandbox, a judge) also has one of these, which work on all at once, each under a
deadline of its own:

    grade_many(pairs) -> list[Grade]        pairs of (completion, prompt), graded concurrently
    vote_many(pairs) -> list[str | None]
    problem_many(prompts) -> list[str | None]

A grader that crashes or runs out of time gives a Grade of 0 with the reason, never an exception: callers count the
reasons. One that has gone away altogether (a judge whose server is down, a sandbox that runs nothing) raises
GraderAway: zeros for whatever comes would say nothing of the policy. Imports nothing heavy: `stages/config/` takes its
choices from here.
"""

import importlib
import math
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import NamedTuple

from stages.prompting.prompt import Prompt

VERIFIERS: dict[str, str] = {
    "integer": "stages.rewards.verifiers.integer",
    "math": "stages.rewards.verifiers.math",
    "choice": "stages.rewards.verifiers.choice",
    "exact": "stages.rewards.verifiers.exact",
    "instructions": "stages.rewards.verifiers.instructions",
    "code": "stages.rewards.verifiers.code",
    "judge": "stages.rewards.verifiers.judge",
    "reasoning_gym": "stages.rewards.verifiers.reasoning_gym",
}

Pair = tuple[str, Prompt]  # a completion and its prompt


class Grade(NamedTuple):
    value: float  # 0..1
    error: str = ""  # why the grader could not say, in one line; the value is then 0


class GraderAway(RuntimeError):
    """No completion can be graded until someone brings the grader back; the message says who was asked and what came
    back.
    """


def verifier_of(prompt: Prompt) -> ModuleType:
    """The module that grades this prompt."""
    if prompt.verifier not in VERIFIERS:
        raise ValueError(
            f"prompt {prompt.id} asks for the verifier {prompt.verifier!r}; there are {', '.join(VERIFIERS)}"
        )
    return importlib.import_module(VERIFIERS[prompt.verifier])


def grade(completion: str, prompt: Prompt) -> float:
    return grade_many([(completion, prompt)])[0].value


def vote_of(completion: str, prompt: Prompt) -> str | None:
    return vote_many([(completion, prompt)])[0]


def problem_of(prompt: Prompt) -> str | None:
    return problem_many([prompt])[0]


def grade_many(pairs: Sequence[Pair]) -> list[Grade]:
    """A grade for each (completion, prompt), in order. Raises ValueError for a verifier that does not exist,
    GraderAway, and nothing else.
    """
    return _by_verifier(pairs, lambda pair: pair[1], _grades)


def vote_many(pairs: Sequence[Pair]) -> list[str | None]:
    """The vote of each (completion, prompt), in order; a crash of the verifier is no vote."""
    return _by_verifier(pairs, lambda pair: pair[1], _votes)


def problem_many(prompts: Sequence[Prompt]) -> list[str | None]:
    """Why each prompt's reference cannot be used, or None, in order; a crash of the verifier is a reason too."""
    return _by_verifier(prompts, lambda prompt: prompt, _problems)


def _by_verifier(items: Sequence, prompt_of: Callable, answers_of: Callable[[ModuleType, list], list]) -> list:
    """Hands each module its items and puts the answers in the order of `items`."""
    places: dict[ModuleType, list[int]] = {}
    for place, item in enumerate(items):
        places.setdefault(verifier_of(prompt_of(item)), []).append(place)
    answers = [None] * len(items)
    for module, mine in places.items():
        for place, answer in zip(mine, answers_of(module, [items[place] for place in mine]), strict=True):
            answers[place] = answer
    return answers


def _grades(module: ModuleType, pairs: list[Pair]) -> list[Grade]:
    if hasattr(module, "grade_many"):
        try:
            return [_checked(module, item) for _, item in zip(pairs, module.grade_many(pairs), strict=True)]
        except GraderAway:
            raise
        except Exception as error:
            return [Grade(0.0, _reason(module, error))] * len(pairs)
    return [_grade(module, *pair) for pair in pairs]


def _grade(module: ModuleType, completion: str, prompt: Prompt) -> Grade:
    try:
        return _checked(module, Grade(module.grade(completion, prompt)))
    except Exception as error:
        return Grade(0.0, _reason(module, error))


def _checked(module: ModuleType, given: Grade) -> Grade:
    """A value outside of 0..1 (or not a number) would poison the group's advantages."""
    if given.error:
        return Grade(0.0, given.error)
    value = float(given.value)
    return (
        Grade(value)
        if math.isfinite(value) and 0 <= value <= 1
        else Grade(0.0, _reason(module, f"the grade {value} is not between 0 and 1"))
    )


def _votes(module: ModuleType, pairs: list[Pair]) -> list[str | None]:
    if hasattr(module, "vote_many"):
        return _or(lambda: module.vote_many(pairs), lambda error: [None] * len(pairs))
    return [_or(lambda: module.vote(*pair), lambda error: None) for pair in pairs]


def _problems(module: ModuleType, prompts: list[Prompt]) -> list[str | None]:
    if hasattr(module, "problem_many"):
        return _or(lambda: module.problem_many(prompts), lambda error: [_reason(module, error)] * len(prompts))
    return [_or(lambda: module.problem(prompt), lambda error: _reason(module, error)) for prompt in prompts]


def _or(answer: Callable, otherwise: Callable):
    """An answer, or what is to be said of its exception."""
    try:
        return answer()
    except Exception as error:
        return otherwise(error)


def _reason(module: ModuleType, error: Exception | str) -> str:
    text = error if isinstance(error, str) else f"{type(error).__name__}: {error}"
    return f"{module.__name__.rsplit('.', 1)[-1]}: {' '.join(text.split())[:300]}"
