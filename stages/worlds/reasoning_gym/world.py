"""Families of reasoning-gym as a world to pretrain in (`stages/worlds/base.py`): a textbook page of small steps, or a
training problem with a worked example.

Loss weights: 1 where a token can be deduced from what stands before it, 0.05 where it is random.
"""

import random
from functools import cached_property

from stages.config import DataConfig
from stages.worlds.reasoning_gym import examples
from stages.worlds.reasoning_gym.source import ReasoningGymPrompts
from stages.worlds.reasoning_gym.tokenizer import NUMBERS, Vocabulary, build_tokenizer, common_words, questions_of

RANDOM_WEIGHT = 0.05


class GymWorld:
    def __init__(self, data: DataConfig):
        missing = [task for task in data.tasks if task not in examples.WRITERS]
        if missing:
            raise ValueError(
                f"the recipe's own base learns from worked examples, which {', '.join(missing)} lack: give a base with "
                f"model.path=DIRECTORY, or choose among {', '.join(examples.WRITERS)}"
            )
        self.data = data
        self._source: tuple[int, ReasoningGymPrompts] | None = None

    @cached_property
    def vocabulary(self) -> Vocabulary:
        return Vocabulary(
            sorted({word for questions in questions_of(self.data).values() for word in common_words(questions)})
        )

    def build_tokenizer(self):
        return build_tokenizer(self.vocabulary)

    def number_token_ids(self) -> list[int]:
        return [self.vocabulary.ids[number] for number in NUMBERS]

    def document(self, index: int, seed: int, textbook_share: float) -> tuple[list[int], list[float]]:
        rng = random.Random(f"corpus/{seed}/{index}")
        if rng.random() < textbook_share:
            task = rng.choices(self.data.tasks, self.data.task_weights or None)[0]
            return self._page(examples.PAGES[task](rng))
        prompt, completion = self.problem(index, seed, rng)
        return self._tokens([(f"User:{prompt}Assistant:", RANDOM_WEIGHT), (completion, 1.0)])

    def problem(self, index: int, seed: int, rng: random.Random) -> tuple[str, str]:
        """A training problem's text and a worked example."""
        if self._source is None or self._source[0] != seed:
            self._source = seed, ReasoningGymPrompts(self.data, seed, "corpus")
        task, _, entry = self._source[1].entry(index)
        return entry["question"].strip(), examples.completion(rng, task, entry)

    def _page(self, items: list[str]) -> tuple[list[int], list[float]]:
        parts = []
        for item in items:
            question, colon, steps = item.partition(":")
            parts += [(question + colon, RANDOM_WEIGHT), (steps + "\n", 1.0)]
        return self._tokens(parts)

    def _tokens(self, parts: list[tuple[str, float]]) -> tuple[list[int], list[float]]:
        ids, weights = [self.vocabulary.ids["<bos>"]], [RANDOM_WEIGHT]
        for text, weight in parts:
            encoded = self.vocabulary.encode(text)
            ids += encoded
            weights += [weight] * len(encoded)
        return ids + [self.vocabulary.ids["<eos>"]], weights + [1.0]
