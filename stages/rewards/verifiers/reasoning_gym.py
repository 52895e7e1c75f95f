"""Verifier `reasoning_gym`: the problem family's own grader scores the final answer, with its partial credit.

The graders run in worker processes with hard limits (`reasoning_gym_worker.py`). `Prompt.checks` holds the family, its
settings and the whole entry.
"""

from collections.abc import Sequence

from stages.prompting.prompt import Prompt
from stages.rewards.grading import Explanation, Grade, Pair
from stages.rewards.pool import WorkerPool, workers_of_this_rank
from stages.text.answers import extract_answers
from stages.worlds.reasoning_gym import entries, families

CPU_S, WALL_S, MEMORY_MIB = 5.0, 60.0, 2048  # limits of one check
# Making the pool starts no process; the first task does.
_POOL = WorkerPool("stages.rewards.verifiers.reasoning_gym_worker", workers_of_this_rank(), CPU_S, WALL_S, MEMORY_MIB)


def grade(completion: str, prompt: Prompt) -> float:
    """Returns the family's score of the final answer, 0..1."""
    return grade_many([(completion, prompt)])[0].value


def grade_many(pairs: Sequence[Pair]) -> list[Grade]:
    """Scores a batch concurrently; equal answers to one prompt are scored once."""
    tasks: list[tuple | None] = []
    for completion, prompt in pairs:
        given = extract_answers(completion)
        tasks.append(None if given is None else ("score", given, prompt.checks))
    asked = list(dict.fromkeys(task for task in tasks if task))
    outcomes = dict(zip(asked, _POOL.run(asked)))
    return [Grade(outcomes[task].value or 0.0, outcomes[task].error) if task else Grade(0.0) for task in tasks]


def vote(completion: str, prompt: Prompt) -> str | None:
    """Returns the text of the final answer in lower case with single spaces."""
    given = extract_answers(completion)
    return None if given is None else " ".join(given.split()).casefold()


def reference_problem(prompt: Prompt) -> str | None:
    """Returns why the prompt cannot be graded: its checks hold no entry of a family."""
    try:
        held = entries.loads(prompt.checks)
        is_entry = (
            held["task"] in families.usable()
            and {"question", "answer", "metadata"} <= set(held["entry"])
            and isinstance(held["config"], dict)
        )
    except (ValueError, TypeError, KeyError):
        is_entry = False
    if is_entry:
        return None
    return "its checks hold no entry of a reasoning-gym family: such prompts come from data=reasoning_gym"


def explain(completion: str, prompt: Prompt) -> Explanation:
    """Says what the family's own grader was given, and its score."""
    if problem := reference_problem(prompt):
        return Explanation(None, None, f"The prompt cannot be graded: {problem}.")
    held, answer = entries.loads(prompt.checks), extract_answers(completion)
    expected = held["entry"]["answer"]
    reference = None if expected is None else str(expected)
    if answer is None:
        return Explanation(reference, None, "The completion has no final answer.")
    (given,) = grade_many([(completion, prompt)])
    why = f"The grader of {held['task']} gives it {given.value:g} of 1."
    return Explanation(reference, answer, f"The answer was not graded: {given.error}." if given.error else why)
