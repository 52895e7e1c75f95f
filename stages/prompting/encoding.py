"""The one way from words to token ids and back, for prompts, completions and training targets of every stage."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any, Protocol

import numpy as np

from stages.prompting.chat_templates import with_instructions
from stages.prompting.control_tokens import ControlTokens, UnencodableText
from stages.prompting.prompt import Prompt
from stages.prompting.templates import apply_template, chat_template_of
from stages.prompting.vocabulary import vocabulary_of
from stages.runtime.errors import InputError
from stages.text.completion import opening_of

Shot = tuple[str, str]  # a worked example: the user's words and the whole completion


class Prompting(Protocol):
    """What a section of the configuration says of prompts: `DataConfig` and `SftConfig` do."""

    @property
    def template(self) -> str:
        """A name or the text of a Jinja template."""

    @property
    def system(self) -> str:
        """What the model is told before every chat."""

    @property
    def examples(self) -> str | None:
        """Worked examples, messages as JSON."""


class Encoder:
    """Encodes for one model: its tokenizer, and the template that its prompts are put into.

    Names of control tokens in words that are not the template's (prompts, examples, traces) stay words. The template's
    own control tokens are control tokens, and <think> is whatever token the tokenizer has for it.
    """

    def __init__(self, tokenizer: Any, template: str, system: str = "", examples: str = ""):
        """Takes the tokenizer of a model and what is written around its prompts.

        Args:
            tokenizer: A Hugging Face tokenizer.
            template: plain, r1_zero, chat, or the text of a Jinja template.
            system: What the model is told before every chat.
            examples: Worked examples before every prompt, messages as JSON.

        Raises:
            InputError: See `with_instructions`.
        """
        self.tokenizer = tokenizer
        self.template = with_instructions(template, system, examples, tokenizer)
        self.vocabulary = vocabulary_of(tokenizer)
        self.chat_template = chat_template_of(self.template, tokenizer)
        # Found out here, because threads that decode must not encode at the same time.
        self.stop_ids = self.vocabulary.stop_ids(self.chat_template)  # end a completion
        self.end_id = self.vocabulary.end_id(self.chat_template)  # ends one in training
        self._prefix, self._anchor = self.vocabulary.prefix, self.vocabulary.anchor

    @cached_property
    def opening(self) -> str:
        """What the template writes of each completion: "<think>" with white space after it, or nothing."""
        return opening_of(self.text("a"))

    @classmethod
    def of(cls, section: Prompting, tokenizer: Any) -> "Encoder":
        """The encoder of a section of the configuration."""
        return cls(tokenizer, section.template, section.system, section.examples or "")

    def text(self, words: str, shots: Sequence[Shot] = (), system: str = "") -> str:
        """The prompt as the model sees it, for people and data files. Raises ValueError as `apply_template` does."""
        return apply_template(words, self.template, self.tokenizer, shots, system)

    def prompt(self, words: str, shots: Sequence[Shot] = (), system: str = "") -> list[int]:
        """Token ids of a prompt, after worked examples and a system message if there are any. Raises as `prompts`."""
        text = self.text(words, shots, system)
        (row,) = self.vocabulary.ids([text])
        if self._needs_care([words, system, *(part for shot in shots for part in shot)], text, row):
            hidden = self._controls.hidden
            hidden_shots = [(hidden(shot), hidden(completion)) for shot, completion in shots]
            row = self._controls.encode(self.text(hidden(words), hidden_shots, hidden(system)))
        return self._with_prefix(row)

    def prompts(self, many: Sequence[str]) -> list[list[int]]:
        """Token ids of many prompts at once, which is faster than one by one.

        Raises:
            UnencodableText: The words of a prompt cannot be told from control tokens; its `place` says which prompt.
            ValueError: The template refuses them.
        """
        texts = [self.text(words) for words in many]
        rows = self.vocabulary.ids(texts)
        for place, words in enumerate(many):
            if self._needs_care([words], texts[place], rows[place]):
                try:
                    rows[place] = self._controls.encode(self.text(self._controls.hidden(words)))
                except UnencodableText as error:
                    error.place = place
                    raise
        return [self._with_prefix(row) for row in rows]

    def _needs_care(self, foreign: Sequence[str], text: str, row: list[int]) -> bool:
        """Whether words that are not the template's name control tokens, or are read as such."""
        controls = self._controls
        return any(map(controls.are_named_in, foreign)) or controls.count(row) != controls.count_names(text)

    def _with_prefix(self, row: list[int]) -> list[int]:
        """The row behind what the tokenizer puts in front of every text, unless a chat template has written it."""
        if not self._prefix or (self.chat_template and self._has_prefix(row)):
            return row
        return self._prefix + row

    def _has_prefix(self, row: list[int]) -> bool:
        first = self._prefix[0]
        return row[:1] == [first] or (first in row and first not in self.stop_ids)

    @property
    def writes_prefix(self) -> bool:
        """Whether the template itself writes what the tokenizer puts in front of every text."""
        return bool(self.chat_template) and self._has_prefix(self.vocabulary.ids([self.text("a")])[0])

    def completions(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of completions, which go on from a prompt, without their end. Raises UnencodableText."""
        anchor, controls = self._anchor, self._controls
        rows = self.vocabulary.ids(list(texts))
        if anchor:
            behind = self.vocabulary.ids([anchor[0] + text for text in texts])
            rows = [self._behind_anchor(row, alone) for row, alone in zip(behind, rows)]
        for place, text in enumerate(texts):
            if controls.are_named_in(text) or controls.count(rows[place]):
                rows[place] = self._careful_completion(place, text)
        return rows

    def _careful_completion(self, place: int, text: str) -> list[int]:
        """The ids of a completion that names control tokens."""
        try:
            hidden, anchor = self._controls.hidden(text), self._anchor
            alone = self._controls.encode(hidden)
            return self._behind_anchor(self._controls.encode(anchor[0] + hidden), alone) if anchor else alone
        except UnencodableText as error:
            error.place = place
            raise

    def targets(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of completions, each with the token that ends it: what supervised stages learn."""
        return [[*row, self.end_id] for row in self.completions(texts)]

    def target(self, text: str) -> list[int]:
        """Token ids of one completion with the token that ends it."""
        return self.targets([text])[0]

    def sampled_target(self, text: str) -> list[int]:
        """As `target`, of what a model of the recipe wrote: where its control tokens cannot be words, they are none."""
        try:
            return self.target(text)
        except UnencodableText:
            return [*self.vocabulary.ids([text])[0], self.end_id]

    def templated(self, text: str) -> list[int]:
        """Token ids of a prompt that some template has been applied to already; its control tokens are the template's.

        Rows of data that keep no words of the user have nothing else.
        """
        return self._with_prefix(self.vocabulary.ids([text])[0])

    def decode(self, rows: Sequence[list[int] | np.ndarray]) -> list[str]:
        """The texts of completions, each without the token that ended it."""
        return decode(rows, self.tokenizer, self.stop_ids)

    def _behind_anchor(self, row: list[int], alone: list[int]) -> list[int]:
        assert self._anchor
        head = self._anchor[1]
        return row[len(head) :] if row[: len(head)] == head else alone

    @cached_property
    def _controls(self) -> ControlTokens:
        return ControlTokens(self.vocabulary, self.text("a"))


def encode_prompts(encoder: Encoder, prompts: Sequence[Prompt]) -> list[list[int]]:
    """Token ids of prompts. Raises InputError, which names the prompt, where one cannot be encoded."""
    try:
        return encoder.prompts([prompt.text for prompt in prompts])
    except UnencodableText as error:
        raise InputError(f"the prompt {prompts[error.place].id} cannot be used: {error}") from error


def decode(rows: Sequence[list[int] | np.ndarray], tokenizer: Any, stop_ids: Sequence[int] | None = None) -> list[str]:
    """The texts of completions without the token that ended each; other special tokens and tags are kept.

    Args:
        rows: Token ids.
        tokenizer: A Hugging Face tokenizer.
        stop_ids: Those that end a completion, where the template adds to them.
    """
    vocabulary = vocabulary_of(tokenizer)
    ends = set(stop_ids if stop_ids is not None else vocabulary.stop_ids())
    lists = [row if isinstance(row, list) else row.tolist() for row in rows]
    lists = [row[:-1] if row and row[-1] in ends else row for row in lists]
    anchor = vocabulary.anchor
    if not anchor:
        return _texts(lists, tokenizer)
    # Behind another text: at the start of one, the decoder takes a space away that the model has written.
    behind, (before,) = _texts([anchor[1] + row for row in lists], tokenizer), _texts([anchor[1]], tokenizer)
    return [
        text.removeprefix(before) if text.startswith(before) else _texts([row], tokenizer)[0]
        for text, row in zip(behind, lists)
    ]


def _texts(rows: Sequence[list[int]], tokenizer: Any) -> list[str]:
    return tokenizer.batch_decode(rows, skip_special_tokens=False, clean_up_tokenization_spaces=False)
