"""Verifier `math`: the final answer must be mathematically equivalent to the reference.

The comparison runs in worker processes with hard limits (`math_worker.py`), because any text may make sympy
hang. A prompt's `checks` may hold {"tolerance": 0.01}: then a number within 1% of the reference is right. Where the
reference is the letter of an option, `choice` decides. A check that runs out of time or memory is a Grade of 0 with the
reason, and this process does not try it again.
"""

import json
import re
from collections.abc import Sequence
from functools import lru_cache

from stages.prompting.prompt import Prompt
from stages.rewards.grading import Explanation, Grade, Pair
from stages.rewards.pool import Outcome, WorkerPool, workers_of_this_rank
from stages.rewards.verifiers import choice
from stages.text.answers import boxed_answers, extract_answers
from stages.text.statements import final_statement

VERSION = "math-verify-0.9.0/2"  # change it when the same answer may get another grade
MAX_CHARACTERS = 500  # of an answer or a reference that is compared
CPU_S, WALL_S, MEMORY_MIB = 3.0, 60.0, 1024  # limits of one check
_INTEGER = re.compile(r"-?\d{1,15}")
_FRACTION = re.compile(r"-?\d{1,15}(?:/\d{1,5})?")  # a longer denominator may be that of a rounded decimal
# The letter of an option, perhaps dressed or with its text: "(C)", "the answer is C", "C. 12". No formula.
_NAMES_OPTION = re.compile(
    r"^(?:[\s$*\"'(\[{]|\\(?:text|textbf|mathrm|mathbf|boxed|bf|rm)\b|(?:the|final|correct|answer|option|choice|is)\b|:|选)*"
    r"[A-J](?:[\s)\]}.:,$*\"']*$|[)\].:]+\s+\S)",
    re.IGNORECASE,
)
_DECIMAL_COMMA = re.compile(r"^(-?0),(\d{3,})$")  # 0,125 is no list
_MAX_REMEMBERED = 100_000
# Making the pool starts no process; the first task does.
_POOL = WorkerPool("stages.rewards.verifiers.math_worker", workers_of_this_rank(), CPU_S, WALL_S, MEMORY_MIB)
_remembered: dict[tuple, Outcome] = {}  # (VERSION, task) -> its outcome


def grade(completion: str, prompt: Prompt) -> float:
    """Returns 1 where the final answer is equivalent to the reference, else 0."""
    return grade_many([(completion, prompt)])[0].value


def grade_many(pairs: Sequence[Pair]) -> list[Grade]:
    """Grades a batch concurrently; equal comparisons are made once."""
    tasks = [_comparison(answer_of(completion), prompt) for completion, prompt in pairs]
    return [Grade(float(bool(outcome.value)), outcome.error) for outcome in _outcomes(tasks)]


def explain(completion: str, prompt: Prompt) -> Explanation:
    """Says what was read out of both sides, and why the verdict is what it is."""
    answer, reference = answer_of(completion), reference_of(prompt)
    if answer is None:
        return Explanation(reference, None, "The completion has no final answer.")
    (grade,) = grade_many([(completion, prompt)])
    if _is_option(reference):
        expected, given = choice.letters_of(reference, prompt), choice.letters_of(answer, prompt)
        why = f"The reference is the letter of an option; the answer names {given or 'none'}."
        return Explanation(expected, given, why)
    if len(answer) > MAX_CHARACTERS:
        return Explanation(reference, None, f"The answer has more than {MAX_CHARACTERS} characters.")
    (outcome,) = _outcomes([("explain", answer, reference, _tolerance(prompt))])
    if outcome.error:
        return Explanation(reference, answer, f"The comparison failed: {outcome.error}.")
    is_right, expected, given, why = outcome.value
    return Explanation(expected, given, why if is_right == bool(grade.value) else "Both are the same text.")


def vote(completion: str, prompt: Prompt) -> str | None:
    """Returns the final answer in normal form: 1/2, 0.5 and \\frac{1}{2} are one vote."""
    return vote_many([(completion, prompt)])[0]


