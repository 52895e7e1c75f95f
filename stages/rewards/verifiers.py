"""The verifiers: what grades the completion of a prompt that has a right answer [V2 B.3.1].

A verifier is a module with three functions of (completion, prompt) or prompt; a new one is a module, its row here and a test.

    grade(completion, prompt) -> float      1 right, 0 wrong; in between where there is partial credit
    vote(completion, prompt) -> str | None  the final answer in a form that can be counted: "the answer is 46" and "46" are one vote; None: no answer
    problem(prompt) -> str | None           why this prompt's reference cannot be used, or None; asked before any engine starts

Imports nothing heavy: `stages/config.py` takes its choices from here.
"""
import importlib
from types import ModuleType

from stages.prompt import Prompt

VERIFIERS: dict[str, str] = {
    "integer": "stages.rewards.integer",
    "math": "stages.rewards.math",
    "exact": "stages.rewards.exact",
    "judge": "stages.rewards.judge",
}


def verifier_of(prompt: Prompt) -> ModuleType:
    """The module that grades this prompt."""
    if prompt.verifier not in VERIFIERS:
        raise ValueError(f"prompt {prompt.id} asks for the verifier {prompt.verifier!r}; there are {', '.join(VERIFIERS)}")
    return importlib.import_module(VERIFIERS[prompt.verifier])


def grade(completion: str, prompt: Prompt) -> float:
    return verifier_of(prompt).grade(completion, prompt)


def vote_of(completion: str, prompt: Prompt) -> str | None:
    return verifier_of(prompt).vote(completion, prompt)


def problem_of(prompt: Prompt) -> str | None:
    return verifier_of(prompt).problem(prompt)
