"""What a tokenizer does besides splitting a text: what it adds, what ends a turn, which of its tokens control a model.

A tokenizer's own encoding of a text is not what a model is to see: it may append an end of sequence, put a space in
front, and read `<|im_end|>` in a user's problem as the end of the user's turn.
"""

import re
import weakref
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from stages.contract.files import find_json
from stages.text.completion import TAGS

_SPACE_MARKS = ("▁", "Ġ", " ")  # how tokenizers write the space that they put in front of a text
_ANCHORS = ("\n", "|", ":", "0")  # texts that rarely merge with what follows them
_NESTED_CONFIGS = ("text_config", "language_config", "llm_config")  # of models that read more than text
_UNKNOWN = "\U000f1234 \ua66e \U00013000 \u2603"  # characters that hardly any vocabulary has
_ANSWER = "zqanswerqz"  # a text that no template contains


class Vocabulary:
    """What one tokenizer adds, and which of its tokens control a model. Use `vocabulary_of`, which keeps it."""

    def __init__(self, tokenizer: Any):
        self._tokenizer = weakref.ref(tokenizer)
        self._turn_ends: dict[str | None, list[int]] = {}

    @property
    def tokenizer(self) -> Any:
        """The tokenizer itself, which this does not keep alive."""
        return self._tokenizer()

    def ids(self, texts: list[str]) -> list[list[int]]:
        """Token ids of texts in which control tokens are control tokens, without anything added around them."""
        options = {"split_special_tokens": False} if getattr(self.tokenizer, "split_special_tokens", False) else {}
        return self.tokenizer(texts, add_special_tokens=False, **options)["input_ids"] if texts else []

    @cached_property
    def prefix(self) -> list[int]:
        """What the tokenizer puts in front of every text: nothing, <bos>, or what its family has (`[gMASK]<sop>`).

        What it puts behind a text (an end of sequence, [SEP]) is no part of a prompt, which the model continues.
        """
        for text in ("a", "1", "."):
            (plain,), (whole,) = self.ids([text]), self.tokenizer([text])["input_ids"]
            if plain:
                starts = [i for i in range(len(whole)) if whole[i : i + len(plain)] == plain]
                return whole[: starts[0]] if starts else []
        bos = self.tokenizer.bos_token_id
        return [bos] if bos is not None and whole[:1] == [bos] else []

    @cached_property
    def anchor(self) -> tuple[str, list[int]] | None:
        """A text with its ids, for tokenizers that put a space in front of every text; None for all others.

        A text that goes on from another one has no such space, so it is encoded and decoded behind the anchor.
        """
        (alone,) = self.ids(["a"])
        if not alone or not str(self.tokenizer.convert_ids_to_tokens(alone[:1])[0]).startswith(_SPACE_MARKS):
            return None
        for text in _ANCHORS:
            head, *rows = self.ids([text, *(text + probe for probe in ("a", "<think>", "7", " a"))])
            if head and all(row[: len(head)] == head for row in rows):
                return text, head
        return None

    @cached_property
    def added(self) -> dict[str, int]:
        """The tokens that are found in a text before the model of the tokenizer reads it, and all special ones."""
        tokenizer = self.tokenizer
        names = {str(token): i for i, token in getattr(tokenizer, "added_tokens_decoder", {}).items()}
        for name in getattr(tokenizer, "all_special_tokens", []):
            names.setdefault(str(name), tokenizer.convert_tokens_to_ids(name))
        return names

    @cached_property
    def _configured(self) -> dict[str, list[int]]:
        """The end-of-sequence ids of the files in the tokenizer's directory, by file.

        Ids outside the vocabulary can never be drawn and are left out.
        """
        path = str(getattr(self.tokenizer, "name_or_path", "") or "")
        if not path or not Path(path).is_dir():
            return {}
        model = find_json(Path(path) / "config.json")
        model = model if isinstance(model, dict) else {}
        nested = [model[name] for name in _NESTED_CONFIGS if isinstance(model.get(name), dict)]
        sizes = [config["vocab_size"] for config in (model, *nested) if isinstance(config.get("vocab_size"), int)]
        limit = max(sizes) if sizes else len(self.tokenizer)
        generation = find_json(Path(path) / "generation_config.json")
        sources = {"generation_config.json": [generation], "config.json": [model, *nested]}
        return {
            file: list(
                dict.fromkeys(
                    token
                    for config in configs
                    if isinstance(config, dict)
                    for token in whole_ids(config.get("eos_token_id"))
                    if token < limit
                )
            )
            for file, configs in sources.items()
        }

    def turn_ends(self, chat_template: str | None) -> list[int]:
        """The tokens that a chat template writes right behind the assistant's words, as <|im_end|>; mostly one."""
        if chat_template not in self._turn_ends:
            self._turn_ends[chat_template] = self._find_turn_ends(chat_template) if chat_template else []
        return self._turn_ends[chat_template]

    def _find_turn_ends(self, chat_template: str) -> list[int]:
        names = {name: token for name, token in self.added.items() if _is_markup(name)}
        if not names:
            return []
        turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": _ANSWER}]
        try:
            text = self.tokenizer.apply_chat_template(turns, tokenize=False, chat_template=chat_template)
        except Exception:  # a template may refuse anything, in any way: then it says nothing of its ends
            return []
        if _ANSWER not in text:
            return []
        one = re.compile(rf"\s*({any_of(names)})")
        rest, ends = text.rpartition(_ANSWER)[2], []
        while match := one.match(rest):
            ends.append(names[match[1]])
            rest = rest[match.end() :]
        return ends

    def ends_by_source(self, *chat_templates: str | None) -> dict[str, list[int]]:
        """The ids that end a completion, by what names them.

        That are the tokenizer, generation_config.json, config.json, and the chat templates with their end of turn: the
        tokenizer's own one and the given ones.
        """
        eos = getattr(self.tokenizer, "eos_token_id", None)
        templates = (own_chat_template(self.tokenizer), *chat_templates)
        turns = [token for template in templates for token in self.turn_ends(template)[:1]]
        ends = {"tokenizer": [eos] if eos is not None else [], **self._configured}
        return ends | {"chat template": list(dict.fromkeys(turns))}

    def stop_ids(self, *chat_templates: str | None) -> list[int]:
        """The ids that end a completion: those of all sources, each once."""
        ends = self.ends_by_source(*chat_templates)
        return list(dict.fromkeys(token for tokens in ends.values() for token in tokens))

    def end_id(self, chat_template: str | None = None) -> int:
        """The id that ends a completion in training.

        It is the end of turn of the chat template where the model is known to stop there, else the end of sequence:
        many bases have a chat template whose end of turn they were never trained on.
        """
        eos = self.tokenizer.eos_token_id
        known = {eos, *(token for tokens in self._configured.values() for token in tokens)}
        return next((token for token in self.turn_ends(chat_template) if token in known), eos)

    def controls(self, rendered: str) -> dict[str, int]:
        """The tokens that control the model: special ones, those that end a turn, and those that a template writes.

        The tags of thoughts and answers are none: they are words of the completion, whatever token they are.

        Args:
            rendered: A prompt with harmless words, as the template writes it.
        """
        tokenizer = self.tokenizer
        special = {str(name) for name in getattr(tokenizer, "all_special_tokens", [])}
        special |= {
            str(token)
            for token in getattr(tokenizer, "added_tokens_decoder", {}).values()
            if getattr(token, "special", False)
        }
        ends = set(self.stop_ids())
        # Where unknown words become a token of their own, its name in a text is one more unknown word.
        roles = {getattr(tokenizer, f"{role}_token_id", None) for role in ("bos", "pad")} | ends
        harmless = set(self.ids([_UNKNOWN])[0]) - roles
        return {
            name: token
            for name, token in self.added.items()
            if name.strip()
            and name not in TAGS
            and token not in harmless
            and (name in special or token in ends or (_is_markup(name) and name in rendered))
        }


