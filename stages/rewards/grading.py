"""Grades completions of prompts that have a right answer, each with the verifier that its prompt names [V2 B.3.1].

A verifier is a module with three functions. To add one, write the module, its row in VERIFIERS and a test.

    grade(completion, prompt) -> float         1 for right, 0 for wrong, between them for partial credit
    vote(completion, prompt) -> str | None     the final answer in a normal form that can be counted ("the answer is 46"
                                               and "46" are the same vote); None: no answer
    reference_problem(prompt) -> str | None    why the prompt's reference cannot be used; None: it can. Called for every
                                               prompt before any engine starts

A slow verifier (worker processes, a sandbox, a judge) also has some of these. They work on a whole batch concurrently,
each item under its own deadline, and are then called instead:

    grade_many(pairs) -> list[Grade]                        pairs of (completion, prompt)
    vote_many(pairs) -> list[str | None]
    reference_problem_many(prompts) -> list[str | None]

A verifier whose equal answers can have different votes also compares them; `merge_votes` makes one of them:

    same_votes_many(votes) -> list[bool]                    pairs of votes: are they the same answer?

A verifier may also say why its verdict is what it is (`r1 grade` prints it); without it, a generic sentence is said:

    explain(completion, prompt) -> Explanation

A grader that crashes or runs out of time gives a Grade of 0 with the reason, never an exception; callers count the
reasons. A grader that can grade nothing any more (the judge's server is down, the sandbox runs no program) raises
GraderAway: zeros for everything would say nothing about the policy. This module imports nothing heavy, because the
driver reads data with its table of verifiers.
"""

import importlib
import itertools
import math
from collections import Counter
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import NamedTuple, TypeVar

from stages.prompting.prompt import Prompt
from stages.runtime.errors import Passing
from stages.text.answers import extract_answer

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
Item = TypeVar("Item")
T = TypeVar("T")


class Grade(NamedTuple):
    """The grade of a completion, 0..1; where the grader failed, 0 with the reason in one line."""

    value: float
    error: str = ""


class Explanation(NamedTuple):
    """What a verifier read out of both sides, None where it could read nothing, and why its verdict is what it is."""

    reference: str | None
    answer: str | None
    why: str


class GraderAway(Passing, RuntimeError):
    """Raised where no completion can be graded until the grader is back; the message says who was asked."""


def verifier_of(prompt: Prompt) -> ModuleType:
    """Returns the module that grades a prompt; raises ValueError for a verifier that does not exist."""
    if prompt.verifier not in VERIFIERS:
        raise ValueError(
            f"prompt {prompt.id} asks for the verifier {prompt.verifier!r}; there are {', '.join(VERIFIERS)}"
        )
    return importlib.import_module(VERIFIERS[prompt.verifier])


def grade(completion: str, prompt: Prompt) -> float:
    """Grades one completion, 0..1."""
    return grade_many([(completion, prompt)])[0].value


def vote(completion: str, prompt: Prompt) -> str | None:
    """Returns the vote of one completion, or None where it has no answer."""
    return vote_many([(completion, prompt)])[0]


def reference_problem(prompt: Prompt) -> str | None:
    """Returns why one prompt's reference cannot be used, or None where it can."""
    return reference_problem_many([prompt])[0]


def explain(completion: str, prompt: Prompt) -> Explanation:
    """Returns what the verifier reads out of both sides, and one plain sentence why it decides so.

    Raises:
        ValueError: the prompt names a verifier that does not exist.
        GraderAway: the grader can grade nothing any more.
    """
    module = verifier_of(prompt)
    try:
        if hasattr(module, "explain"):
            return module.explain(completion, prompt)
        answer = extract_answer(completion)
        if answer is None:
            return Explanation(prompt.answer, None, "The completion has no final answer.")
        verdict, name = grade(completion, prompt), prompt.verifier
        why = f"`{name}` accepts the answer." if verdict == 1 else f"`{name}` gives the answer {verdict:g} of 1."
        return Explanation(prompt.answer, answer, why)
    except GraderAway:
        raise
    except Exception as error:
        return Explanation(None, None, f"The grader failed: {_reason(module, error)}.")


def grade_many(pairs: Sequence[Pair]) -> list[Grade]:
    """Grades completions, each with its prompt's verifier.

    Args:
        pairs: (completion, prompt) of each.

    Returns:
        A Grade for each pair, in their order.

    Raises:
        ValueError: a prompt names a verifier that does not exist.
        GraderAway: a grader can grade nothing any more. No other exception is raised.
    """
    return _by_verifier(pairs, lambda pair: pair[1], _grades)


