"""Tab completion: `eval "$(r1 -sc install=bash)"` turns it on, and the shell then asks with `r1 -sc query=bash`.

Hydra completes overrides. The command before them and its options are ours, so they are completed here, and the command
is taken out of the line that Hydra reads.
"""

import os
from pathlib import Path

from pipeline.commands.app import COMMANDS, make_app

FLAGS = ("-sc", "--shell-completion")
ON_STAGES, ON_TWO_RUNS = ("logs", "rollouts", "use"), ("compare",)
ON_RUNS = ("status", "report", "chat", "publish", "clean", "evaluate", *ON_STAGES)


def complete(arguments: list[str]) -> int:
    """Prints the script for the shell, or what the line in the environment variable COMP_LINE can go on with.

    Args:
        arguments: the whole command line, `-sc install=SHELL`, `-sc uninstall=SHELL` or `-sc query=SHELL`.
    """
    line = os.environ.get("COMP_LINE", "")
    words = line.split()
    last_word = "" if line.endswith(" ") else line.rpartition(" ")[2]
    is_query = any("query" in word for word in arguments)
    if is_query and (len(words) < 2 or words[1] == last_word):
        print(" ".join(COMMANDS))
        return 0
    if len(words) > 1 and words[1] in COMMANDS:
        if is_query and last_word.startswith("-"):
            print(" ".join(_options(words[1])))
            return 0
        if is_query and (found := _of_runs(words[1], last_word)):
            print(" ".join(found))
            return 0
        os.environ["COMP_LINE"] = line.replace(f" {words[1]}", "", 1)
    from pipeline.commands.hydra_command_line import call_hydra  # Hydra takes a third of a second to load

    call_hydra(arguments, lambda config: None)
    return 0


def _of_runs(command: str, last_word: str) -> list[str]:
    """The stages, or the runs of the directory of runs, that the last word of a command on runs can go on with."""
    from pipeline.commands.run_directory import runs_in  # the schema takes a while to load
    from pipeline.configuration.graph import STAGES
    from pipeline.configuration.schema import RunConfig

    names = [path.name for path in reversed(runs_in(Path(RunConfig().runs_dir)))]
    if last_word.startswith("run=") and command in ON_RUNS:
        return [f"run={name}" for name in names if name.startswith(last_word.removeprefix("run="))]
    if "=" in last_word or command not in ON_STAGES + ON_TWO_RUNS:
        return []
    return [name for name in (names if command in ON_TWO_RUNS else STAGES) if name.startswith(last_word)]


def _options(command: str) -> list[str]:
    app = make_app([command])[command]
    if app.default_command is None:  # its own commands have options, it has none
        return ["--help"]
    names = [name for argument in app.assemble_argument_collection() for name in argument.names]
    return [*(name for name in names if name.startswith("--")), "--help"]
