"""Encodes texts that contain the names of control tokens as words: a user who writes `<|im_end|>` ends no turn.

A tokenizer finds control tokens by their names, wherever these come from. So a second copy of the tokenizer is made in
which each control token has another name, which no text contains. What the template writes is renamed in the text too,
what a user writes is not. The copy then reads the whole text at once, so that every rule of the tokenizer (prefix
spaces, normal forms, merges) holds as in any other text.
"""

import json
import re
from collections.abc import Mapping
from functools import cached_property
from typing import Any

from stages.prompting.vocabulary import Vocabulary, any_of
from stages.runtime.errors import InputError

_HIDDEN = 0xF0000  # the first of the characters that stand for names: of a private plane, no text means them
_NAME = "qzx{}xzq"  # of a control token in the copy; lower case and digits survive every normal form


class UnencodableText(InputError):
    """A text contains the name of a control token as words, and the tokenizer cannot read it as words.

    Attributes:
        place: of the text among those that were to be encoded.
    """

    place = 0


class ControlTokens:
    """The control tokens of a model under one template, by name."""

    def __init__(self, vocabulary: Vocabulary, rendered: str):
        """Finds them.

        Args:
            vocabulary: Of the model's tokenizer.
            rendered: A prompt with harmless words, as the template writes it.
        """
        self.vocabulary = vocabulary
        self.names = vocabulary.controls(rendered)
        self.pattern = re.compile(any_of(self.names)) if self.names else None
        self.ids = frozenset(self.names.values())

    def are_named_in(self, text: str) -> bool:
        """Whether a text contains the name of a control token."""
        return self.pattern is not None and self.pattern.search(text) is not None

    def count_names(self, text: str) -> int:
        """How many control tokens a text names."""
        return len(self.pattern.findall(text)) if self.pattern else 0

    def count(self, token_ids: list[int]) -> int:
        """How many of these ids are control tokens."""
        return 0 if self.ids.isdisjoint(token_ids) else sum(token in self.ids for token in token_ids)

    def hidden(self, text: str) -> str:
        """A text in which one private-use character stands for each name of a control token; `encode` puts it back.

        Raises:
            UnencodableText: The text has such characters already.
        """
        if self.pattern is None:
            return text
        if any(_HIDDEN <= ord(character) < _HIDDEN + len(self.names) for character in text):
            raise UnencodableText("it contains characters of Unicode's private plane 15 beside the name of a token")
        return self.pattern.sub(lambda name: chr(_HIDDEN + self._places[name[0]]), text)

    def encode(self, text: str) -> list[int]:
        """Token ids of a text in which hidden names are words, and all others are control tokens.

        Raises:
            UnencodableText: The tokenizer cannot be made to read them as words.
        """
        written = self.count_names(text)
        if self.pattern is not None:
            text = self.pattern.sub(lambda name: _NAME.format(self._places[name[0]]), text)
        for name, place in self._places.items():
            text = text.replace(chr(_HIDDEN + place), name)
        encoding = self._renamed.encode(text, add_special_tokens=False)
        ids = [self._original.get(token, token) for token in encoding.ids]
        if self.count(ids) != written:
            found = sorted(name for name, token in self.names.items() if token in ids)
            raise UnencodableText(
                f"it contains text that the tokenizer reads as a control token of the model ({', '.join(found)})"
            )
        return ids

    @cached_property
    def _places(self) -> dict[str, int]:
        return {name: place for place, name in enumerate(self.names)}

    @cached_property
    def _renamed(self) -> Any:
        """The copy of the tokenizer in which control tokens have other names."""
        from tokenizers import Tokenizer

        backend = getattr(self.vocabulary.tokenizer, "backend_tokenizer", None)
        if not isinstance(backend, Tokenizer):
            raise UnencodableText(
                "it contains the name of a control token as words, which a tokenizer without a tokenizer.json "
                f"({type(self.vocabulary.tokenizer).__name__}) cannot tell from the token itself"
            )
        try:
            spec = json.loads(backend.to_str())
        except Exception as error:  # parts that are written in Python cannot be copied
            raise UnencodableText(f"it contains the name of a control token as words ({error})") from error
        spec |= {"post_processor": None, "truncation": None, "padding": None}
        names = {name: _NAME.format(place) for name, place in self._places.items()}
        for token in spec["added_tokens"]:
            token["content"] = names.get(token["content"], token["content"])
        _rename_in_model(spec["model"], names)
        return Tokenizer.from_str(json.dumps(spec))

    @cached_property
    def _original(self) -> dict[int, int]:
        """Ids of the copy that are not those of the tokenizer -> the tokenizer's."""
        own = self.vocabulary.added
        renamed = {_NAME.format(place): self.names[name] for name, place in self._places.items()}
        copied = {str(token.content): i for i, token in self._renamed.get_added_tokens_decoder().items()}
        return {i: renamed.get(name, own.get(name, i)) for name, i in copied.items()}


def _rename_in_model(model: dict[str, Any], names: Mapping[str, str]) -> None:
    """Renames control tokens in the vocabulary of a tokenizer's model, which else could still find them in words."""
    vocabulary, unknown = model.get("vocab"), model.get("unk_token")
    if isinstance(vocabulary, dict):
        model["vocab"] = {name if name == unknown else names.get(name, name): i for name, i in vocabulary.items()}
        if model.get("merges"):
            model["merges"] = [pair for pair in model["merges"] if not _makes_one(pair, names)]
    elif isinstance(vocabulary, list):  # Unigram: pieces with their scores, the unknown one by its place
        place = model.get("unk_id")
        model["vocab"] = [
            [name if i == place else names.get(name, name), score] for i, (name, score) in enumerate(vocabulary)
        ]


def _makes_one(pair: "str | list[str]", names: Mapping[str, str]) -> bool:
    """Whether a merge of a BPE makes one of these names, or has one as a part."""
    left, right = pair.split(" ", 1) if isinstance(pair, str) else pair
    return left in names or right in names or left + right in names
