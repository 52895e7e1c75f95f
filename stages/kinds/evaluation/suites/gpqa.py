"""GPQA Diamond (Rein et al. 2023), with the choices shuffled for every sample.

Columns: Question, Correct Answer, Incorrect Answer 1 to 3, as in Idavidrein/gpqa.
"""

from stages.config import EvaluateConfig, SuiteConfig
from stages.kinds.evaluation.problems import Problem, ProblemSet, problems_from, text_of
from stages.kinds.evaluation.suites.choices import shuffled

COLUMNS = ("Correct Answer", "Incorrect Answer 1", "Incorrect Answer 2", "Incorrect Answer 3")


def problem_sets(name: str, suite: SuiteConfig, config: EvaluateConfig, seed: int) -> list[ProblemSet]:
    """The suite as one set of problems."""

    def make(id: str, row: dict) -> Problem:
        choices = [text_of(row, column) for column in COLUMNS]
        return Problem(
            id,
            shuffled(id, text_of(row, "Question"), choices, 0, suite.samples_per_prompt, seed),
            level=str(row.get("Writer's Difficulty Estimate") or "").strip(),
        )

    return [ProblemSet(name, problems_from(name, suite, make), suite)]
