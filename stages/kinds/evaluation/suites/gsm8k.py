"""GSM8K (Cobbe et al. 2021): columns question and answer, whose last line is "#### 42", as in openai/gsm8k."""

from stages.config import EvaluateConfig, SuiteConfig
from stages.kinds.evaluation.problems import Problem, ProblemSet, problems_from, repeated, text_of
from stages.kinds.evaluation.suites.math500 import BOXED
from stages.prompting.prompt import Prompt


def problem_sets(name: str, suite: SuiteConfig, config: EvaluateConfig, seed: int) -> list[ProblemSet]:
    """The suite as one set of problems."""

    def make(id: str, row: dict) -> Problem:
        _, mark, answer = text_of(row, "answer").rpartition("####")
        if not mark or not answer.strip():
            raise ValueError("column 'answer' does not end in '#### NUMBER'")
        prompt = Prompt(
            id, text_of(row, "question") + BOXED, "math", "reasoning", "en", answer.strip().replace(",", ""), "math"
        )
        return Problem(id, repeated(prompt, suite))

    return [ProblemSet(name, problems_from(name, suite, make), suite)]
