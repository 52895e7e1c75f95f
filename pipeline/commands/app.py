"""The list of commands and the parser of their words.

cyclopts parses. It was chosen over typer because it loads a command's module only when that command is typed, reads the
help from docstrings and can write itself as Markdown; Prefect brings it along. What follows `key=` is left alone: the
configuration is Hydra's matter.
"""

from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version

from cyclopts import App, CycloptsError

from pipeline.commands.declaration import PROGRAM
from pipeline.commands.mistakes import explain
from pipeline.errors import EXIT_CODES, InvalidConfig

DISTRIBUTION = "r1-recipe"

# Each is the first line of its command's docstring: the overview is shown without loading any command.
COMMANDS = {
    "run": "Run the stages that are not done yet; typed again, it continues.",
    "plan": "Show what `run` would do, and why.",
    "status": "Show where a run stands, read from its files alone.",
    "runs": "List the runs: recipe, seed, state, headline, age and size.",
    "logs": "Show the log of a stage, and follow it with -f until the stage ends.",
    "rollouts": "Show rollouts of a reinforcement-learning stage: prompts, completions, rewards and their parts.",
    "use": "Make a variant of a stage the current one, with all that it was made from.",
    "compare": "Put two runs side by side: stages, configurations, results on the same problems, costs.",
    "join": "Lend this machine to a run whose driver is on another one.",
    "deploy": "Make the stages of a run deployments of a Prefect server.",
    "evaluate": "Evaluate any model directories, or the models of a run, on benchmarks.",
    "report": "Write the HTML report of what a run has made so far, or follow the run in a browser.",
    "chat": "Talk to a model of a run, or to a model directory.",
    "serve": "Serve a model of a run, or a model directory, by vLLM's OpenAI server.",
    "publish": "Show what of a model would go to the Hugging Face hub, and upload it with --yes.",
    "data": "Look at data from outside, filter it into one file, or fetch it from the hub.",
    "grade": "Grade the answers in a file, and say what was read and why.",
    "models": "Fetch a small model by name, check whether the recipe can use a model directory, or make a smaller "
    "model.",
    "clean": "Show what of a run nobody needs any more, and delete it with --yes.",
    "doctor": "Check whether this machine and this installation can run the recipe.",
}

OVERVIEW = """The DeepSeek-R1 recipe end to end.

Any key of the configuration is a word `key=value`. `r1 COMMAND --help` explains a command. `r1` and
`python -m pipeline` are the same."""


def make_app(loaded: Iterable[str] = ()) -> App:
    """The parser of all commands.

    Args:
        loaded: commands that are going to be used. Only these have their own, full help; for the others, whose modules
            are not loaded, it is the line of `COMMANDS`.
    """
    codes = "\n".join(f"- `{code}`: {meaning}" for code, meaning in EXIT_CODES.items())
    app = App(
        name=PROGRAM,
        help=OVERVIEW,
        help_format="markdown",
        help_epilogue=f"**Exit codes**\n\n{codes}",
        version=installed_version,
        usage=f"Usage: {PROGRAM} COMMAND [OPTIONS] [KEY=VALUE ...]",
        result_action="return_value",
        suppress_keyboard_interrupt=False,
    )
    for number, (name, summary) in enumerate(COMMANDS.items()):
        app.command(
            f"pipeline.commands.{name}:app", name=name, help=None if name in loaded else summary, sort_key=number
        )
    return app


def installed_version() -> str:
    """The version of the installed package."""
    try:
        return f"{PROGRAM} {version(DISTRIBUTION)}"
    except PackageNotFoundError:
        return f"{PROGRAM} (not installed: run from its source)"


def call(arguments: list[str]) -> int:
    """Carries out one command line.

    Returns:
        The exit code: that of the command; 2 where there is no command, after the help has been printed.

    Raises:
        InvalidConfig: an unknown command or option, or a value that does not fit.
        PipelineError: whatever the command raises.
    """
    if arguments[:1] == ["help"]:
        arguments = [*arguments[1:], "--help"]
    app = make_app(arguments[:1])
    words, apps, rest = app.parse_commands(arguments)
    if apps[-1].default_command is None and not rest:  # a command that needs another one: `r1`, `r1 data`
        apps[0].help_print(words)
        return 2
    try:
        return app(arguments, exit_on_error=False, print_error=False, verbose=False) or 0
    except CycloptsError as error:
        raise InvalidConfig([explain(error, " ".join(words))]) from None
