"""From a raw row to a Row: the columns that a source names, checked. Imports nothing heavy: the driver checks files
with it too.
"""

import json
from dataclasses import dataclass
from typing import Any

from stages.config import SourceConfig
from stages.config.languages import language_problem
from stages.rewards.grading import VERIFIERS
from stages.text.language import identify

DOMAINS = ("reasoning", "helpful", "safety")
_ROLES = {
    "human": "user",
    "gpt": "assistant",
    "model": "assistant",
    "bot": "assistant",
}  # ShareGPT's words, and others seen


@dataclass(slots=True)
class Row:
    """A row in the one schema. What does not apply is empty."""

    number: int  # of the row in its source, from 1: of the line in a JSON Lines file
    where: str  # for people: "line 7", "part-1.parquet row 7"
    id: str  # of the id column, else empty
    prompt: str
    answer: str = ""
    completion: str = ""
    chosen: str = ""
    rejected: str = ""
    is_safe: bool | None = None
    verifier: str = ""
    checks: str = ""
    language: str = ""
    domain: str = "reasoning"
    kind: str = ""


@dataclass(slots=True)
class Malformed:
    """A row that cannot be used. `reason` is what is counted, `detail` is for people."""

    where: str
    reason: str
    detail: str
    is_fatal: bool = (
        True  # False: the adapter leaves such rows out on purpose (proofs, ties), whatever data.malformed says
    )


class Bad(ValueError):
    """A row that cannot be used: reason, detail."""

    def __init__(self, reason: str, detail: str):
        super().__init__(detail)
        self.reason = reason


class LeftOut(Exception):
    """Raised by adapters: rows of this kind are of no use for training; they are counted under the reason and are no
    mistake.
    """


def to_row(raw: dict, source: SourceConfig, number: int = 0, where: str = "") -> Row:
    """Raises Bad with what is wrong."""
    prompt, answered = _prompt(raw, source)
    row = Row(number, where, text_of(cell(raw, source.id_column)), prompt, kind=text_of(cell(raw, source.kind_column)))
    row.domain = _choice(raw, source.domain_column, source.domain, DOMAINS, "domain")
    row.language = text_of(cell(raw, source.language_column)).lower() or (
        language_of_text(prompt) if source.language == "auto" else source.language
    )
    if why := language_problem(row.language):
        raise Bad("unknown language", f"{source.language_column}: {why}")
    if source.rows == "sft":
        row.completion = answered or _completion(raw, source.completion_column)
    elif source.rows == "preferences":
        row.chosen, row.rejected = (
            _completion(raw, column) for column in (source.chosen_column, source.rejected_column)
        )
        if row.chosen == row.rejected:
            raise Bad(
                "chosen and rejected are the same", f"{source.chosen_column} and {source.rejected_column} are the same"
            )
    elif source.rows == "labels":
        row.completion, row.is_safe = (
            answered or _completion(raw, source.completion_column),
            _label(raw, source.label_column),
        )
    if source.rows == "prompts" and row.domain == "reasoning":
        _add_reference(row, raw, source)
    return row


def cell(raw: dict, column: str | None) -> Any:
    """The value of a column, or of a path into one ("a.b"); None where there is none."""
    if not column:
        return None
    if column in raw:
        return raw[column]
    value: Any = raw
    for name in column.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return value


def text_of(value: Any) -> str:
    """A cell as text: lists and mappings as JSON, nothing as the empty text, 7.0 as it is written."""
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, (dict, list)):
        return json.dumps(value, ensure_ascii=False)
    return "" if value is None else str(value).strip()


def exchange(messages: list, turn: str = "last") -> tuple[str, str]:
    """(what the user says, what the assistant answers) of a chat; the answer is empty where the chat ends with the
    user.

    Several user messages in a row are one; a system message goes in front of the first exchange's. Raises Bad.

    >>> exchange([{"role": "user", "content": "2+2?"}, {"role": "assistant", "content": "4"}])
    ('2+2?', '4')
    """
    exchanges: list[tuple[list[str], list[str]]] = []
    system = ""
    for message in messages:
        role, content = _message(message)
        if role == "system":
            system = content
        elif role == "user":
            if not exchanges or exchanges[-1][1]:
                exchanges.append(([], []))
            exchanges[-1][0].append(content)
        elif role == "assistant" and exchanges:
            exchanges[-1][1].append(content)
    exchanges = [both for both in exchanges if any(both[0])]
    if not exchanges:
        raise Bad("no user message", "the chat has no user message with text")
    place = 0 if turn == "first" else len(exchanges) - 1
    said, answered = exchanges[place]
    return "\n\n".join(([system] if system and place == 0 else []) + [text for text in said if text]), "\n\n".join(
        filter(None, answered)
    )


def language_of_text(text: str) -> str:
    """The ISO 639-1 code of its language. ASCII is taken for English, to be fast: other languages have letters outside
    of it, or are to be named.
    """
    return "en" if text.isascii() else identify(text)


def _message(message: Any) -> tuple[str, str]:
    if not isinstance(message, dict):
        raise Bad("not a chat", f"a chat is a list of messages with role and content, got {type(message).__name__}")
    role, content = message.get("role", message.get("from")), message.get("content", message.get("value"))
    if not isinstance(role, str):
        raise Bad("not a chat", f"a message has no role; it has {', '.join(map(str, message)) or 'nothing'}")
    return _ROLES.get(role, role), text_of(content)


def _prompt(raw: dict, source: SourceConfig) -> tuple[str, str]:
    """(prompt, the assistant's answer to it in a chat)."""
    column = source.messages_column or source.prompt_column
    value = _need(raw, column)
    if isinstance(value, list):
        try:
            return exchange(value, source.turn)
        except Bad as error:
            raise Bad(error.reason, f"{column}: {error}") from None
    if source.messages_column or not isinstance(value, str) or not value.strip():
        raise Bad(
            f"{column} is empty or not {'a chat' if source.messages_column else 'text'}",
            f"{column} is empty or not {'a list of messages' if source.messages_column else 'text'}",
        )
    return value.strip(), ""


def _completion(raw: dict, column: str) -> str:
    value = _need(raw, column)
    if isinstance(value, list) and value and isinstance(value[-1], dict):
        value = _message(value[-1])[1]
    text = text_of(value)
    if not text:
        raise Bad(f"{column} is empty", f"{column} is empty")
    return text


def _label(raw: dict, column: str) -> bool:
    value = _need(raw, column)
    if isinstance(value, bool) or value in (0, 1):
        return bool(value)
    raise Bad(f"{column} is not true or false", f"{column} must be true or false, got {value!r}")


def _add_reference(row: Row, raw: dict, source: SourceConfig) -> None:
    row.checks = text_of(cell(raw, source.checks_column))
    row.verifier = _choice(raw, source.verifier_column, source.verifier, VERIFIERS, "verifier")
    row.answer = text_of(cell(raw, source.answer_column))
    if not row.answer and not row.checks:  # the tests of a program are its reference
        _need(raw, source.answer_column)
        raise Bad(f"{source.answer_column} is empty", f"{source.answer_column} is empty")


def _need(raw: dict, column: str) -> Any:
    value = cell(raw, column)
    if value is None and column.split(".")[0] not in raw:
        raise Bad(f"no column {column}", f"no column {column}; it has {', '.join(map(str, raw)) or 'none'}")
    return value


def _choice(raw: dict, column: str | None, default: str, known, what: str) -> str:
    value = text_of(cell(raw, column)) or default
    if value not in known:
        raise Bad(f"unknown {what}", f"{column} names {value!r}; {what}s are {', '.join(known)}")
    return value
