"""The tiny world as a world to pretrain in (`stages/worlds/base.py`)."""

from typing import TYPE_CHECKING

from stages.worlds.tiny_world.corpus import document, tokenize_document
from stages.worlds.tiny_world.tokenizer import build_tokenizer, number_token_ids

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


class TinyWorld:
    """Implements `World` with the tiny world's corpus and tokenizer."""

    def build_tokenizer(self) -> "PreTrainedTokenizerFast":
        """Returns the tiny world's tokenizer."""
        return build_tokenizer()

    def number_token_ids(self) -> list[int]:
        """Returns the ids of the tokens 0, 1, ..., 99 in this order."""
        return number_token_ids()

    def document(self, index: int, seed: int, textbook_share: float) -> tuple[list[int], list[float]]:
        """Returns the token ids of document `index` and their loss weights, as `World.document` says."""
        return tokenize_document(document(index, seed, textbook_share))
