"""Pairs judged as published [N]: several five-way verdicts with the two texts in random positions, averaged."""

from stages.judges.interface import Comparison, Judge
from stages.prompting.prompt import Prompt
from stages.runtime.seeds import rng_for, seed_for

Pair = tuple[Prompt, str, str]


def comparisons(pair: Pair, judgments: int, seed_parts: tuple) -> list[tuple[Comparison, int]]:
    """What is asked about a pair, once for each judgment; a function of the pair and the seed.

    Returns:
        (the comparison, +1 if the pair's first text stands first, else -1) for each judgment.
    """
    prompt, a, b = pair
    asked = []
    for number in range(judgments):
        parts = (*seed_parts, prompt.id, a, b, number)
        if rng_for("position", *parts).random() < 0.5:
            asked.append((Comparison(prompt, a, b, seed_for(*parts)), 1))
        else:
            asked.append((Comparison(prompt, b, a, seed_for(*parts)), -1))
    return asked


def mean_gaps(judge: Judge, pairs: list[Pair], judgments: int, seed_parts: tuple) -> list[float | None]:
    """The mean verdict of each pair, -2 .. 2, positive where its first text is better.

    None where a verdict could not be read: all judgments of a pair count, or the pair is not used.
    """
    asked = [comparisons(pair, judgments, seed_parts) for pair in pairs]
    verdicts = iter(judge.compare([comparison for several in asked for comparison, _ in several]))
    gaps: list[float | None] = []
    for several in asked:
        signed = []
        for _, sign in several:
            verdict = next(verdicts)
            signed.append(None if verdict is None else verdict * sign)
        readable = [value for value in signed if value is not None]
        gaps.append(sum(readable) / judgments if len(readable) == len(signed) else None)
    return gaps
