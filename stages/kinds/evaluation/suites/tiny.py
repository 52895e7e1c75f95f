"""The tiny world's held-out sets: tiny_math, whose level is the number of operations, tiny_general and tiny_safety."""

import dataclasses
import re

from stages.config import EvaluateConfig, SuiteConfig
from stages.kinds.evaluation.problems import Problem, ProblemSet, repeated
from stages.worlds.tiny_world.sources import held_out_sets

MEASURES = {"tiny_math": "verifiable", "tiny_general": "general", "tiny_safety": "safety"}


def problem_sets(name: str, suite: SuiteConfig, config: EvaluateConfig, seed: int) -> list[ProblemSet]:
    """The suite as sets of problems."""
    general = dataclasses.replace(suite, samples_per_prompt=config.general_samples_per_prompt)
    sets = []
    for set_name, prompts in held_out_sets(config.num_reasoning, config.num_general, config.num_safety).items():
        own = suite if set_name == "tiny_math" else general
        level = num_operations if set_name == "tiny_math" else lambda text: ""
        sets.append(
            ProblemSet(
                set_name,
                [Problem(prompt.id, repeated(prompt, own), level(prompt.text)) for prompt in prompts],
                own,
                MEASURES[set_name],
            )
        )
    return sets


def num_operations(text: str) -> str:
    """The difficulty of a chain of sums: its number of operations.

    >>> num_operations("what is24-3+7+2?")
    '3'
    """
    return str(len(re.findall(r"[-+]", text)))