_KEPT: "weakref.WeakKeyDictionary[Any, Vocabulary]" = weakref.WeakKeyDictionary()


def vocabulary_of(tokenizer: Any) -> Vocabulary:
    """What is known of a tokenizer; found out once."""
    if tokenizer not in _KEPT:
        _KEPT[tokenizer] = Vocabulary(tokenizer)
    return _KEPT[tokenizer]


def own_chat_template(tokenizer: Any) -> str | None:
    """The chat template of a tokenizer, the default one of several; None where it has none."""
    template = getattr(tokenizer, "chat_template", None)
    return template.get("default") if isinstance(template, dict) else template or None


def whole_ids(value: Any) -> list[int]:
    """The token ids of a configuration's `eos_token_id`: one, a list of them, or null."""
    values: Sequence[Any] = value if isinstance(value, (list, tuple)) else [value]
    return [token for token in values if isinstance(token, int) and not isinstance(token, bool) and token >= 0]


def _is_markup(name: str) -> bool:
    """Whether an added token looks like one that structures a chat, and is no tag of a thought or an answer.

    Tokenizers also add words and runs of spaces.
    """
    return name not in TAGS and bool(re.search(r"[<\[{|｜]", name))


def any_of(names: Any) -> str:
    """A regular expression for any of these texts, the longest first."""
    return "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True))
