"""Reads the files that say what stands around prompts: Jinja templates and worked examples.

Their content takes the place of their paths in the configuration. So it is part of every fingerprint, and a stage
directory needs no other file.
"""

import json
import re
from functools import lru_cache
from pathlib import Path
from typing import Any

from stages.config import ConfigError
from stages.data.readers import read_all

SUFFIXES = (".jinja", ".jinja2", ".j2")
ROLES = {"human": "user", "gpt": "assistant", "model": "assistant"}  # as some sets name them -> ours


def with_prompt_files(tree: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """A composed tree in which templates and examples are their text, and the mistakes in their files.

    A file that cannot be read leaves the default in its place, so that there is one mistake of it.
    """
    mistakes: dict[
        str, str
    ] = {}  # what is wrong with a file -> the first key that names it; other keys follow that one

    def filled(node: Any, key: str) -> Any:
        if not isinstance(node, dict) or key == "eval":
            return node
        return {name: value_of(name, value, f"{key}.{name}" if key else name) for name, value in node.items()}

    def value_of(name: str, value: Any, key: str) -> Any:
        try:
            if name == "template" and isinstance(value, str) and value.endswith(SUFFIXES):
                return template_of(value)
            if name == "examples" and isinstance(value, str) and value and not value.startswith("["):
                return examples_of(value)
        except ConfigError as error:
            for line in error.errors:
                mistakes.setdefault(line, key)
            return "plain" if name == "template" else None
        return filled(value, key)

    return filled(tree, ""), [f"{key}: {line}" for line, key in mistakes.items()]


@lru_cache
def template_of(path: str) -> str:
    """The text of a template file. Raises ConfigError where it cannot be used."""
    from jinja2 import Environment, TemplateSyntaxError

    try:
        text = Path(path).expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError([f"{path} cannot be read as a template: {_why(error)}"]) from None
    if "messages" not in text or ("{{" not in text and "{%" not in text):
        raise ConfigError([f"{path} is no chat template, which writes `messages` in Jinja"])
    try:
        if not re.search(r"{%-?\s*generation", text):  # a tag that transformers adds to Jinja
            Environment(extensions=["jinja2.ext.loopcontrols"]).parse(text)
    except TemplateSyntaxError as error:
        raise ConfigError([f"{path} line {error.lineno}: {error.message}"]) from None
    return text


@lru_cache
def examples_of(path: str) -> str:
    """The worked examples of a file as messages of users and assistants in turn, as JSON.

    Raises:
        ConfigError: it cannot be read, or a row is no example.
    """
    try:
        rows = read_all(Path(path).expanduser())
        messages = [message for where, row in rows for message in _messages(row, where)]
    except (OSError, ValueError) as error:
        why = _why(error).removeprefix(f"data.path={Path(path).expanduser()}: ")
        raise ConfigError([f"{path} cannot be read as worked examples: {why}"]) from None
    for place, message in enumerate(messages):
        wanted = "user" if place % 2 == 0 else "assistant"
        if message["role"] != wanted:
            hint = ": a system prompt is data.system" if message["role"] == "system" else ""
            raise ConfigError([f"{path}: message {place + 1} is of {message['role']}, expected {wanted}{hint}"])
    if not messages or len(messages) % 2:
        raise ConfigError([f"{path}: the last example has no answer of the assistant"])
    return json.dumps(messages, ensure_ascii=False)


def _messages(row: dict[str, Any], where: str) -> list[dict[str, str]]:
    """The messages of a row: a prompt and a completion, a chat, or one message."""
    if "prompt" in row and "completion" in row:
        turns: list[tuple[Any, Any]] = [("user", row["prompt"]), ("assistant", row["completion"])]
    else:
        chat: Any = row.get("messages", row.get("conversations", [row]))
        if not isinstance(chat, list) or not all(isinstance(message, dict) for message in chat):
            raise ValueError(f"{where}: its messages are no list of chat messages")
        turns = [(one.get("role", one.get("from")), one.get("content", one.get("value"))) for one in chat]
    for role, content in turns:
        if not isinstance(role, str) or not isinstance(content, str) or not content.strip():
            expected = "a prompt and a completion, or messages with role and content"
            raise ValueError(f"{where}: expected {expected}; it has {', '.join(row)}")
    return [{"role": ROLES.get(role, role), "content": content} for role, content in turns]


def _why(error: Exception) -> str:
    return f"{error.strerror}" if isinstance(error, OSError) and error.strerror else str(error)
