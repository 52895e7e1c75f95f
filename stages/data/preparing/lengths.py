"""How long texts are: tokens of a model's tokenizer where one is given, else words (a CJK character is one)."""

from pathlib import Path

from stages.data.preparing.text_hashes import is_word, tokens_of


class Lengths:
    def __init__(self, model_dir: str | None = None):
        self.unit = "tokens" if model_dir else "words"
        self._tokenizer = _load(Path(model_dir)) if model_dir else None

    def of(self, texts: list[str], tokens: list[list[str]] | None = None) -> list[int]:
        """Lengths in `unit`. tokens: what `tokens_of` gave for the texts, if it was asked before."""
        if self._tokenizer is not None:
            return [len(ids) for ids in self._tokenizer(texts)]
        return [sum(map(is_word, row)) for row in (tokens if tokens is not None else map(tokens_of, texts))]


def _load(directory: Path):
    """A function of texts to token ids; the tokenizers library alone where it can, which starts at once."""
    if (directory / "tokenizer.json").is_file():
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
        tokenizer.no_truncation()
        tokenizer.no_padding()
        return lambda texts: [encoding.ids for encoding in tokenizer.encode_batch_fast(texts, add_special_tokens=False)]
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(directory)
    return lambda texts: tokenizer(texts, add_special_tokens=False)["input_ids"] if texts else []
