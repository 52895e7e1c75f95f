"""A prompt with its reference answer, and what can hand prompts out. Plain data; imports nothing."""

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Prompt:
    id: str  # stable and unique for its content and index, e.g. "math-train-000123-5f09ac"
    text: str  # the user's words, without template
    kind: str  # "math" | "capital" | "opposite" | "say" | "greet" | "harm" | "benign"; from a file: "file"
    domain: str  # "reasoning" | "helpful" | "safety"
    language: str  # "en" | "zh"
    answer: str  # reference answer
    verifier: str = ""  # what grades a completion of a reasoning prompt: a name of stages/rewards/grading.py
    checks: str = (
        ""  # what that verifier needs besides the answer, as JSON: the tests of a program, the entry of a generator
    )


class PromptSource(Protocol):
    """Prompts by number. `get` is a pure function of (seed, stream, split, domain, index), so a resumed run draws the
    same ones.
    """

    def get(self, index: int, domain: str = "reasoning") -> Prompt: ...
