"""Chats as data sets write them: which cells are chats, and the exchange that becomes a prompt and its completion.

Roles, the names of the keys and the form differ between sets: a list of messages, the same as JSON text, a mapping of
lists. The content of a message is text or a list of parts, of which only text can be used.
"""

import ast
import json
import warnings
from typing import Any

from stages.data.cells import kind_of, text_of
from stages.data.malformed import RowError

_ROLES = {
    **dict.fromkeys(("user", "human", "prompter"), "user"),
    **dict.fromkeys(("assistant", "gpt", "model", "bot", "chatbot", "chatgpt", "ai", "bard", "bing"), "assistant"),
    **dict.fromkeys(("system", "developer"), "system"),
    **dict.fromkeys(
        ("tool", "function", "ipython", "observation", "environment", "function_call", "tool_call", "tool_response"),
        "tool",
    ),
}
# Where servers and data sets put the chain of thought of an assistant's message, if not into its content.
_THOUGHT_KEYS = ("reasoning_content", "reasoning", "thinking")
_TEXT_PARTS = ("text", "input_text", "output_text")
_OTHER_PARTS = ("image", "image_url", "input_image", "audio", "input_audio", "video", "video_url", "file", "input_file")


def chat_in(value: Any, column: str = "the cell") -> list | None:
    """Returns the messages of a cell that is a chat in one of its forms, None for any other cell.

    Args:
        value: the cell.
        column: its column, for the message.

    Raises:
        RowError: a text begins as a chat does, and cannot be read.
    """
    if isinstance(value, str):
        return _chat_in_text(value, column)
    if isinstance(value, tuple):
        value = list(value)
    if isinstance(value, dict):
        role, content = _role_and_content(value)
        if isinstance(role, list) and isinstance(content, list):  # how `datasets` once stored a list of mappings
            return [{"role": one, "content": other} for one, other in zip(role, content, strict=True)]
        if isinstance(role, str):
            return [value]
        for name in ("messages", "conversations", "conversation"):
            if isinstance(value.get(name), list):
                return value[name]
        return None
    return value if isinstance(value, list) and not _is_parts(value) else None


def exchange(messages: list, turn: str = "last") -> tuple[str, str]:
    """Takes one exchange out of a chat.

    Several user messages in a row are joined. System messages go in front of the first exchange's prompt.

    Args:
        messages: the chat; each message has role and content (or from and value).
        turn: "first" or "last" exchange.

    Returns:
        (what the user says, what the assistant answers); the answer is "" where the chat ends with the user.

    Raises:
        RowError: it is not a chat, the user says nothing, or the exchange holds more than text.

    >>> exchange([{"role": "user", "content": "2+2?"}, {"role": "assistant", "content": "4"}])
    ('2+2?', '4')
    """
    exchanges: list[tuple[list[str], list[str]]] = []
    system: list[str] = []
    with_tools: set[int] = set()  # places of exchanges that call tools
    for message in messages:
        role, content, calls_tools = _message(message)
        if role == "system":
            system.append(content)
        elif role == "user":
            if not exchanges or exchanges[-1][1]:
                exchanges.append(([], []))
            exchanges[-1][0].append(content)
        elif role == "assistant" and exchanges:
            exchanges[-1][1].append(content)
        if calls_tools and exchanges:
            with_tools.add(len(exchanges) - 1)
    places = [place for place, both in enumerate(exchanges) if any(both[0])]
    if not places:
        raise RowError("no user message", "the chat has no user message with text")
    place = places[0] if turn == "first" else places[-1]
    if place in with_tools:
        raise RowError("a chat with tools", f"the {turn} exchange calls tools: its answer is not by the model alone")
    said, answered = exchanges[place]
    if place == places[0]:
        said = [*system, *said]
    return "\n\n".join(filter(None, said)), "\n\n".join(filter(None, answered))


def last_answer(messages: list, column: str) -> str:
    """Returns the text of a chat's last message, which has to be the assistant's."""
    role, content, calls_tools = _message(messages[-1]) if messages else ("", "", False)
    if role != "assistant" or calls_tools:
        raise RowError(
            f"{column} does not end with the assistant", f"{column} is a chat that ends with {role or 'nothing'}"
        )
    return content


