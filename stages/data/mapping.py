"""Turns a raw row into a Row: takes the columns that a source names, and checks them.

It imports nothing heavy, because the driver checks files with it too.
"""

import json
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from stages.config import SourceConfig
from stages.config.languages import language_problem
from stages.rewards.grading import VERIFIERS
from stages.text.language import identify

DOMAINS = ("reasoning", "helpful", "safety")
# Names of roles in ShareGPT and other sets, and ours.
_ROLES = {"human": "user", "gpt": "assistant", "model": "assistant", "bot": "assistant"}


@dataclass(slots=True)
class Row:
    """A row in our schema. Fields that do not apply to the type of row are empty.

    Attributes:
        number: number of the row in its source, from 1; in a JSON Lines file the number of the line.
        where: its place for people, as "line 7" or "part-1.parquet row 7".
        id: what the id column holds, or "".
        prompt: the user's words.
        answer: reference answer, for prompts.
        completion: for SFT pairs and safety labels.
        chosen: the preferred completion of a preference pair.
        rejected: the other completion of a preference pair.
        is_safe: the label of a safety label.
        verifier: what grades completions of the prompt.
        checks: what the verifier needs besides the answer, as JSON.
        language: ISO 639-1 code.
        domain: one of DOMAINS.
        kind: what the kind column holds, or "".
    """

    number: int
    where: str
    id: str
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
    """A row that cannot be used.

    Attributes:
        where: its place for people.
        reason: why, in few words; rows are counted by it.
        detail: why, for people.
        is_fatal: whether data.malformed=fail makes it an error. False for rows that an adapter leaves out on purpose
            (proofs, ties).
    """

    where: str
    reason: str
    detail: str
    is_fatal: bool = True


class RowError(ValueError):
    """Raised for a row that cannot be used; `reason` is what is counted, the message is for people."""

    def __init__(self, reason: str, detail: str):
        super().__init__(detail)
        self.reason = reason


class LeftOut(Exception):
    """Raised by an adapter for a row that is of no use for training; it is counted by the reason and is no mistake."""


def to_row(raw: dict[str, Any], source: SourceConfig, number: int = 0, where: str = "") -> Row:
    """Turns a raw row into a Row.

    Args:
        raw: column -> value, after the source's adapter.
        source: which columns mean what.
        number: number of the row in its source.
        where: its place for people.

    Raises:
        RowError: a column is missing, empty or has a value that is not allowed.
    """
    prompt, answered = _prompt(raw, source)
    row = Row(number, where, text_of(cell(raw, source.id_column)), prompt, kind=text_of(cell(raw, source.kind_column)))
    row.domain = _choice(raw, source.domain_column, source.domain, DOMAINS, "domain")
    row.language = text_of(cell(raw, source.language_column)).lower() or (
        language_of_text(prompt) if source.language == "auto" else source.language
    )
    if why := language_problem(row.language):
        raise RowError("unknown language", f"{source.language_column}: {why}")
    if source.rows == "sft":
        row.completion = answered or _completion(raw, source.completion_column)
    elif source.rows == "preferences":
        row.chosen = _completion(raw, source.chosen_column)
        row.rejected = _completion(raw, source.rejected_column)
        if row.chosen == row.rejected:
            raise RowError(
                "chosen and rejected are the same", f"{source.chosen_column} and {source.rejected_column} are the same"
            )
    elif source.rows == "labels":
        row.completion = answered or _completion(raw, source.completion_column)
        row.is_safe = _label(raw, source.label_column)
    if source.rows == "prompts" and row.domain == "reasoning":
        _add_reference(row, raw, source)
    return row


def cell(raw: dict[str, Any], column: str | None) -> Any:
    """Returns the value of a column, or of a path into one ("a.b"); None where there is none."""
    if not column:
        return None
    if column in raw:
        return raw[column]
    value: Any = raw
    for name in column.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return value


def text_of(value: Any) -> str:
    """Returns the value of a cell as text: lists and mappings as JSON, None as ""."""
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, (dict, list)):
        return json.dumps(value, ensure_ascii=False)
    return "" if value is None else str(value).strip()


