"""Writes text so that others read it as it is meant: overrides for the shell and Hydra, odd text for terminals.

What people are told to type is often a path. Hydra reads parentheses, commas, quotes, `=`, `~` and letters outside of
ASCII as its own grammar or not at all, and the shell has rules of its own on top.
"""

import re
import shlex
import sys
from io import TextIOWrapper

# What Hydra takes as a plain value without quotes; white space at an end it would drop.
_PLAIN = re.compile(r"[\w/.*@%+|:$?-]+(?: +[\w/.*@%+|:$?-]+)*", re.ASCII)
# Plain words that Hydra reads as something else than text.
_NOT_TEXT = re.compile(r"null|true|false|[+-]?(?:\d[\d_]*\.?\d*|\.\d+)(?:e[+-]?\d+)?|[+-]?(?:inf|nan)", re.IGNORECASE)


def print_whatever_the_locale() -> None:
    """Lets this process print any text: letters that the terminal's encoding lacks become escapes, not an error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def hydra_quoted(value: str) -> str:
    """Returns a text as Hydra's grammar wants it: in double quotes where it has to be.

    >>> hydra_quoted("/data/x.jsonl"), hydra_quoted("~/x (1).jsonl")
    ('/data/x.jsonl', '"~/x (1).jsonl"')
    """
    if _PLAIN.fullmatch(value) and not _NOT_TEXT.fullmatch(value) and "${" not in value:
        return value
    escaped = re.sub(r'(\\*)("|$)', lambda found: found[1] * 2 + (r"\"" if found[2] else ""), value)
    return f'"{escaped}"'


def unquoted(value: str) -> str:
    """Returns the text of a value in quotes of Hydra's grammar, any other value as it is.

    >>> unquoted('"/a (1)"'), unquoted("/a")
    ('/a (1)', '/a')
    """
    quote = value[:1]
    if len(value) < 2 or quote not in ("'", '"') or value[-1] != quote:
        return value
    return re.sub(rf"(\\+)({quote}|$)", lambda found: found[1][: len(found[1]) // 2] + found[2], value[1:-1])


def override(key: str, value: str) -> str:
    """Returns KEY=VALUE as it is typed into a shell.

    >>> print(override("data.path", "/my data/x (1).jsonl"))
    'data.path="/my data/x (1).jsonl"'
    """
    return shlex.quote(f"{key}={hydra_quoted(value)}")


def printable(text: str) -> str:
    """Returns a text that can be printed and written: halves of characters as the escapes that stand for them.

    >>> printable("a\\ud800")
    'a\\\\ud800'
    """
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()
