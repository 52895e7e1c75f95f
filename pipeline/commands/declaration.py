"""How a command is declared: its name, its examples, its exit codes, and the options that several commands have.

A command is a function. Its signature gives the arguments and options, its docstring their help; `declare` adds what
neither can say. The help on the terminal and the reference of the documentation are both made from these.
"""

from collections.abc import Mapping
from typing import Annotated

from cyclopts import App, Group, Parameter

from pipeline.errors import EXIT_CODES

PROGRAM = "r1"

ARGUMENTS = Group("Arguments", sort_key=1)
OPTIONS = Group("Options", sort_key=2)

# Words without a dash. Each command's docstring says which keys it takes.
Overrides = Annotated[str, Parameter(name="KEY=VALUE", group=ARGUMENTS)]


def flag(*names: str, group: Group = OPTIONS) -> Parameter:
    """An option that is given or not: `json: Annotated[bool, flag("--json")] = False`."""
    return Parameter(name=names, negative=(), show_default=False, allow_repeating=True, group=group)


def option(
    *names: str,
    value: str,
    group: Group = OPTIONS,
    may_begin_with_dash: bool = False,
    may_stand_alone: bool = False,
) -> Parameter:
    """An option with a value, which the help calls `value`. Given twice, the last one counts.

    Args:
        names: the option's spellings, `--long` and `-short`.
        value: what stands for the value in the help, for example `FILE`.
        group: the heading in the help.
        may_begin_with_dash: whether a word that looks like an option can be the value.
        may_stand_alone: whether the value may be missing; the type must be a list, which is then empty.
    """
    return Parameter(
        name=names,
        metavar=value,
        negative=(),
        allow_repeating=True,
        group=group,
        allow_leading_hyphen=may_begin_with_dash,
        consume_multiple=(0, 1) if may_stand_alone else None,
    )


def exit_codes(*codes: int) -> dict[int, str]:
    """The exit codes that matter for a command, with their meaning."""
    return {code: EXIT_CODES[code] for code in codes}


def declare(
    name: str, usage: str, examples: Mapping[str, str], codes: Mapping[int, str], more: str = "", parent: str = PROGRAM
) -> App:
    """The frame of a command; its function is added with `@app.default`.

    Args:
        name: the word that people type.
        usage: what follows the name in the usage line.
        examples: command lines, each with what it is for.
        codes: exit codes with their meaning.
        more: Markdown that goes before the examples.
        parent: the words before the name.
    """
    return App(
        name=name,
        usage=f"Usage: {parent} {name} {usage}",
        help_epilogue=_epilogue(examples, codes, more),
        group_arguments=ARGUMENTS,
        group_parameters=OPTIONS,
        help_format="markdown",
    )


def _epilogue(examples: Mapping[str, str], codes: Mapping[int, str], more: str) -> str:
    lines = [*([more, ""] if more else []), "**Examples**", "", "```bash"]
    for line, purpose in examples.items():
        lines += [f"# {purpose}", line]
    lines += ["```", "", "**Exit codes**", ""]
    lines += [f"- `{code}`: {meaning}" for code, meaning in codes.items()]
    return "\n".join(lines)
