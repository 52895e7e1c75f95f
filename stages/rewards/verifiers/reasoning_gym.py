"""Verifier `reasoning_gym`: the family's own grader scores the final answer, by its rules and with its partial credit,
in worker processes with hard limits. `Prompt.checks` holds the family, its settings and the whole entry.
"""

from collections.abc import Sequence

from stages.prompting.prompt import Prompt
from stages.rewards.grading import Grade, Pair
from stages.rewards.pool import WorkerPool, workers_of_this_rank
from stages.text.answers import extract_answer
from stages.worlds.reasoning_gym import entries, families

CPU_S, WALL_S, MEMORY_MIB = 5.0, 60.0, 2048
_POOL = WorkerPool(
    "stages.rewards.verifiers.reasoning_gym_worker", workers_of_this_rank(), CPU_S, WALL_S, MEMORY_MIB
)  # starts nothing yet


def grade(completion: str, prompt: Prompt) -> float:
    return grade_many([(completion, prompt)])[0].value


def grade_many(pairs: Sequence[Pair]) -> list[Grade]:
    """Each different answer to a prompt is scored once."""
    tasks = [
        None if (given := extract_answer(completion)) is None else ("score", given, prompt.checks)
        for completion, prompt in pairs
    ]
    asked = list(dict.fromkeys(task for task in tasks if task))
    outcomes = dict(zip(asked, _POOL.run(asked)))
    return [Grade(outcomes[task].value or 0.0, outcomes[task].error) if task else Grade(0.0) for task in tasks]


def vote(completion: str, prompt: Prompt) -> str | None:
    given = extract_answer(completion)
    return None if given is None else " ".join(given.split()).casefold()


def problem(prompt: Prompt) -> str | None:
    try:
        held = entries.loads(prompt.checks)
        known = (
            held["task"] in families.usable()
            and {"question", "answer", "metadata"} <= set(held["entry"])
            and isinstance(held["config"], dict)
        )
    except (ValueError, TypeError, KeyError):
        known = False
    return (
        None
        if known
        else "its checks hold no entry of a reasoning-gym family: such prompts come from data=reasoning_gym"
    )
