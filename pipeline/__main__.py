"""The command line: `python -m pipeline COMMAND ...` or `r1 COMMAND ...`."""

import difflib
import errno
import os
import sys

from pipeline.errors import EXIT_CODES, InvalidConfig, MissingInput, PipelineError

UNUSABLE_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES)

COMMANDS = {
    "run": "run stages: run +stage=all, run +stage=NAME, run '+stage=[a,b]'; typed again, it continues",
    "plan": "what `run` would do and why; --json for programs",
    "status": "where a run stands; --cost: what it has cost; --json for programs",
    "evaluate": "models on benchmarks: evaluate model=DIR eval=[aime24,math500]; 'model=[A,B]' compares two",
    "report": "write the HTML report of what there is so far",
    "chat": "talk to a model of the run: chat --stage NAME, chat --prompt TEXT",
    "publish": "show what of a model would go to the Hugging Face hub; publish --to OWNER/NAME --yes uploads it, "
    "private",
    "data": "rows from outside: data inspect, data prepare (filters, duplicates, data card), data fetch; "
    "data=PRESET or data.path=FILE",
    "clean": "show what of a run nobody needs any more; clean --yes deletes it",
    "doctor": "check this machine and the installation",
}


def usage() -> str:
    lines = [
        "The DeepSeek-R1 recipe end to end.",
        "",
        "usage: python -m pipeline COMMAND [options] [key=value ...]",
        "",
    ]
    lines += [f"  {name:8} {what}" for name, what in COMMANDS.items()]
    lines += ["", "exit codes:"] + [f"  {code:<3} {what}" for code, what in EXIT_CODES.items()]
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """Dispatches a command. Returns the exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if arguments and arguments[0] in ("-sc", "--shell-completion"):
        return _shell_completion(arguments)
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(usage())
        return 0 if arguments else 2
    from rich.console import Console

    from pipeline import view

    console = Console(soft_wrap=False, width=None if sys.stdout.isatty() else 140)  # logs are wider than 80 columns
    try:
        return _command(arguments[0], arguments[1:], console)
    except PipelineError as error:
        view.print_error(console, error)
        return error.exit_code
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        if error.errno not in UNUSABLE_DISK:
            raise
        view.print_error(
            console,
            MissingInput(str(error), "free some space or choose a directory that you may write to: runs_dir=DIRECTORY"),
        )
        return MissingInput.exit_code
    except KeyboardInterrupt:
        return 75


def _command(name: str, arguments: list[str], console) -> int:
    if name == "run":
        from pipeline.execution.stop import interrupt_on_signals

        interrupt_on_signals()
        from pipeline.execution import run

        return run.main(arguments, console)
    if name in COMMANDS:
        from pipeline.commands import dispatch as commands

        return getattr(commands, name)(arguments, console)
    close = difflib.get_close_matches(name, COMMANDS, n=1)
    raise InvalidConfig(
        [f"{name}: no such command; commands are {', '.join(COMMANDS)}{f'; did you mean {close[0]}?' if close else ''}"]
    )


def _shell_completion(arguments: list[str]) -> int:
    """Hydra completes overrides; the command before them is ours: r1 -sc install=bash, then r1 run +stage=<TAB>."""
    line = os.environ.get("COMP_LINE", "")
    words = line.split()
    if "query" in "".join(arguments) and (len(words) < 2 or (len(words) == 2 and not line.endswith(" "))):
        print(" ".join(COMMANDS))
        return 0
    if len(words) > 1 and words[1] in COMMANDS:
        os.environ["COMP_LINE"] = line.replace(f" {words[1]}", "", 1)
    import hydra

    from pipeline.configuration import compose

    compose.register_schema()
    sys.argv = [sys.argv[0], *arguments]
    hydra.main(config_path=str(compose.CONF_DIR), config_name="config", version_base="1.3")(lambda cfg: None)()
    return 0


if __name__ == "__main__":
    sys.exit(main())
