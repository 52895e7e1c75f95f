"""The tiny world's judge and refiner behind the interface of all judges: deterministic rules, no calls, no cost."""

import random
from typing import TypeVar

from stages.judges.interface import Comparison, Judged
from stages.judges.ledger import Ledger
from stages.prompting.prompt import Prompt
from stages.worlds.tiny_world.judge import compare, judge
from stages.worlds.tiny_world.problems import GENERAL_KINDS
from stages.worlds.tiny_world.refine import refine

KINDS = (*GENERAL_KINDS, "math", "harm", "benign")

Verdict = TypeVar("Verdict")


class TinyWorldJudge:
    """See `stages.judges.interface.Judge`."""

    def __init__(self, ledger: Ledger):
        self.ledger = ledger

    def check(self) -> None:
        """Rules can always be asked."""

    def prompt_problem(self, prompt: Prompt) -> str | None:
        """The rules know no other prompts than the tiny world's."""
        return (
            None
            if prompt.kind in KINDS
            else "judge.backend=tiny_world knows only the tiny world's prompts: set judge=openai or judge=vllm"
        )

    def correct(self, items: list[Judged], reasons: dict[int, str] | None = None) -> list[bool | None]:
        """See `Judge.correct`; no verdict is ever None."""
        return self._counted("correct", [judge(item.prompt, item.completion).is_correct for item in items])

    def compare(self, items: list[Comparison]) -> list[int | None]:
        """See `Judge.compare`."""
        return self._counted(
            "compare", [compare(item.prompt, item.first, item.second, random.Random(item.seed)) for item in items]
        )

    def safe(self, items: list[Judged]) -> list[bool | None]:
        """See `Judge.safe`."""
        return self._counted("safe", [judge(item.prompt, item.completion).is_safe for item in items])

    def refine(self, items: list[Judged]) -> list[str | None]:
        """See `Judge.refine`."""
        return self._counted("refine", [refine(item.prompt, item.completion) for item in items])

    def answer(self, items: list[tuple[Prompt, int]]) -> list[str | None]:
        """Raises ValueError: the tiny world has its own general pairs."""
        raise ValueError(
            "judge.backend=tiny_world answers no prompts: the tiny world's general pairs are general.source=tiny_world"
        )

    def close(self) -> None:
        """There is nothing to give back."""

    def _counted(self, job: str, values: list[Verdict]) -> list[Verdict | None]:
        """The same values, after the ledger has counted them."""
        self.ledger.count(job, calls=len(values))
        self.ledger.save()
        return list(values)
