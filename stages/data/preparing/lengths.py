"""Measures how long texts are: in tokens of a model's tokenizer, or in words (a CJK character is one word)."""

from collections.abc import Callable
from pathlib import Path

from stages.data.preparing.text_hashes import is_word, tokens_of


class Lengths:
    """Measures lengths in `unit`, "tokens" where a model is given, else "words"."""

    def __init__(self, model_dir: str | None = None):
        """Loads the tokenizer of a model's directory; None counts words."""
        self.unit = "tokens" if model_dir else "words"
        self._tokenizer = _load(Path(model_dir)) if model_dir else None

    def of(self, texts: list[str], tokens: list[list[str]] | None = None) -> list[int]:
        """Returns the length of each text in `unit`.

        Args:
            texts: the texts.
            tokens: what `tokens_of` returned for them, where it is known already.
        """
        if self._tokenizer is not None:
            return [len(ids) for ids in self._tokenizer(texts)]
        return [sum(map(is_word, row)) for row in (tokens if tokens is not None else map(tokens_of, texts))]


def _load(directory: Path) -> Callable[[list[str]], list[list[int]]]:
    """Returns a function from texts to token ids; it needs transformers, which is slow to load, only for old models."""
    if (directory / "tokenizer.json").is_file():
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
        tokenizer.no_truncation()
        tokenizer.no_padding()
        return lambda texts: [encoding.ids for encoding in tokenizer.encode_batch_fast(texts, add_special_tokens=False)]
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(directory)
    return lambda texts: tokenizer(texts, add_special_tokens=False)["input_ids"] if texts else []
