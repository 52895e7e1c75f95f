"""The interface of a world: what the recipe pretrains its own base model on.

There are two worlds: the tiny world, and the families of reasoning-gym that have worked examples.
"""

from typing import Any, Protocol

from stages.config import DataConfig


class World(Protocol):
    """A tokenizer, and a corpus that is generated document by document."""

    def build_tokenizer(self) -> Any:
        """Returns a PreTrainedTokenizerFast that covers the world's text."""

    def number_token_ids(self) -> list[int]:
        """Returns the ids of the tokens 0, 1, ..., 99 in this order; their embeddings start as Fourier features."""
        ...

    def document(self, index: int, seed: int, textbook_share: float) -> tuple[list[int], list[float]]:
        """Returns one document of the corpus, a pure function of its arguments.

        Args:
            index: number of the document.
            seed: seed of the corpus.
            textbook_share: share of textbook pages among the documents, 0..1.

        Returns:
            Its token ids from <bos> to <eos>, and the weight of each token's loss as a target.
        """
        ...


def make_world(data: DataConfig) -> World:
    """Returns the world that a data configuration names."""
    if data.name == "reasoning_gym":
        from stages.worlds.reasoning_gym.world import GymWorld

        return GymWorld(data)
    from stages.worlds.tiny_world.world import TinyWorld

    return TinyWorld()
