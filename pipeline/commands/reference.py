"""The reference of all commands as Markdown, made from their declarations, for the documentation."""

import re

from cyclopts import App

from pipeline.commands.app import COMMANDS, OVERVIEW, make_app
from pipeline.commands.declaration import PROGRAM
from pipeline.errors import EXIT_CODES


def as_markdown(heading_level: int = 2) -> str:
    """Usage, arguments, options with their defaults, examples and exit codes of every command.

    Args:
        heading_level: how many `#` a command's heading has; a command's own commands have one more.
    """
    app = make_app(loaded=COMMANDS)
    sections = [OVERVIEW, "| exit code | means |\n|---|---|"]
    sections[-1] += "".join(f"\n| {code} | {meaning} |" for code, meaning in EXIT_CODES.items())
    for name in COMMANDS:
        sections += _sections(app[name], f"{PROGRAM} {name}", heading_level)
    return "\n\n".join(sections) + "\n"


def _sections(command: App, name: str, level: int) -> list[str]:
    """A command's section, followed by those of its own commands."""
    text = command.generate_docs(recursive=False, heading_level=level)
    _heading, _, text = text.partition("\n")  # it has the command's last word only
    text = re.split(r"^#+ Table of Contents$", text, flags=re.MULTILINE)[0]  # own commands have sections below
    sections = [f"{'#' * level} {name}\n\n{text.strip()}\n\n{command.help_epilogue or ''}".strip()]
    for word in command:
        if not word.startswith("-"):
            sections += _sections(command[word], f"{name} {word}", level + 1)
    return sections
