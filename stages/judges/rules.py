"""The rules of a world as a judge behind the interface of all judges: deterministic, no calls, no cost."""

import random
from types import ModuleType
from typing import TypeVar

from stages.judges.interface import Comparison, Judged
from stages.judges.ledger import Ledger
from stages.prompting.prompt import Prompt

Verdict = TypeVar("Verdict")


class RuleJudge:
    """See `stages.judges.interface.Judge`; each world says which prompts its rules know.

    Attributes:
        name: of the backend, for messages.
        world: the world's module with `judge`, `compare` and `knows`, which says whether a prompt is the world's.
        its_own: the prompts that the rules know, and who judges others.
    """

    name: str
    world: ModuleType
    its_own: str

    def __init__(self, ledger: Ledger):
        self.ledger = ledger

    def check(self) -> None:
        """Rules can always be asked."""

    def prompt_problem(self, prompt: Prompt) -> str | None:
        """Why the rules do not know prompts like this one, or None."""
        return None if self.world.knows(prompt) else f"judge.backend={self.name} knows only {self.its_own}"

    def correct(self, items: list[Judged], reasons: dict[int, str] | None = None) -> list[bool | None]:
        """See `Judge.correct`; no verdict is ever None."""
        return self._counted("correct", [self.world.judge(item.prompt, item.completion).is_correct for item in items])

    def compare(self, items: list[Comparison]) -> list[int | None]:
        """See `Judge.compare`."""
        return self._counted(
            "compare",
            [self.world.compare(item.prompt, item.first, item.second, random.Random(item.seed)) for item in items],
        )

    def safe(self, items: list[Judged]) -> list[bool | None]:
        """See `Judge.safe`."""
        return self._counted("safe", [self.world.judge(item.prompt, item.completion).is_safe for item in items])

    def refine(self, items: list[Judged]) -> list[str | None]:
        """Raises ValueError where the world has no rules to rewrite a thought with."""
        raise ValueError(f"judge.backend={self.name} rewrites no thoughts: set judge=openai or judge=vllm")

    def answer(self, items: list[tuple[Prompt, int]]) -> list[str | None]:
        """Raises ValueError: these worlds have general pairs of their own."""
        raise ValueError(
            f"judge.backend={self.name} answers no prompts: set general=data of the stage, for this world's own pairs"
        )

    def close(self) -> None:
        """There is nothing to give back."""

    def _counted(self, job: str, values: list[Verdict]) -> list[Verdict | None]:
        """The same values, after the ledger has counted them."""
        self.ledger.count(job, calls=len(values))
        self.ledger.save()
        return list(values)
