"""The tiny world as a world to pretrain in (`stages/worlds/base.py`)."""

from stages.worlds.tiny_world.corpus import document, tokenize_document
from stages.worlds.tiny_world.tokenizer import build_tokenizer, number_token_ids


class TinyWorld:
    def build_tokenizer(self):
        return build_tokenizer()

    def number_token_ids(self) -> list[int]:
        return number_token_ids()

    def document(self, index: int, seed: int, textbook_share: float) -> tuple[list[int], list[float]]:
        return tokenize_document(document(index, seed, textbook_share))
