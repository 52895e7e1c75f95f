"""Verifier `math`: the final answer must be equivalent to the reference according to Math-Verify.

The comparison runs in worker processes with hard limits (`math_worker.py`). A prompt's `checks` may hold
{"tolerance": 0.01}: then a number within 1% of the reference is right. Where the reference is the letter of an option,
`choice` decides. A check that runs out of time or memory is a Grade of 0 with the reason, and this process does not try
it again.
"""

import json
import re
from collections.abc import Sequence

from stages.prompting.prompt import Prompt
from stages.rewards.grading import Explanation, Grade, Pair
from stages.rewards.pool import Outcome, WorkerPool, workers_of_this_rank
from stages.rewards.verifiers import choice
from stages.text.answers import extract_answers

VERSION = "math-verify-0.9.0/1"  # change it when the same answer may get another grade
MAX_CHARACTERS = 500  # of an answer or a reference that is compared
CPU_S, WALL_S, MEMORY_MIB = 3.0, 60.0, 1024  # limits of one check
_INTEGER = re.compile(r"-?\d{1,15}")
_MAX_REMEMBERED = 100_000
# Making the pool starts no process; the first task does.
_POOL = WorkerPool("stages.rewards.verifiers.math_worker", workers_of_this_rank(), CPU_S, WALL_S, MEMORY_MIB)
_remembered: dict[tuple, Outcome] = {}  # (VERSION, task) -> its outcome


def grade(completion: str, prompt: Prompt) -> float:
    """Returns 1 where the final answer is equivalent to the reference, else 0."""
    return grade_many([(completion, prompt)])[0].value


def grade_many(pairs: Sequence[Pair]) -> list[Grade]:
    """Grades a batch concurrently; equal comparisons are made once."""
    tasks = [_comparison(extract_answers(completion), prompt) for completion, prompt in pairs]
    return [Grade(float(bool(outcome.value)), outcome.error) for outcome in _outcomes(tasks)]


def explain(completion: str, prompt: Prompt) -> Explanation:
    """Says what was read out of both sides, and why the verdict is what it is."""
    answer, grade = extract_answers(completion), grade_many([(completion, prompt)])[0]
    given = vote(completion, prompt)
    if answer is None:
        why = "The completion has no final answer."
    elif grade.error:
        why = f"The comparison failed: {grade.error}."
    elif grade.value:
        why = "The answer is equivalent to the reference."
    else:
        why = "The answer is not equivalent to the reference." if given else "The answer cannot be read as mathematics."
    return Explanation(prompt.answer, given, why)


def vote(completion: str, prompt: Prompt) -> str | None:
    """Returns the final answer in canonical form: 1/2, 0.5 and \\frac{1}{2} are one vote."""
    return vote_many([(completion, prompt)])[0]


def vote_many(pairs: Sequence[Pair]) -> list[str | None]:
    """Returns the canonical final answers of a batch, read concurrently."""
    tasks: list[tuple | Outcome] = []
    for completion, _ in pairs:
        answer = extract_answers(completion)
        is_readable = answer and len(answer) <= MAX_CHARACTERS
        tasks.append(("canonical", answer) if is_readable else Outcome())
    return [outcome.value for outcome in _outcomes(tasks)]


def reference_problem(prompt: Prompt) -> str | None:
    """Returns why the reference cannot be used, as `reference_problem_many` does for several."""
    return reference_problem_many([prompt])[0]


def reference_problem_many(prompts: Sequence[Prompt]) -> list[str | None]:
    """Returns for each prompt why its reference cannot be used: unreadable to Math-Verify, or malformed `checks`."""
    outcomes = _outcomes([_reference_task(prompt) for prompt in prompts])
    return [
        f"{prompt.answer[:60]!r} cannot be read: {outcome.error}" if outcome.error else outcome.value
        for prompt, outcome in zip(prompts, outcomes)
    ]


def _reference_task(prompt: Prompt) -> tuple | Outcome:
    """Returns the task that reads a reference, or its outcome where no worker is needed; its value is the problem."""
    try:
        float(json.loads(prompt.checks or "{}").get("tolerance", 0.0))
    except (ValueError, TypeError, AttributeError):
        return Outcome(f'checks {prompt.checks[:60]!r} are not {{"tolerance": NUMBER}}')
    return Outcome() if _INTEGER.fullmatch(prompt.answer) else ("reference_problem", prompt.answer)


def _comparison(answer: str | None, prompt: Prompt) -> tuple | Outcome:
    """Returns the task that compares an answer with the reference, or its outcome where no worker is needed."""
    if answer is None:
        return Outcome(False)
    if answer.strip() == prompt.answer:
        return Outcome(True)
    if len(answer) > MAX_CHARACTERS:
        return Outcome(False)
    if choice.is_letter(prompt.answer):
        return Outcome(choice.letters_of(answer, prompt) == choice.letters_of(prompt.answer, prompt))
    if _INTEGER.fullmatch(answer.strip()) and _INTEGER.fullmatch(prompt.answer) and not prompt.checks:
        return Outcome(int(answer) == int(prompt.answer))
    return "is_equivalent", answer, prompt.answer, json.loads(prompt.checks or "{}").get("tolerance", 0.0)


def _outcomes(tasks: Sequence[tuple | Outcome]) -> list[Outcome]:
    """Returns the outcome of each task: known already, remembered, or from the workers, which get each task once."""
    outcomes: dict[tuple, Outcome] = {}
    missing: dict[tuple, None] = {}  # in order, without repeats
    for task in tasks:
        if isinstance(task, Outcome):
            continue
        if (VERSION, task) in _remembered:
            outcomes[task] = _remembered[(VERSION, task)]
        else:
            missing[task] = None
    if missing:
        found = dict(zip(missing, _POOL.run(list(missing))))
        outcomes |= found
        if len(_remembered) > _MAX_REMEMBERED:
            _remembered.clear()
        _remembered.update({(VERSION, task): outcome for task, outcome in found.items() if outcome.is_final})
    return [task if isinstance(task, Outcome) else outcomes[task] for task in tasks]