def exchange(messages: list, turn: str = "last") -> tuple[str, str]:
    """Takes one exchange out of a chat.

    Several user messages in a row are joined. A system message goes in front of the first exchange's prompt.

    Args:
        messages: the chat; each message has role and content (or from and value).
        turn: "first" or "last" exchange.

    Returns:
        (what the user says, what the assistant answers); the answer is "" where the chat ends with the user.

    Raises:
        RowError: it is not a chat, or the user says nothing.

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
        raise RowError("no user message", "the chat has no user message with text")
    place = 0 if turn == "first" else len(exchanges) - 1
    said, answered = exchanges[place]
    if place == 0:
        said = [system, *said]
    return "\n\n".join(filter(None, said)), "\n\n".join(filter(None, answered))


def language_of_text(text: str) -> str:
    """Returns the ISO 639-1 code of a text's language; ASCII is taken for English without asking, which is fast.

    Most other languages use letters outside of ASCII; for the rest a source has to name its language.
    """
    return "en" if text.isascii() else identify(text)


def _message(message: Any) -> tuple[str, str]:
    """Returns (role, content) of a message of a chat."""
    if not isinstance(message, dict):
        raise RowError(
            "not a chat", f"a chat is a list of messages with role and content, got {type(message).__name__}"
        )
    role, content = message.get("role", message.get("from")), message.get("content", message.get("value"))
    if not isinstance(role, str):
        raise RowError("not a chat", f"a message has no role; it has {', '.join(map(str, message)) or 'nothing'}")
    return _ROLES.get(role, role), text_of(content)


def _prompt(raw: dict[str, Any], source: SourceConfig) -> tuple[str, str]:
    """Returns (prompt, the assistant's answer); the answer is "" where the column is not a chat."""
    column = source.messages_column or source.prompt_column
    value = _need(raw, column)
    if isinstance(value, list):
        try:
            return exchange(value, source.turn)
        except RowError as error:
            raise RowError(error.reason, f"{column}: {error}") from None
    if source.messages_column or not isinstance(value, str) or not value.strip():
        raise RowError(
            f"{column} is empty or not {'a chat' if source.messages_column else 'text'}",
            f"{column} is empty or not {'a list of messages' if source.messages_column else 'text'}",
        )
    return value.strip(), ""


def _completion(raw: dict[str, Any], column: str) -> str:
    """Returns the text of a completion; of a chat, the last message."""
    value = _need(raw, column)
    if isinstance(value, list) and value and isinstance(value[-1], dict):
        value = _message(value[-1])[1]
    text = text_of(value)
    if not text:
        raise RowError(f"{column} is empty", f"{column} is empty")
    return text


def _label(raw: dict[str, Any], column: str) -> bool:
    value = _need(raw, column)
    if isinstance(value, bool) or value in (0, 1):
        return bool(value)
    raise RowError(f"{column} is not true or false", f"{column} must be true or false, got {value!r}")


def _add_reference(row: Row, raw: dict[str, Any], source: SourceConfig) -> None:
    """Fills the answer, the verifier and its checks."""
    row.checks = text_of(cell(raw, source.checks_column))
    row.verifier = _choice(raw, source.verifier_column, source.verifier, VERIFIERS, "verifier")
    row.answer = text_of(cell(raw, source.answer_column))
    if not row.answer and not row.checks:  # the tests of a program are its reference
        _need(raw, source.answer_column)
        raise RowError(f"{source.answer_column} is empty", f"{source.answer_column} is empty")


def _need(raw: dict[str, Any], column: str) -> Any:
    """Returns the value of a column that has to be there."""
    value = cell(raw, column)
    if value is None and column.split(".")[0] not in raw:
        raise RowError(f"no column {column}", f"no column {column}; it has {', '.join(map(str, raw)) or 'none'}")
    return value


def _choice(raw: dict[str, Any], column: str | None, default: str, known: Collection[str], what: str) -> str:
    """Returns what a column names, or the default; it has to be one of the known names."""
    value = text_of(cell(raw, column)) or default
    if value not in known:
        raise RowError(f"unknown {what}", f"{column} names {value!r}; {what}s are {', '.join(known)}")
    return value
