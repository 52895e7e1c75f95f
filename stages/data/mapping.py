"""Turns a raw row into a Row: takes the columns that a source names, and checks them.

It imports nothing heavy, because the driver checks files with it too.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from stages.config import SourceConfig
from stages.config.languages import language_problem
from stages.data.cells import answer_of, checks_of, completion_of, empty, name_of, prompt_of
from stages.data.chats import chat_in, content_text, exchange, has_parts, last_answer, parts_in_text
from stages.data.malformed import RowError
from stages.rewards.grading import VERIFIERS
from stages.text.language import identify

DOMAINS = ("reasoning", "helpful", "safety")
_LABELS = {"true": True, "1": True, "false": False, "0": False}  # as CSV files write them


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
    row = Row(number, where, _name(raw, source.id_column), prompt, kind=_name(raw, source.kind_column))
    row.domain = _choice(raw, source.domain_column, source.domain, DOMAINS, "domain")
    row.language = _name(raw, source.language_column).lower() or (
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


def language_of_text(text: str) -> str:
    """Returns the ISO 639-1 code of a text's language; ASCII is taken for English without asking, which is fast.

    Most other languages use letters outside of ASCII; for the rest a source has to name its language.
    """
    return "en" if text.isascii() else identify(text)


def _name(raw: dict[str, Any], column: str | None) -> str:
    """Returns the text of a column that may be empty; "" where the source names none."""
    return name_of(cell(raw, column), column) if column else ""


def _prompt(raw: dict[str, Any], source: SourceConfig) -> tuple[str, str]:
    """Returns (prompt, the assistant's answer); the answer is "" where the column is not a chat."""
    column = source.messages_column or source.prompt_column
    value = _need(raw, column)
    if (chat := chat_in(value, column)) is not None:
        try:
            return exchange(chat, source.turn)
        except RowError as error:
            raise RowError(error.reason, f"{column}: {error}") from None
    if source.messages_column:
        raise RowError(f"{column} is empty or not a chat", f"{column} is empty or not a list of messages")
    return prompt_of(_without_parts(value, column), column), ""


def _completion(raw: dict[str, Any], column: str) -> str:
    """Returns the text of a completion; of a chat, the last message."""
    value = _need(raw, column)
    if (chat := chat_in(value, column)) is not None and (not chat or isinstance(chat[0], dict)):
        value = last_answer(chat, column)
    return completion_of(_without_parts(value, column), column)


def _without_parts(value: Any, column: str) -> Any:
    """Returns the text of a cell that holds content parts, also as JSON; any other cell as it is."""
    if isinstance(value, str):
        value = parts_in_text(value) or value
    return content_text(value, column) if has_parts(value) else value


def _label(raw: dict[str, Any], column: str) -> bool:
    value = _need(raw, column)
    if isinstance(value, str):
        value = _LABELS.get(value.strip().lower(), value)
    if isinstance(value, (bool, int, float)) and value in (0, 1):
        return bool(value)
    raise RowError(f"{column} is not true or false", f"{column} must be true or false, got {value!r}")


def _add_reference(row: Row, raw: dict[str, Any], source: SourceConfig) -> None:
    """Fills the answer, the verifier and its checks."""
    row.checks = checks_of(cell(raw, source.checks_column), source.checks_column)
    row.verifier = _choice(raw, source.verifier_column, source.verifier, VERIFIERS, "verifier")
    row.answer = answer_of(cell(raw, source.answer_column), source.answer_column, row.verifier)
    if not row.answer and not row.checks:  # the tests of a program are its reference
        raise empty(source.answer_column, _need(raw, source.answer_column))


def _need(raw: dict[str, Any], column: str) -> Any:
    """Returns the value of a column that has to be there."""
    value = cell(raw, column)
    if value is None and column.split(".")[0] not in raw:
        raise RowError(f"no column {column}", f"no column {column}; it has {', '.join(map(str, raw)) or 'none'}")
    return value


def _choice(raw: dict[str, Any], column: str | None, default: str, known: Collection[str], what: str) -> str:
    """Returns what a column names, or the default; it has to be one of the known names."""
    value = _name(raw, column) or default
    if value not in known:
        raise RowError(f"unknown {what}", f"{column} names {value!r}; {what}s are {', '.join(known)}")
    return value
