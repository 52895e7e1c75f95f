"""Verifier `reasoning_gym`: the family's own grader scores the final answer, by its rules and with its partial credit.

`Prompt.checks` holds the family, its settings and the whole entry. A few graders read an answer as Python (`eval`, SymPy's `parse_expr`):
they see it only where it is a literal or a formula (`stages/reasoning_gym/guards.py`); anything else scores 0.
"""
from stages.prompt import Prompt
from stages.reasoning_gym import entries, families, guards
from stages.rewards.answers import extract_answer

MAX_ANSWER_CHARACTERS = 20_000


def grade(completion: str, prompt: Prompt) -> float:
    given = extract_answer(completion)
    return 0.0 if given is None else score(given, prompt.checks)


def score(answer: str, checks: str) -> float:
    """The family's score of an answer, 0..1. What its grader raises is raised."""
    held = entries.loads(checks)
    if len(answer) > MAX_ANSWER_CHARACTERS or not guards.may_be_graded(held["task"], answer, held["entry"]):
        return 0.0
    with families.isolated_random(0):
        value = families.dataset(held["task"], held["config"]).score_answer(answer, held["entry"])
    return min(1.0, max(0.0, float(value)))


def vote(completion: str, prompt: Prompt) -> str | None:
    given = extract_answer(completion)
    return None if given is None else " ".join(given.split()).casefold()


def problem(prompt: Prompt) -> str | None:
    try:
        held = entries.loads(prompt.checks)
        known = held["task"] in families.usable() and {"question", "answer", "metadata"} <= set(held["entry"]) and isinstance(held["config"], dict)
    except (ValueError, TypeError, KeyError):
        known = False
    return None if known else "its checks hold no entry of a reasoning-gym family: such prompts come from data=reasoning_gym"