def vote_many(pairs: Sequence[Pair]) -> list[str | None]:
    """Returns the vote of each (completion, prompt), in order; a verifier that crashes gives no vote."""
    return _by_verifier(pairs, lambda pair: pair[1], _votes)


def merge_votes(groups: Sequence[tuple[Sequence[str | None], Prompt]]) -> list[list[str | None]]:
    """Makes votes equal that the grader calls the same answer, so that they can be counted.

    The more frequent vote stands for the others, of equally frequent ones the first in alphabetical order. A vote joins
    the first that it is the same as, so different answers share none, also where sameness is not transitive (50% is 50,
    and it is 0.5).

    Args:
        groups: the votes for a problem, and its prompt.

    Returns:
        The votes of each group, in their order.
    """
    return [_merged(list(votes), verifier_of(prompt)) for votes, prompt in groups]


def _merged(votes: list[str | None], module: ModuleType) -> list[str | None]:
    counts = Counter(vote for vote in votes if vote is not None)
    if len(counts) < 2 or not hasattr(module, "same_votes_many"):
        return votes
    ordered = sorted(counts, key=lambda vote: (-counts[vote], vote))
    pairs = list(itertools.combinations(ordered, 2))
    are_same = dict(zip(pairs, module.same_votes_many(pairs), strict=True))
    stands_for: dict[str, str] = {}
    for place, vote in enumerate(ordered):
        earlier = (one for one in ordered[:place] if stands_for[one] == one and are_same[one, vote])
        stands_for[vote] = next(earlier, vote)
    return [None if vote is None else stands_for[vote] for vote in votes]


def reference_problem_many(prompts: Sequence[Prompt]) -> list[str | None]:
    """Returns why each prompt's reference cannot be used, or None where it can, in order.

    A crash of the verifier is a reason too.
    """
    return _by_verifier(prompts, lambda prompt: prompt, _reference_problems)


def _by_verifier(
    items: Sequence[Item], prompt_of: Callable[[Item], Prompt], answers_of: Callable[[ModuleType, list[Item]], list[T]]
) -> list[T]:
    """Hands each verifier its items, and returns the answers in the order of the items."""
    places_of: dict[ModuleType, list[int]] = {}
    for place, item in enumerate(items):
        places_of.setdefault(verifier_of(prompt_of(item)), []).append(place)
    answers: dict[int, T] = {}
    for module, places in places_of.items():
        answers.update(zip(places, answers_of(module, [items[place] for place in places]), strict=True))
    return [answers[place] for place in range(len(items))]


def _grades(module: ModuleType, pairs: list[Pair]) -> list[Grade]:
    """Grades the pairs of one verifier; where its own batch function fails as a whole, each pair gets the reason."""
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
    """Makes a value that is not within 0..1 an error: it would spoil the advantages of its whole group."""
    if given.error:
        return Grade(0.0, given.error)
    value = float(given.value)
    if math.isfinite(value) and 0 <= value <= 1:
        return Grade(value)
    return Grade(0.0, _reason(module, f"the grade {value} is not between 0 and 1"))


def _votes(module: ModuleType, pairs: list[Pair]) -> list[str | None]:
    if hasattr(module, "vote_many"):
        try:
            return module.vote_many(pairs)
        except Exception:
            return [None] * len(pairs)
    return [_vote(module, *pair) for pair in pairs]


def _vote(module: ModuleType, completion: str, prompt: Prompt) -> str | None:
    try:
        return module.vote(completion, prompt)
    except Exception:
        return None


def _reference_problems(module: ModuleType, prompts: list[Prompt]) -> list[str | None]:
    if hasattr(module, "reference_problem_many"):
        try:
            return module.reference_problem_many(prompts)
        except Exception as error:
            return [_reason(module, error)] * len(prompts)
    return [_reference_problem(module, prompt) for prompt in prompts]


def _reference_problem(module: ModuleType, prompt: Prompt) -> str | None:
    try:
        return module.reference_problem(prompt)
    except Exception as error:
        return _reason(module, error)


def _reason(module: ModuleType, error: Exception | str) -> str:
    """Returns a failure as one line that names the verifier."""
    text = error if isinstance(error, str) else f"{type(error).__name__}: {error}"
    return f"{module.__name__.rsplit('.', 1)[-1]}: {' '.join(text.split())[:300]}"
