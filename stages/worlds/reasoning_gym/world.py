"""Families of reasoning-gym as a world to pretrain in (`stages/worlds/base.py`).

A document is a textbook page of small steps, or a training problem with a worked example. A token's loss has the weight
1 where the token follows from the text before it, and 0.05 where it is random.
"""

import random
from functools import cached_property
from typing import TYPE_CHECKING

from stages.config import DataConfig
from stages.worlds.reasoning_gym import examples
from stages.worlds.reasoning_gym.source import ReasoningGymPrompts
from stages.worlds.reasoning_gym.tokenizer import NUMBERS, Vocabulary, build_tokenizer, common_words, questions_of

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

RANDOM_WEIGHT = 0.05


class GymWorld:
    """The world of the families that a data configuration names."""

    def __init__(self, data: DataConfig):
        """Raises ValueError where a family has no worked examples to pretrain on."""
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
        """The vocabulary with the common words of all families."""
        words: set[str] = set()
        for questions in questions_of(self.data).values():
            words.update(common_words(questions))
        return Vocabulary(sorted(words))

    def build_tokenizer(self) -> "PreTrainedTokenizerFast":
        """Returns the tokenizer of the families' vocabulary."""
        return build_tokenizer(self.vocabulary)

    def number_token_ids(self) -> list[int]:
        """Returns the ids of the tokens 0, 1, ..., 99 in this order."""
        return [self.vocabulary.ids[number] for number in NUMBERS]

    def document(self, index: int, seed: int, textbook_share: float) -> tuple[list[int], list[float]]:
        """Returns the token ids of document `index` and their loss weights, as `World.document` says."""
        rng = random.Random(f"corpus/{seed}/{index}")
        if rng.random() < textbook_share:
            task = rng.choices(self.data.tasks, self.data.task_weights or None)[0]
            return self._page(examples.PAGES[task](rng))
        prompt, completion = self.worked_problem(index, seed, rng)
        return self._tokens([(f"User:{prompt}Assistant:", RANDOM_WEIGHT), (completion, 1.0)])

    def worked_problem(self, index: int, seed: int, rng: random.Random) -> tuple[str, str]:
        """Returns the text of training problem `index` and a worked example of it."""
        if self._source is None or self._source[0] != seed:
            self._source = seed, ReasoningGymPrompts(self.data, seed, "corpus")
        task, _, entry = self._source[1].entry(index)
        return entry["question"].strip(), examples.completion(rng, task, entry)

    def _page(self, items: list[str]) -> tuple[list[int], list[float]]:
        """Encodes a textbook page: its questions are random, and the steps after the colon follow from them."""
        parts: list[tuple[str, float]] = []
        for item in items:
            question, colon, steps = item.partition(":")
            parts += [(question + colon, RANDOM_WEIGHT), (steps + "\n", 1.0)]
        return self._tokens(parts)

    def _tokens(self, parts: list[tuple[str, float]]) -> tuple[list[int], list[float]]:
        """Encodes (text, weight) parts as one document, from <bos> to <eos>."""
        ids, weights = [self.vocabulary.ids["<bos>"]], [RANDOM_WEIGHT]
        for text, weight in parts:
            encoded = self.vocabulary.encode(text)
            ids += encoded
            weights += [weight] * len(encoded)
        return [*ids, self.vocabulary.ids["<eos>"]], [*weights, 1.0]