def content_text(content: Any, column: str = "content") -> str:
    """Returns the text of a message's content, or of a cell that holds content parts; "" where there is none.

    Raises:
        RowError: a part is no text, as images are.
    """
    if isinstance(content, dict):
        content = [content]
    if not isinstance(content, list):
        return text_of(content, column)
    return "\n".join(filter(None, (_part_text(part, column) for part in content)))


def has_parts(value: Any) -> bool:
    """Returns whether a cell is a list of content parts, rather than a chat."""
    return isinstance(value, list) and _is_parts(value)


def parts_in_text(text: str) -> list | None:
    """Returns the content parts that a text holds as JSON, None for any other text."""
    if not text.startswith(("[{", "[ {")):
        return None
    value = _read(text)
    kinds = [part.get("type") for part in value] if has_parts(value) and all(type(p) is dict for p in value) else []
    return value if kinds and all(kind in (*_TEXT_PARTS, *_OTHER_PARTS) for kind in kinds) else None


def _is_parts(value: list) -> bool:
    """Whether a list holds content parts: mappings with a type, or with a text, and no role."""
    return any(isinstance(part, dict) for part in value) and all(
        isinstance(part, str)
        or (isinstance(part, dict) and _role_and_content(part)[0] is None and ("type" in part or "text" in part))
        for part in value
    )


def _part_text(part: Any, column: str) -> str:
    if isinstance(part, str):
        return text_of(part, column)
    if not isinstance(part, dict):
        raise RowError(f"{column} has parts that are no text", f"{column} has a part that is {kind_of(part)}")
    kind = part.get("type", "text")
    if kind not in _TEXT_PARTS:
        raise RowError(
            f"{column} has parts that are no text", f"{column} has a part of type {kind!r}: only text can be used"
        )
    return text_of(part.get("text"), column)


def _message(message: Any) -> tuple[str, str, bool]:
    """Returns (role, content, whether it calls a tool or is a tool's) of a message of a chat."""
    if not isinstance(message, dict):
        raise RowError("not a chat", f"a chat is a list of messages with role and content, got {kind_of(message)}")
    role, content = _role_and_content(message)
    if not isinstance(role, str):
        raise RowError("not a chat", f"a message has no role; it has {', '.join(map(str, message)) or 'nothing'}")
    known = _ROLES.get(role.strip().lower())
    if known is None:
        raise RowError("unknown role", f"a message has the role {role!r}; roles are user, assistant, system and tool")
    calls_tools = known == "tool" or bool(message.get("tool_calls") or message.get("function_call"))
    text = "" if known == "tool" else content_text(content)
    return known, _with_thought(message, text) if known == "assistant" else text, calls_tools


def _with_thought(message: dict, text: str) -> str:
    """Puts the thought that servers give in a key of its own before the text, in the tags that models write."""
    thought = next((message[key] for key in _THOUGHT_KEYS if isinstance(message.get(key), str) and message[key]), "")
    return text if not thought or "<think>" in text else f"<think>{thought}</think>\n{text}"


def _role_and_content(message: dict) -> tuple[Any, Any]:
    return message.get("role", message.get("from")), message.get("content", message.get("value"))


def _chat_in_text(text: str, column: str) -> list | None:
    """The chat that a text holds as JSON, or as Python prints it; a text that only talks of chats is none."""
    text = text.strip()
    if not (text[:1] in ("[", "{") and text[-1:] in ("]", "}")):
        return None
    quoted = {f"{quote}{name}{quote}" for quote in "\"'" for name in ("role", "from", "messages", "conversations")}
    if not any(name in text for name in quoted):
        return None
    value = _read(text)
    messages = chat_in(value, column) if isinstance(value, (list, dict)) else None
    if messages and all(_is_message(message) for message in messages):
        return messages
    if value is None and text.startswith(('[{"role"', "[{'role'", '[{"from"', "[{'from'")):
        raise RowError(
            f"{column} is not a readable chat", f"{column} begins as a chat does, and is neither JSON nor text"
        )
    return None


def _is_message(message: Any) -> bool:
    """Whether a mapping has a role that is known and a content, so that it is surely a message."""
    if not isinstance(message, dict):
        return False
    role, _ = _role_and_content(message)
    return (
        isinstance(role, str) and role.lower() in _ROLES and bool({"content", "value", "tool_calls"} & message.keys())
    )


def _read(text: str) -> Any:
    """The value of a text in JSON, or as Python prints lists and mappings; None where it is neither."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    try:
        with warnings.catch_warnings(action="ignore"):  # of escapes such as \\d, which Python prints as they are
            return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
        return None
