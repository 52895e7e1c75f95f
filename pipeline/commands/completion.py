"""Tab completion: `eval "$(r1 -sc install=bash)"` turns it on, and the shell then asks with `r1 -sc query=bash`.

Hydra completes overrides. The command before them is ours, so it is completed here or taken out of the line.
"""

import os

from pipeline.commands.app import COMMANDS

FLAGS = ("-sc", "--shell-completion")


def complete(arguments: list[str]) -> int:
    """Prints the script for the shell, or what the line in the environment variable COMP_LINE can go on with.

    Args:
        arguments: the whole command line, `-sc install=SHELL`, `-sc uninstall=SHELL` or `-sc query=SHELL`.
    """
    line = os.environ.get("COMP_LINE", "")
    words = line.split()
    is_query = any("query" in word for word in arguments)
    is_at_command = len(words) < 2 or (len(words) == 2 and not line.endswith(" "))
    if is_query and is_at_command:
        print(" ".join(COMMANDS))
        return 0
    if len(words) > 1 and words[1] in COMMANDS:
        os.environ["COMP_LINE"] = line.replace(f" {words[1]}", "", 1)
    from pipeline.commands.hydra_command_line import call_hydra  # Hydra takes a third of a second to load

    call_hydra(arguments, lambda config: None)
    return 0
