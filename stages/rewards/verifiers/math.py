"""Verifier `math`: the final answer is equivalent to the reference by Math-Verify, in worker processes with hard
limits.

`checks` of a prompt may hold {"tolerance": 0.01}: a number within 1% of the reference is right. Where the reference is
the letter of an option, `choice` decides. A check that runs out of time or memory is a Grade of 0 with the reason, and
is not tried again by this process.
"""

import json
import re
from collections.abc import Sequence

from stages.prompting.prompt import Prompt
from stages.rewards.grading import Grade, Pair
from stages.rewards.pool import Outcome, WorkerPool, workers_of_this_rank
from stages.rewards.verifiers import choice
from stages.text.answers import extract_answers

VERSION = "math-verify-0.9.0/1"  # raise it when the same answer may get another grade
MAX_CHARACTERS = 500  # of an answer or a reference
CPU_S, WALL_S, MEMORY_MIB = 3.0, 60.0, 1024
_INTEGER = re.compile(r"-?\d{1,15}")
_MAX_REMEMBERED = 100_000
_POOL = WorkerPool(
    "stages.rewards.verifiers.math_worker", workers_of_this_rank(), CPU_S, WALL_S, MEMORY_MIB
)  # starts nothing yet
_memo: dict[tuple, Outcome] = {}


def grade(completion: str, prompt: Prompt) -> float:
    return grade_many([(completion, prompt)])[0].value


def grade_many(pairs: Sequence[Pair]) -> list[Grade]:
    given = [extract_answers(completion) for completion, _ in pairs]
    outcomes = _ask([_task(answer, prompt) for answer, (_, prompt) in zip(given, pairs)])
    return [Grade(float(bool(outcome.value)), outcome.error) for outcome in outcomes]


def vote(completion: str, prompt: Prompt) -> str | None:
    return vote_many([(completion, prompt)])[0]


def vote_many(pairs: Sequence[Pair]) -> list[str | None]:
    given = [extract_answers(completion) for completion, _ in pairs]
    return [
        outcome.value
        for outcome in _ask(
            [("canonical", answer) if answer and len(answer) <= MAX_CHARACTERS else Outcome() for answer in given]
        )
    ]


def problem(prompt: Prompt) -> str | None:
    return problem_many([prompt])[0]


def problem_many(prompts: Sequence[Prompt]) -> list[str | None]:
    outcomes = _ask(
        [
            _tolerance_problem(prompt)
            or (Outcome() if _INTEGER.fullmatch(prompt.answer) else ("problem", prompt.answer))
            for prompt in prompts
        ]
    )
    return [
        f"{prompt.answer[:60]!r} cannot be read: {outcome.error}" if outcome.error else outcome.value
        for prompt, outcome in zip(prompts, outcomes)
    ]


def _tolerance_problem(prompt: Prompt) -> Outcome | None:
    try:
        float(json.loads(prompt.checks or "{}").get("tolerance", 0.0))
    except (ValueError, TypeError, AttributeError):
        return Outcome(f'checks {prompt.checks[:60]!r} are not {{"tolerance": NUMBER}}')
    return None


def _task(answer: str | None, prompt: Prompt) -> tuple | Outcome:
    """What to ask a worker, or the outcome where that is not needed."""
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


def _ask(tasks: Sequence[tuple | Outcome]) -> list[Outcome]:
    """The outcomes of tasks: known, remembered, or from the workers, which get each different one once."""
    outcomes = {task: _memo.get((VERSION, task)) for task in tasks if not isinstance(task, Outcome)}
    missing = [task for task, outcome in outcomes.items() if outcome is None]
    if missing:
        outcomes.update(zip(missing, _POOL.run(missing)))
        if len(_memo) > _MAX_REMEMBERED:
            _memo.clear()
        _memo.update({(VERSION, task): outcomes[task] for task in missing if outcomes[task].is_final})
    return [task if isinstance(task, Outcome) else outcomes[task] for task in tasks]
