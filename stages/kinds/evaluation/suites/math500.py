"""MATH-500 (Lightman et al. 2023): columns problem, answer, level (1 to 5), subject, as in HuggingFaceH4/MATH-500."""

from stages.config import EvaluateConfig, SuiteConfig
from stages.kinds.evaluation.problems import Problem, ProblemSet, problems_from, repeated, text_of
from stages.prompting.prompt import Prompt

BOXED = "\nPlease reason step by step, and put your final answer within \\boxed{}."  # [V2 Table 29]


def problem_sets(name: str, suite: SuiteConfig, config: EvaluateConfig, seed: int) -> list[ProblemSet]:
    """The suite as one set of problems."""

    def make(id: str, row: dict) -> Problem:
        prompt = Prompt(id, text_of(row, "problem") + BOXED, "math", "reasoning", "en", text_of(row, "answer"), "math")
        return Problem(id, repeated(prompt, suite), level=str(row.get("level", "")).removeprefix("Level ").strip())

    return [ProblemSet(name, problems_from(name, suite, make), suite)]
