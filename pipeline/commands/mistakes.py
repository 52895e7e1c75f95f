"""What is said of a command line with a mistake in it."""

import difflib
from collections.abc import Iterable

from cyclopts import (
    CoercionError,
    CycloptsError,
    MissingArgumentError,
    UnknownCommandError,
    UnknownOptionError,
    UnusedCliTokensError,
)

from pipeline.commands.declaration import PROGRAM

TAKE_KEYS = ("run", "plan", "deploy", "evaluate", "data")  # commands that take keys of the configuration


def explain(error: CycloptsError, command: str) -> str:
    """What is wrong with a command line, with the nearest word that exists.

    Args:
        error: what the parser has found.
        command: the words of the command as far as they are known, `status` or `data inspect`; empty for none.
    """
    see = f"see {PROGRAM} {command} --help"
    if isinstance(error, UnknownCommandError) and error.unused_tokens and error.app is not None:
        word = error.unused_tokens[0]
        names = [name for name in error.app if not name.startswith("-")]
        what = "flag" if word.startswith("-") else "command"
        return f"{word}: no such {what}; commands are {', '.join(names)}{_hint(word, names)}"
    if isinstance(error, UnknownOptionError):
        word = error.token.keyword or error.token.value
        names = [name for argument in error.argument_collection for name in argument.names if name.startswith("-")]
        known = f"it has {', '.join(names)}" if names else "it has none"
        return f"{word}: {command} knows no such flag; {_as_key(word, command) or known + _hint(word, names)}"
    if isinstance(error, UnusedCliTokensError) and error.unused_tokens:
        return f"{' '.join(error.unused_tokens)}: {command} takes options only; {see}"
    if isinstance(error, MissingArgumentError) and error.argument is not None:
        name = error.keyword or error.argument.name
        if name.lstrip("-").isupper():  # a word without dashes, which the parser calls by its name in the help
            return f"{name.lstrip('-')} is missing; {see}"
        return f"{name} needs a value; {see}"
    if isinstance(error, CoercionError) and error.token is not None and error.target_type is float:
        return f"{error.token.keyword} {error.token.value}: not a number; {see}"
    return f"{error} {see.capitalize()}"


def _as_key(word: str, command: str) -> str:
    """What to say of a flag that is a key here, or that another program has; empty where it is neither."""
    if command.split(" ")[0] not in TAKE_KEYS:
        return ""
    from pipeline.configuration.keys import UnknownKey, look_up  # the overview of the commands needs no schema
    from pipeline.configuration.other_words import key_instead

    name = word.lstrip("-").partition("=")[0].replace("-", "_")
    if said := key_instead(name):
        return said if said.startswith("other programs have") else f"{said}; keys are set as KEY=VALUE"
    try:
        look_up(name)
    except UnknownKey:
        return ""
    return f"keys are set without dashes: {name}=VALUE"


def _hint(word: str, names: Iterable[str]) -> str:
    close = difflib.get_close_matches(word.partition("=")[0], list(names), n=1)
    return f"; did you mean {close[0]}?" if close else ""
