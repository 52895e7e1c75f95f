"""AIME: 30 problems a year with answers from 0 to 999.

Columns: problem or question; answer; id, as in HuggingFaceH4/aime_2024 and math-ai/aime25.
"""

from stages.config import EvaluateConfig, SuiteConfig
from stages.kinds.evaluation.problems import Problem, ProblemSet, problems_from, repeated, text_of
from stages.kinds.evaluation.suites.math500 import BOXED
from stages.prompting.prompt import Prompt


def problem_sets(name: str, suite: SuiteConfig, config: EvaluateConfig, seed: int) -> list[ProblemSet]:
    """The suite as one set of problems."""

    def make(id: str, row: dict) -> Problem:
        text = text_of(row, "problem", "Problem", "question") + BOXED
        prompt = Prompt(id, text, "math", "reasoning", "en", text_of(row, "answer", "Answer"), "integer")
        return Problem(id, repeated(prompt, suite))

    return [ProblemSet(name, problems_from(name, suite, make), suite)]