def vote_many(pairs: Sequence[Pair]) -> list[str | None]:
    """Returns the final answers of a batch in normal form; those that are right vote as their reference does."""
    tasks: list[tuple | Outcome] = []
    for completion, prompt in pairs:
        answer, reference = answer_of(completion), reference_of(prompt)
        if answer is None or not answer.strip() or len(answer) > MAX_CHARACTERS:
            tasks.append(Outcome())
        elif _is_option(reference):
            tasks.append(Outcome(choice.letters_of(answer, prompt)))
        else:
            tasks.append(("vote", answer, reference))
    return [outcome.value for outcome in _outcomes(tasks)]


def same_votes_many(votes: Sequence[tuple[str, str]]) -> list[bool]:
    """Returns for each two votes whether they are the same answer; fractions of whole numbers need no worker."""
    tasks: list[tuple | Outcome] = []
    for one, other in votes:
        is_plain = _FRACTION.fullmatch(one) and _FRACTION.fullmatch(other)
        tasks.append(Outcome(one == other) if is_plain else ("is_equivalent", one, other, 0.0))
    return [bool(outcome.value) for outcome in _outcomes(tasks)]


def reference_problem(prompt: Prompt) -> str | None:
    """Returns why the reference cannot be used, as `reference_problem_many` does for several."""
    return reference_problem_many([prompt])[0]


def reference_problem_many(prompts: Sequence[Prompt]) -> list[str | None]:
    """Returns for each prompt why its reference cannot be used: not readable, or malformed `checks`."""
    outcomes = _outcomes([_reference_task(prompt) for prompt in prompts])
    return [
        f"{prompt.answer[:60]!r} cannot be read: {outcome.error}" if outcome.error else outcome.value
        for prompt, outcome in zip(prompts, outcomes)
    ]


def answer_of(completion: str) -> str | None:
    """Returns the final answer of a completion: of a whole solution between its tags, what it says last."""
    answer = extract_answers(completion)
    return answer if answer is None or _INTEGER.fullmatch(answer) else final_statement(answer)


@lru_cache(maxsize=4096)
def _statement_of_reference(reference: str) -> str:
    statement = final_statement(boxed_answers(reference) or reference)
    return _DECIMAL_COMMA.sub(r"\1.\2", statement)


def reference_of(prompt: Prompt) -> str:
    """Returns the reference; of one that is a whole solution, its boxes, or what it says last."""
    return _statement_of_reference(prompt.answer)


def _is_option(reference: str) -> bool:
    """Returns whether the reference is the letter of an option; A' is a variable."""
    return "'" not in reference and choice.is_letter(reference)


def _tolerance(prompt: Prompt) -> float:
    return float(json.loads(prompt.checks or "{}").get("tolerance", 0.0))


def _reference_task(prompt: Prompt) -> tuple | Outcome:
    """Returns the task that reads a reference, or its outcome where no worker is needed; its value is the problem."""
    try:
        _tolerance(prompt)
    except (ValueError, TypeError, AttributeError):
        return Outcome(f'checks {prompt.checks[:60]!r} are not {{"tolerance": NUMBER}}')
    reference = reference_of(prompt)
    return Outcome() if _INTEGER.fullmatch(reference) else ("reference_problem", reference)


def _comparison(answer: str | None, prompt: Prompt) -> tuple | Outcome:
    """Returns the task that compares an answer with the reference, or its outcome where no worker is needed."""
    if answer is None:
        return Outcome(False)
    answer, reference = answer.strip(), reference_of(prompt)
    if answer and answer == reference:
        return Outcome(True)
    if not answer or len(answer) > MAX_CHARACTERS:
        return Outcome(False)
    if _is_option(reference):
        is_same = choice.letters_of(answer, prompt) == choice.letters_of(reference, prompt)
        is_bare_lower = len(answer.strip("$ ")) == 1 and answer.strip("$ ").islower()  # a variable
        return Outcome(is_same and _NAMES_OPTION.search(answer) is not None and not is_bare_lower)
    if _INTEGER.fullmatch(answer) and _INTEGER.fullmatch(reference) and not prompt.checks:
        return Outcome(int(answer) == int(reference))
    return "is_equivalent", answer, reference, _tolerance(prompt)


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
