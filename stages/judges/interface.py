"""What a judge can be asked, whoever it is. Answers come in the order of the questions; None: it could not be
understood, and is counted as such.
"""

from dataclasses import dataclass
from typing import Protocol

from stages.judges.ledger import Ledger
from stages.prompting.prompt import Prompt


@dataclass(frozen=True)
class Judged:
    """A completion to be judged or refined."""

    prompt: Prompt
    completion: str
    seed: int = 0


@dataclass(frozen=True)
class Comparison:
    """Two texts for the same prompt, in the order in which the judge reads them."""

    prompt: Prompt
    first: str
    second: str
    seed: int = 0


class Judge(Protocol):
    ledger: Ledger

    def check(self) -> None:
        """Raises InputError if it cannot be asked; before any engine starts."""

    def problem(self, prompt: Prompt) -> str | None:
        """Why this prompt is not for this judge, or None."""

    def correct(self, items: list[Judged], reasons: dict[int, str] | None = None) -> list[bool | None]:
        """Whether the final answer agrees with the prompt's reference [V2 Listing 4]. `reasons`, where given, gets why
        a verdict is None, by place; a call that fails while the judge is there is then one of them. Raises
        JudgeUnavailable.
        """

    def compare(self, items: list[Comparison]) -> list[int | None]:
        """2 first is much better, 1 better, 0 about the same, -1, -2 [V2 B.2]."""

    def safe(self, items: list[Judged]) -> list[bool | None]:
        """Whether the whole completion is safe [N]."""

    def refine(self, items: list[Judged]) -> list[str | None]:
        """The completion with a readable thought in the prompt's language, and a summary faithful to it [V2 B.3.2,
        Listing 1].
        """

    def answer(self, items: list[tuple[Prompt, int]]) -> list[str | None]:
        """A completion of its own for (prompt, seed), with a thought only where the task calls for one [V2 B.3.3]."""

    def close(self) -> None: ...
