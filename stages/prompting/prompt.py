"""The prompt as plain data, and the interface of everything that supplies prompts. Imports nothing of ours."""

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Prompt:
    """A prompt with its reference answer and what is needed to grade a completion of it.

    Attributes:
        id: stable and unique for its content and index, as "math-train-000123-5f09ac".
        text: the user's words, without a template.
        kind: "math", "capital", "opposite", "say", "greet", "harm" or "benign" in the tiny world; elsewhere a family of
            problems, a column's value or the name of the source.
        domain: "reasoning", "helpful" or "safety"; it decides which rewards apply.
        language: ISO 639-1 code of the language that the completion should be in.
        answer: the reference answer.
        verifier: what grades completions of a reasoning prompt: a name of the table in `stages/rewards/grading.py`.
        checks: what that verifier needs besides the answer, as JSON: a program's tests, a generator's entry.
    """

    id: str
    text: str
    kind: str
    domain: str
    language: str
    answer: str
    verifier: str = ""
    checks: str = ""


class PromptSource(Protocol):
    """Supplies prompts by number."""

    def get(self, index: int, domain: str = "reasoning") -> Prompt:
        """Returns prompt number `index` of a domain.

        It is a pure function of (seed, stream, split, domain, index), so that a resumed run draws the same prompts.
        """
        ...
