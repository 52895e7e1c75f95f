"""A model that answers: loads a model directory, and streams its completions token by token."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from stages.runtime.errors import InputError, user_errors

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from stages.prompting.encoding import Encoder

Turn = tuple[str, str]  # what was asked, and the completion
Thinking = Literal["auto", "on", "off"]
UNKNOWN_CONTEXT = 4096  # tokens, of a model whose configuration does not say what it can hold
# What templates call the switch: DeepSeek-R1's and ours, and Qwen3's.
THINKING_VARIABLES = ("thinking", "enable_thinking")


@dataclass(frozen=True)
class Sampling:
    """How completions are drawn."""

    temperature: float = 0.6  # 0: the most likely token every time
    max_tokens: int = 0  # 0: what the context leaves
    seed: int = 0


class ChatModel:
    """A model with its tokenizer and its template."""

    def __init__(self, directory: Path, name: str, template: str, system: str = "", thinking: Thinking = "auto"):
        """Loads the model.

        Args:
            directory: Of the model, with its tokenizer.
            name: What people call it.
            template: plain, r1_zero, chat, a file FILE.jinja, or auto: chat where its tokenizer has a template.
            system: What the model is told before every prompt.
            thinking: Whether the template is told to begin with a thought; auto: as it does by itself.

        Raises:
            InputError: The model or the template cannot be used.
        """
        import torch

        from stages.modeling.model import load_model, load_tokenizer
        from stages.modeling.ready import require_rows

        self.name = name
        self.tokenizer: PreTrainedTokenizerBase = load_tokenizer(directory)
        self.model: PreTrainedModel = load_model(directory).eval()
        require_rows(self.model, self.tokenizer)
        self.encoder = _encoder(self.tokenizer, template, system, thinking)
        if torch.cuda.is_available():
            self.model.cuda()
        self.context = getattr(self.model.config.get_text_config(), "max_position_embeddings", UNKNOWN_CONTEXT)

    @property
    def is_of_one_prompt(self) -> bool:
        """Whether it was trained on single prompts: its template has no place for earlier turns."""
        return self.encoder.chat_template is None

    def warnings(self, words: str) -> list[str]:
        """What a user should know of a prompt before the answer."""
        unknown_id = self.encoder.tokenizer.unk_token_id
        ids = self.encoder.prompt(words)
        unknown = sum(token == unknown_id for token in ids) if unknown_id is not None else 0
        if not unknown:
            return []
        return [
            f"{unknown} words of this prompt are not in the vocabulary of {self.name}; the tiny world's models know "
            "prompts like 'what is24-3+7+2?', without spaces around numbers"
        ]

    def stream(self, words: str, earlier: Sequence[Turn], sampling: Sampling, say: Callable[[str], None]) -> "Stream":
        """The completion of a prompt, as an iterator over pieces of text.

        Args:
            words: The prompt.
            earlier: Turns before it. Where they do not fit the context, the oldest are left out.
            sampling: How tokens are drawn.
            say: Takes what a user should know.

        Raises:
            InputError: The prompt alone does not fit.
        """
        ids, num_forgotten = self._fitting(words, list(earlier))
        if num_forgotten:
            say(f"{self.name}: the context holds {self.context:,} tokens: {num_forgotten} earlier turns left out")
        return Stream(self, ids, sampling)

    def _fitting(self, words: str, earlier: list[Turn]) -> tuple[list[int], int]:
        """(token ids of the prompt behind as many turns as fit, the number of turns left out)."""
        for num_forgotten in range(len(earlier) + 1):
            with user_errors():
                ids = self.encoder.prompt(words, earlier[num_forgotten:])
            if len(ids) < self.context:
                return ids, num_forgotten
        raise InputError(
            f"{self.name}: the prompt has {len(ids):,} tokens, its context holds {self.context:,}: shorten it"
        )


class Stream:
    """A completion while it is drawn. Iterating gives pieces of text; afterwards it knows how it went."""

    def __init__(self, source: ChatModel, prompt_ids: list[int], sampling: Sampling):
        self._source, self._prompt_ids, self._sampling = source, prompt_ids, sampling
        self.text = ""  # all of the completion so far, with what the template wrote of it
        self.num_tokens = 0
        self.seconds = 0.0
        self.is_cut = False  # by the limit, not by the model

    def __iter__(self) -> Iterator[str]:
        import torch

        encoder, completion = self._source.encoder, list[int]()
        started = time.monotonic()
        if encoder.opening:
            yield self._grown(encoder.opening)
        room = self._source.context - len(self._prompt_ids)
        limit = min(self._sampling.max_tokens or room, room)
        device = self._source.model.device
        draws = torch.Generator(device=device).manual_seed(self._sampling.seed)
        ids, cache = torch.tensor([self._prompt_ids], device=device), None  # [1, T]: the prompt, then a token a time
        shown = ""
        for _ in range(limit):
            with torch.no_grad():  # not around the yields: they hand over to others
                output = self._source.model(input_ids=ids, past_key_values=cache, use_cache=True)
            cache = output.past_key_values
            token = _draw(output.logits[0, -1], self._sampling.temperature, draws)
            self.seconds = time.monotonic() - started
            if token in encoder.stop_ids:
                return
            completion.append(token)
            self.num_tokens = len(completion)
            (decoded,) = encoder.decode([completion])
            if decoded.startswith(shown) and not decoded.endswith("\ufffd"):  # half of a character: wait for the rest
                piece, shown = decoded[len(shown) :], decoded
                yield self._grown(piece)
            ids = torch.tensor([[token]], device=device)
        self.is_cut = True

    def _grown(self, piece: str) -> str:
        self.text += piece
        return piece

    def speed(self) -> str:
        """Tokens, and how fast they came, in words."""
        speed = self.num_tokens / self.seconds if self.seconds else 0.0
        cut = ", cut at the limit" if self.is_cut else ""
        return f"{self.num_tokens:,} tokens, {speed:,.0f} a second{cut}"


def _draw(logits_V: "torch.Tensor", temperature: float, draws: "torch.Generator") -> int:
    import torch

    if temperature == 0:
        return int(logits_V.argmax())
    return int(torch.multinomial(torch.softmax(logits_V.float() / temperature, -1), 1, generator=draws))


def _encoder(tokenizer: "PreTrainedTokenizerBase", template: str, system: str, thinking: Thinking) -> "Encoder":
    """What puts prompts before the model. Raises InputError for a template that it cannot be."""
    from stages.prompting.encoding import Encoder
    from stages.prompting.vocabulary import own_chat_template

    if template == "auto":
        template = "chat" if own_chat_template(tokenizer) else "plain"
    elif Path(template).suffix:
        template = Path(template).read_text(encoding="utf-8")
    if thinking != "auto":
        template = _with_thinking(template, tokenizer, thinking == "on")
    with user_errors():
        encoder = Encoder(tokenizer, template, system)
        encoder.prompt("a")
    return encoder


def _with_thinking(template: str, tokenizer: "PreTrainedTokenizerBase", is_on: bool) -> str:
    """The text of a chat template with the switch for thoughts set; the template decides what it makes of it."""
    from stages.prompting.templates import chat_template_of

    text = chat_template_of(template, tokenizer)
    if text is None:
        raise InputError(f"--thinking is a switch of chat templates, and {template} is none: leave it out")
    if not any(name in text for name in THINKING_VARIABLES):
        raise InputError("--thinking: the chat template of this model has no such switch: leave it out")
    value = "true" if is_on else "false"
    return "".join(f"{{% set {name} = {value} %}}" for name in THINKING_VARIABLES) + text
