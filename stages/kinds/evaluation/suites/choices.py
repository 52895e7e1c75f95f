"""Multiple choice as a prompt [V2 D.1, after simple-evals]; every sample has the choices in its own order."""

import json
from collections.abc import Sequence

from stages.prompting.prompt import Prompt
from stages.runtime.seeds import rng_for

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
TEMPLATE = (
    "Answer the following multiple choice question. The last line of your response should be of the following "
    "format: 'ANSWER: $LETTER' "
    "(without quotes) where LETTER is one of {letters}. Think step by step before answering.\n\n{question}\n\n{choices}"
)


def as_prompt(id: str, question: str, choices: Sequence[str], right: int, order: Sequence[int] | None = None) -> Prompt:
    """A question with its choices.

    Args:
        id: The prompt's id.
        question: The question.
        choices: The choices.
        right: The index of the right choice.
        order: Which choice stands where; as they come by default.
    """
    order = list(range(len(choices))) if order is None else list(order)
    letters, options = LETTERS[: len(choices)], [choices[place] for place in order]
    lines = "\n".join(f"{letter}) {option}" for letter, option in zip(letters, options))
    text = TEMPLATE.format(letters=letters, question=question, choices=lines)
    checks = json.dumps({"options": options}, ensure_ascii=False)
    return Prompt(id, text, "choice", "reasoning", "en", letters[order.index(right)], "choice", checks)


def shuffled(
    id: str, question: str, choices: Sequence[str], right: int, num_samples: int, seed: int
) -> tuple[Prompt, ...]:
    """Makes a prompt for each sample; the order of sample j is a function of (seed, id, j)."""
    orders = [
        rng_for(seed, "choices", id, sample).sample(range(len(choices)), len(choices)) for sample in range(num_samples)
    ]
    return tuple(as_prompt(id, question, choices, right, order) for order in orders)
