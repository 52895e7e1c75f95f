"""MMLU and MMLU-Pro, with the choices in the order of the file.

Columns: question, choices, answer (an index or a letter), as in cais/mmlu; or question, options, answer (a letter), as
in TIGER-Lab/MMLU-Pro.
"""

from stages.config import EvaluateConfig, SuiteConfig
from stages.kinds.evaluation.problems import Problem, ProblemSet, problems_from, repeated, text_of
from stages.kinds.evaluation.suites.choices import LETTERS, as_prompt


def problem_sets(name: str, suite: SuiteConfig, config: EvaluateConfig, seed: int) -> list[ProblemSet]:
    """The suite as one set of problems."""

    def make(id: str, row: dict) -> Problem:
        choices = row["choices"] if "choices" in row else row["options"]
        if not isinstance(choices, list) or not 2 <= len(choices) <= len(LETTERS):
            raise ValueError(f"expected a list of 2 to {len(LETTERS)} choices, got {choices!r:.60}")
        answer = text_of(row, "answer")
        right = int(answer) if answer.isdigit() else LETTERS.find(answer.upper())
        if not 0 <= right < len(choices):
            raise ValueError(f"the answer {answer!r} is none of the {len(choices)} choices")
        choices = [str(choice) for choice in choices]
        kept = [place for place, choice in enumerate(choices) if choice != "N/A" or place == right]  # MMLU-Pro fills up
        prompt = as_prompt(id, text_of(row, "question"), [choices[place] for place in kept], kept.index(right))
        return Problem(id, repeated(prompt, suite))

    return [ProblemSet(name, problems_from(name, suite, make), suite)]
