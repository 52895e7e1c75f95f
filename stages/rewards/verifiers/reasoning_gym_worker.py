"""Grading by reasoning-gym's own graders. Runs in the worker processes of `stages/rewards/pool.py`: an answer like
1e999999999 hangs some.

A few graders read an answer as Python (`eval`, SymPy's `parse_expr`): they see it only where it is a literal or a
formula (`stages/worlds/reasoning_gym/guards.py`); anything else scores 0.
"""

from stages.worlds.reasoning_gym import entries, families, guards

MAX_ANSWER_CHARACTERS = 20_000


def warm_up() -> None:
    """Imports the library, for every worker."""
    families.usable()


def score(answer: str, checks: str) -> float:
    """The family's score of an answer, 0..1; a grader that cannot read the answer and raises gives 0. `checks`: family,
    settings and entry.
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
