"""IFEval (Zhou et al. 2023): instructions that a program checks; the score is prompt-level strict accuracy.

Columns: prompt, instruction_id_list, kwargs, as in google/IFEval.
"""

import json

from stages.config import EvaluateConfig, SuiteConfig
from stages.kinds.evaluation.problems import Problem, ProblemSet, problems_from, repeated, text_of
from stages.prompting.prompt import Prompt


def problem_sets(name: str, suite: SuiteConfig, config: EvaluateConfig, seed: int) -> list[ProblemSet]:
    """The suite as one set of problems."""

    def make(id: str, row: dict) -> Problem:
        names, settings = row["instruction_id_list"], row["kwargs"]
        if len(names) != len(settings) or not names:
            raise ValueError(f"{len(names)} instructions, but kwargs for {len(settings)}")
        checks = [
            {"id": instruction, **{key: value for key, value in (given or {}).items() if value is not None}}
            for instruction, given in zip(names, settings)
        ]
        prompt = Prompt(
            id,
            text_of(row, "prompt"),
            "instructions",
            "reasoning",
            "en",
            "",
            "instructions",
            json.dumps(checks, ensure_ascii=False),
        )
        return Problem(id, repeated(prompt, suite))

    return [ProblemSet(name, problems_from(name, suite, make), suite, "text")]
