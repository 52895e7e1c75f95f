"""Where the recipe's own base model learns its first words: a tokenizer, and a corpus document by document, for the
data of a run.

A world is a class with these three methods. The tiny world is one; the families of reasoning-gym for which there are
worked examples are another.
"""

from typing import Any, Protocol

from stages.config import DataConfig


class World(Protocol):
    def build_tokenizer(self) -> Any:
        """A PreTrainedTokenizerFast that covers the world's text."""

    def number_token_ids(self) -> list[int]:
        """The ids of the tokens 0, 1, ..., 99, in this order: their embeddings start as Fourier features."""

    def document(self, index: int, seed: int, textbook_share: float) -> tuple[list[int], list[float]]:
        """Document number `index` of the corpus with this seed, a pure function: token ids from <bos> to <eos>, and the
        weight of each as a target.
        """


def make_world(data: DataConfig) -> World:
    if data.name == "reasoning_gym":
        from stages.worlds.reasoning_gym.world import GymWorld

        return GymWorld(data)
    from stages.worlds.tiny_world.world import TinyWorld

    return TinyWorld()
