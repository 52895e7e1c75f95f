"""Grades answers with reasoning-gym's own graders.

It runs in the worker processes of `stages/rewards/pool.py`, because some graders hang on an answer like 1e999999999. A
few graders evaluate an answer as Python code (`eval`, SymPy's `parse_expr`); they get it only where it is a literal or
a formula (`stages/worlds/reasoning_gym/guards.py`), and any other answer scores 0.
"""

from stages.worlds.reasoning_gym import entries, families, guards

MAX_ANSWER_CHARACTERS = 20_000


def warm_up() -> None:
    """Imports the library before the workers are forked."""
    families.usable()


def score(answer: str, checks: str) -> float:
    """Scores an answer with its family's grader.

    Args:
        answer: the final answer.
        checks: the family, its settings and the entry, as `entries.dumps` writes them.

    Returns:
        The family's score, 0..1; 0 where the grader raises because it cannot read the answer.
    """
    held = entries.loads(checks)
    if len(answer) > MAX_ANSWER_CHARACTERS or not guards.may_be_graded(held["task"], answer, held["entry"]):
        return 0.0
    grader = families.dataset(held["task"], held["config"])
    try:
        with families.isolated_random(0):
            value = float(grader.score_answer(answer, held["entry"]))
    except (
        ValueError,
        TypeError,
        KeyError,
        IndexError,
        AttributeError,
        ArithmeticError,
        AssertionError,
        RecursionError,
    ):
        return 0.0
    return min(1.0, max(0.0, value))
