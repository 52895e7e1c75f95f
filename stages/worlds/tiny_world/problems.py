"""The tiny world's prompts: arithmetic with two to four operations, general questions, harmful and benign requests.

How problems are held out: `split.py` explains it for arithmetic. Of general prompts, texts are held out (20% test, 10%
dev, by a hash): combinations of an item, a polite prefix, an ending and a language. The items themselves are facts, and
all of them occur in training.
"""

import random
from dataclasses import dataclass
from functools import cache

from stages.worlds.tiny_world.lexicon import (
    BENIGN_ACTS,
    CAPITALS,
    HARMFUL_ACTS,
    LANGUAGES,
    OPPOSITES,
    TRANSLATABLE,
    Fact,
    say,
)
from stages.worlds.tiny_world.split import MAX_VALUE, STEPS, Step, apply_step, bucket_of, is_in_range, window_split

NUM_OPERATIONS = (2, 3, 4)
START_VALUES = range(10, MAX_VALUE - 9)  # 10..49
KNOWLEDGE_KINDS = ("capital", "opposite", "say")
HELPFUL_KINDS = (*KNOWLEDGE_KINDS, "greet", "benign")
GENERAL_KINDS = (*HELPFUL_KINDS, "harm")
_MAX_TRIES = 10_000


@dataclass(frozen=True)
class Problem:
    """An arithmetic problem, which is worked from left to right."""

    start: int
    steps: tuple[Step, ...]
    language: str

    @property
    def expression(self) -> str:
        """The problem as it is written, as "31-3-7"."""
        return str(self.start) + "".join(f"{operator}{operand}" for operator, operand in self.steps)

    @property
    def answer(self) -> int:
        """The value of the expression."""
        value = self.start
        for step in self.steps:
            value = apply_step(value, step)
        return value

    @property
    def text(self) -> str:
        """The prompt's text in the problem's language."""
        if self.language == "en":
            return f"{say('what is', 'en')}{self.expression}?"
        return f"{say('compute', 'zh')}{self.expression}{say('what is', 'zh')}?"


@dataclass(frozen=True)
class GeneralPrompt:
    """A question on a closed list, a greeting, or a how-to request."""

    text: str
    kind: str
    language: str
    answer: str


@cache
def first_steps(value: int) -> tuple[Step, ...]:
    """Returns the steps from a value that stay in range."""
    return tuple(step for step in STEPS if is_in_range(value, (step,)))


@cache
def next_steps(value: int, step: Step, split: str) -> tuple[Step, ...]:
    """Returns the steps that may follow `value step` in a problem of a split: in range, with a window of the split."""
    return tuple(
        following for following in first_steps(apply_step(value, step)) if window_split(value, step, following) == split
    )


def draw_problem(rng: random.Random, split: str, num_operations: int | None = None) -> Problem:
    """Draws a problem whose windows all belong to a split; the number of operations is drawn too where it is None."""
    wanted = num_operations or rng.choice(NUM_OPERATIONS)
    for _ in range(_MAX_TRIES):
        start = rng.choice(START_VALUES)
        steps = [rng.choice(first_steps(start))]
        value = start
        while len(steps) < wanted:
            options = next_steps(value, steps[-1], split)
            if not options:
                break
            value = apply_step(value, steps[-1])
            steps.append(rng.choice(options))
        if len(steps) == wanted:
            return Problem(start, tuple(steps), rng.choice(LANGUAGES))
    raise AssertionError(f"no {split} problem with {wanted} operations in {_MAX_TRIES} tries")


def _questions(kind: str, language: str) -> list[tuple[str, str]]:
    """Returns all (question, answer) pairs of a kind in a language, without prefix and ending."""

    def here(english: str) -> str:
        return say(english, language)

    def about(facts: tuple[Fact, ...], question: str) -> list[tuple[str, str]]:
        return [(here(question) + getattr(fact.subject, language), getattr(fact.answer, language)) for fact in facts]

    if kind == "capital":
        return about(CAPITALS, "capital of")
    if kind == "opposite":
        return about(OPPOSITES, "opposite of")
    if kind == "say":
        order, other = ("say in chinese", "zh") if language == "en" else ("say in english", "en")
        return [(f"{here(order)}:{getattr(word, language)}", getattr(word, other)) for word in TRANSLATABLE]
    if kind == "greet":
        return [(here(greeting), here("nice to meet you")) for greeting in ("hello", "hi", "good morning")]
    acts, answer = HARMFUL_ACTS, "i can not help with that"
    if kind == "benign":
        acts, answer = BENIGN_ACTS, "read a guide and practice"
    return [(here("how to") + getattr(act, language), here(answer)) for act in acts]


@cache
def general_prompts(kind: str, split: str) -> tuple[GeneralPrompt, ...]:
    """Returns all general prompts of a kind that belong to a split."""
    found = []
    for language in LANGUAGES:
        prefixes = ("", say("please", language), say("hi", language) + ",", say("tell me", language) + ":")
        for question, answer in _questions(kind, language):
            for prefix in prefixes:
                for ending in ("?", "!", "", "."):
                    text = prefix + question + ending
                    if bucket_of("general/" + text, test_percent=20, dev_percent=10) == split:
                        found.append(GeneralPrompt(text, kind, language, answer))
    return tuple(found)


def draw_general(rng: random.Random, split: str, kind: str | None = None) -> GeneralPrompt:
    """Draws a general prompt of a split; its kind is drawn first where it is None."""
    return rng.choice(general_prompts(kind or rng.choice(GENERAL_KINDS), split))
