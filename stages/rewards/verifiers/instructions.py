"""Verifier `instructions`: the completion must follow every instruction that a program can check.

The instructions are the 25 of IFEval (`instruction_checks.py`). `checks` is a list of {"id": "keywords:existence",
"keywords": [...]}, with ids and arguments as IFEval names them. They are checked strictly, on the completion as it is.
"""

import json
import re

from stages.prompting.prompt import Prompt
from stages.rewards.grading import Explanation
from stages.rewards.verifiers.instruction_checks import CHECKS
from stages.text.completion import summary_of


def grade(completion: str, prompt: Prompt) -> float:
    """Returns 1 where the completion follows all instructions, else 0."""
    text, checks = _without_tags(completion), json.loads(prompt.checks)
    return float(bool(text) and bool(checks) and all(follows(text, check) for check in checks))


def vote(completion: str, prompt: Prompt) -> str | None:
    """Returns None: free texts are not counted against each other."""
    return None


def reference_problem(prompt: Prompt) -> str | None:
    """Returns why the instructions cannot be checked: unknown ones, wrong arguments, or none at all."""
    try:
        checks = json.loads(prompt.checks)
        unknown = [check["id"] for check in checks if check["id"] not in CHECKS]
        if unknown:
            return f"instruction {unknown[0]!r} is not known here"
        for check in checks:
            follows("A text.", check)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        return f"its checks are not a list of IFEval's instructions with their arguments: {error!r}"
    return None if checks else "it has no instructions to check"


def explain(completion: str, prompt: Prompt) -> Explanation:
    """Says which instructions there are, and which the text does not follow."""
    if problem := reference_problem(prompt):
        return Explanation(None, None, f"The instructions cannot be used: {problem}.")
    text, checks = _without_tags(completion), json.loads(prompt.checks)
    names = ", ".join(check["id"] for check in checks)
    if not text:
        return Explanation(names, None, "The completion has no text after its thought.")
    missed = [check["id"] for check in checks if not follows(text, check)]
    why = f"The text does not follow {', '.join(missed)}." if missed else "The text follows every instruction."
    return Explanation(names, text, why)


def follows(text: str, check: dict) -> bool:
    """Returns whether a text follows one instruction; raises KeyError or ValueError for wrong arguments."""
    return CHECKS[check["id"]](text, {key: value for key, value in check.items() if key != "id"})


def _without_tags(completion: str) -> str:
    return re.sub(r"</?answer>", "", summary_of(completion)).strip()
