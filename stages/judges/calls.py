"""One call of a chat model and its reply: plain data, and what a client of such a model can do."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Call:
    job: str  # what the reply is for, as the ledger names it
    system: str
    user: str
    schema: dict | None = None  # of the JSON that the reply should be
    seed: int = 0  # of the sampling, where the temperature is above 0


@dataclass(frozen=True)
class Reply:
    """`text` None: the model will not or cannot answer this call, whoever asks again; `problem` says why."""

    text: str | None
    prompt_tokens: int = 0
    completion_tokens: int = 0
    retries: int = 0
    problem: str = ""
    is_cut: bool = False  # ended by max_tokens


class JudgeUnavailable(RuntimeError):
    """No reply although all retries were made; the message says who was asked, how long was waited and what came back
    last.
    """


OnReply = Callable[[int, Reply], None]
OnFailure = Callable[[int, JudgeUnavailable], None]


class ChatModel(Protocol):
    def check(self) -> None:
        """Raises InputError if it cannot be asked: unreachable, an unknown model, a missing key."""

    def complete(self, calls: list[Call], on_reply: OnReply, on_failure: OnFailure | None = None) -> None:
        """Answers all calls, `on_reply(i, reply)` as each is there. Raises JudgeUnavailable; what came before is kept.
        With `on_failure`, a call that fails while the model can still be asked (see `check`) is handed there, and the
        others go on.
        """

    def close(self) -> None: ...


def key_of(call: Call, model: str, temperature: float, max_tokens: int, structured: bool) -> str:
    """What a reply depends on, as one hash: model, words, schema and settings. The seed counts only where there is a
    draw.
    """
    told = [
        model,
        call.system,
        call.user,
        call.schema if structured else None,
        temperature,
        max_tokens,
        call.seed if temperature > 0 else 0,
    ]
    return hashlib.sha256(json.dumps(told, sort_keys=True, ensure_ascii=False).encode()).hexdigest()
