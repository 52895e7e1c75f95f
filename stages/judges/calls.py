"""One call of a chat model and its reply as plain data, and what a client of such a model can do."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from stages.runtime.errors import Passing


@dataclass(frozen=True)
class Call:
    """One question to a chat model."""

    job: str  # what the reply is for, as the ledger names it
    system: str
    user: str
    schema: dict[str, Any] | None = None  # of the JSON that the reply should be
    seed: int = 0  # of the sampling, where the temperature is above 0


@dataclass(frozen=True)
class Reply:
    """What came back. A `text` of None: the model cannot or will not answer this call, whoever asks again."""

    text: str | None
    prompt_tokens: int = 0
    completion_tokens: int = 0
    retries: int = 0
    problem: str = ""  # why there is no text
    is_cut: bool = False  # ended by max_tokens


class JudgeUnavailable(Passing, RuntimeError):
    """No reply came although all retries were made.

    The message says who was asked, how long was waited and what came back last.
    """


OnReply = Callable[[int, Reply], None]  # (place of the call, its reply)
OnFailure = Callable[[int, JudgeUnavailable], None]


class ChatModel(Protocol):
    """A client of a chat model."""

    def check(self) -> None:
        """Raises InputError if the model cannot be asked: unreachable, unknown, without a key."""

    def complete(self, calls: list[Call], on_reply: OnReply, on_failure: OnFailure | None = None) -> None:
        """Answers all calls; `on_reply(i, reply)` is called as soon as each reply is there.

        With `on_failure`, a call that fails while the model can still be asked (see `check`) is handed there, and the
        others go on.

        Raises:
            JudgeUnavailable: A call failed, and not only that one; replies that came before were handed over.
        """

    def close(self) -> None:
        """Gives back the memory of a local model."""


def key_of(call: Call, model: str, temperature: float, max_tokens: int, structured: bool) -> str:
    """What a reply depends on, as one hash: model, words, schema and settings.

    The seed counts only where there is a draw.
    """
    depends_on = [
        model,
        call.system,
        call.user,
        call.schema if structured else None,
        temperature,
        max_tokens,
        call.seed if temperature > 0 else 0,
    ]
    return hashlib.sha256(json.dumps(depends_on, sort_keys=True, ensure_ascii=False).encode()).hexdigest()
