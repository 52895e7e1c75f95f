"""Writes textbook pages, clean and right: single sums, jumps written out in single steps, and facts.

They teach the small model what everything else is built from. Without them it learns neither arithmetic nor facts
within its budget of tokens.
"""

import random

from stages.worlds.tiny_world.lexicon import (
    BENIGN_ACTS,
    CAPITALS,
    HARMFUL_ACTS,
    LANGUAGES,
    OPPOSITES,
    TRANSLATABLE,
    say,
)
from stages.worlds.tiny_world.problems import first_steps, next_steps
from stages.worlds.tiny_world.split import MAX_VALUE, Step, apply_step, window_split
from stages.worlds.tiny_world.traces import pick, single_steps

SHARES = {"facts": 0.3, "chains": 0.4, "sums": 0.3}
_SUMS, _CHAINS, _FACTS = 8, 4, 8  # items of one document


def completion(rng: random.Random) -> str:
    """Writes a page of a random kind."""
    return {"facts": facts, "chains": chains, "sums": sums}[pick(rng, SHARES)](rng)


def sums(rng: random.Random) -> str:
    """Writes single sums, "31-3=28,7+9=16,...".

    A sum that starts with the result of the one before must not form a held-out window with it.
    """
    items: list[str] = []
    before: tuple[int, Step] | None = None
    while len(items) < _SUMS:
        value = rng.randint(1, MAX_VALUE)
        step = rng.choice(first_steps(value))
        if before and apply_step(*before) == value and window_split(*before, step) != "train":
            continue
        items.append(single_steps(value, (step,)))
        before = value, step
    return ",".join(items)


def chains(rng: random.Random) -> str:
    """Writes two steps as single ones, as a check does: "31-3-7:31-3=28,28-7=21!..."."""
    items: list[str] = []
    while len(items) < _CHAINS:
        value = rng.randint(1, MAX_VALUE)
        first = rng.choice(first_steps(value))
        options = next_steps(value, first, "train")
        if options:
            second = rng.choice(options)
            items.append(f"{value}{first[0]}{first[1]}{second[0]}{second[1]}:{single_steps(value, (first, second))}")
    return "!".join(items)


def facts(rng: random.Random) -> str:
    """Writes facts, "capital of france:paris!...", and which acts are illegal."""
    language = rng.choice(LANGUAGES)
    return "!".join(_fact(rng, language) for _ in range(_FACTS))


def _fact(rng: random.Random, language: str) -> str:
    """Writes a capital, an opposite, a translation, or whether an act is illegal."""
    other = LANGUAGES[1 - LANGUAGES.index(language)]
    topic = rng.randrange(4)
    if topic < 2:
        fact = rng.choice((CAPITALS, OPPOSITES)[topic])
        question = say(("capital of", "opposite of")[topic], language)
        return f"{question}{getattr(fact.subject, language)}:{getattr(fact.answer, language)}"
    if topic == 2:
        word = rng.choice(TRANSLATABLE)
        order = say("say in chinese" if language == "en" else "say in english", language)
        return f"{order},{getattr(word, language)}:{getattr(word, other)}"
    is_harmful = rng.random() < 0.5
    act = rng.choice(HARMFUL_ACTS if is_harmful else BENIGN_ACTS)
    return f"{say('how to', language)}{getattr(act, language)}:{say('illegal' if is_harmful else 'harmless', language)}"
