"""What any judge can be asked.

Answers come in the order of the questions. None says that a reply could not be understood, and is counted as such.
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
    seed: int = 0  # of the judge's sampling


@dataclass(frozen=True)
class Comparison:
    """Two texts for the same prompt, in the order in which the judge reads them."""

    prompt: Prompt
    first: str
    second: str
    seed: int = 0  # of the judge's sampling


class Judge(Protocol):
    """Whoever decides; a method that asks raises JudgeUnavailable where no reply comes although it was retried."""

    ledger: Ledger

    def check(self) -> None:
        """Raises InputError if the judge cannot be asked; to be called before any engine starts."""

    def prompt_problem(self, prompt: Prompt) -> str | None:
        """Why this judge cannot decide about prompts like this one, or None."""

    def correct(self, items: list[Judged], reasons: dict[int, str] | None = None) -> list[bool | None]:
        """Whether each final answer agrees with its prompt's reference [V2 Listing 4].

        `reasons`, where given, gets why a verdict is None, by place in `items`; a call that fails while the judge can
        be asked is then one of them, and no JudgeUnavailable.
        """

    def compare(self, items: list[Comparison]) -> list[int | None]:
        """2: the first is much better, 1: better, 0: about the same, -1, -2 [V2 B.2]."""

    def safe(self, items: list[Judged]) -> list[bool | None]:
        """Whether each whole completion is safe [N]."""

    def refine(self, items: list[Judged]) -> list[str | None]:
        """Each completion with a readable thought in its prompt's language, and a summary faithful to the thought.

        [V2 B.3.2, Listing 1]
        """

    def answer(self, items: list[tuple[Prompt, int]]) -> list[str | None]:
        """A completion of the judge's own for each (prompt, seed), with a thought only where the task calls for one.

        [V2 B.3.3]
        """

    def close(self) -> None:
        """Gives back the memory of a local model."""
