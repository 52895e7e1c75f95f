"""Pairs judged as published [N]: several five-way verdicts with the two texts in random positions, averaged."""

from stages.judges.interface import Comparison, Judge
from stages.prompting.prompt import Prompt
from stages.runtime.seeds import rng_for, seed_for

Pair = tuple[Prompt, str, str]


def comparisons(pair: Pair, judgments: int, seed_parts: tuple) -> list[tuple[Comparison, int]]:
    """(what is asked, +1 or -1: whether the pair's first text stands first) for each judgment; a function of the pair
    and the seed.
    """
    prompt, a, b = pair
    asked = []
    for number in range(judgments):
        parts = (*seed_parts, prompt.id, a, b, number)
        is_first = rng_for("position", *parts).random() < 0.5
        asked.append(
            (Comparison(prompt, a, b, seed_for(*parts)), 1)
            if is_first
            else (Comparison(prompt, b, a, seed_for(*parts)), -1)
        )
    return asked


def mean_gaps(judge: Judge, pairs: list[Pair], judgments: int, seed_parts: tuple) -> list[float | None]:
    """Mean verdict of each pair, -2 .. 2, positive where its first text is better; None where a verdict could not be
    read: four out of four, or the pair is not used.
    """
    asked = [comparisons(pair, judgments, seed_parts) for pair in pairs]
    verdicts = iter(judge.compare([comparison for several in asked for comparison, _ in several]))
    gaps: list[float | None] = []
    for several in asked:
        values = [(next(verdicts), sign) for _, sign in several]
        gaps.append(
            None
            if any(verdict is None for verdict, _ in values)
            else sum(verdict * sign for verdict, sign in values) / judgments
        )
    return gaps
