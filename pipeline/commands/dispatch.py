"""The commands besides `run`. Each takes its arguments and a console and returns an exit code."""

import json
import sys
from pathlib import Path

from rich.console import Console

from pipeline import view
from pipeline.configuration import compose, spelling
from pipeline.configuration.schema import RunConfig
from pipeline.errors import InvalidConfig, MissingInput


def plan(arguments: list[str], console: Console) -> int:
    """`plan [--json] [+stage=...] [key=value ...]`: touches nothing; 1 on any error."""
    from pipeline.planning.plan import make_plan, remember_overrides

    as_json, overrides = _flag("--json", arguments)
    overrides = spelling.rewrite(_no_flags(overrides, "plan", "--json"))
    if not any(text.startswith("+stage=") for text in overrides):
        overrides.append("+stage=all")
    try:
        remember_overrides(overrides)
        made = make_plan(compose.compose_config(overrides))
    except InvalidConfig as error:
        if as_json:
            print(json.dumps({"errors": [{"message": line, "fix": ""} for line in error.errors]}, indent=1))
        else:
            _print_mistakes(console, error)
        return 1
    if as_json:
        print(json.dumps(view.plan_json(made), indent=1, ensure_ascii=False))
    else:
        view.print_plan(console, made)
        for message, fix in made.errors:
            view.print_error(console, MissingInput(message, fix))
    return 1 if made.errors else 0


def status(arguments: list[str], console: Console) -> int:
    """`status [--json] [--cost] [--price USD] [run=NAME] [runs_dir=DIR]`: from disk alone."""
    from pipeline.commands import status as reader

    as_json, overrides = _flag("--json", arguments)
    price, overrides = _option("--price", overrides)
    with_cost, overrides = _flag("--cost", overrides)
    run_dir = _run_dir(overrides, "status")
    if with_cost or price is not None:
        return _cost(run_dir, price, as_json, console)
    state = reader.read(run_dir)
    if as_json:
        print(json.dumps(state, indent=1, ensure_ascii=False))
    else:
        reader.show(state, console)
    return 0


def _cost(run_dir: Path, price: str | None, as_json: bool, console: Console) -> int:
    """The cost ledger, at the price that the run was given (cost.price_per_hour) or at another."""
    import yaml

    from pipeline.report import cost

    try:
        given = (yaml.safe_load((run_dir / "config.yaml").read_text(encoding="utf-8")).get("cost") or {}).get(
            "price_per_hour", 0.0
        )
        price_per_hour = float(given if price is None else price)
    except ValueError:
        raise InvalidConfig([f"--price {price}: not a number; give USD for an hour of one rank"]) from None
    lines = cost.read(run_dir)
    if as_json:
        print(json.dumps(cost.as_json(lines, price_per_hour), indent=1))
    else:
        cost.show(lines, price_per_hour, console)
    return 0


def evaluate(arguments: list[str], console: Console) -> int:
    """`evaluate [model=DIR] [eval=[SUITE,...]] [key=value ...]`."""
    from pipeline.commands import evaluate as evaluating

    return evaluating.main(arguments, console)


def report(arguments: list[str], console: Console) -> int:
    """`report [run=NAME] [--output FILE]`: the report of what there is so far."""
    from pipeline.report import write_report

    output, overrides = _option("--output", arguments)
    run_dir = _run_dir(overrides, "report")
    path = write_report(run_dir, Path(output) if output else run_dir / "report.html")
    console.print(f"report: {path}", highlight=False, soft_wrap=True)
    return 0


def chat(arguments: list[str], console: Console) -> int:
    """`chat [--stage NAME] [--prompt TEXT] [run=NAME]`."""
    from pipeline.commands import chat as chatting

    stage, arguments = _option("--stage", arguments)
    prompt, arguments = _option("--prompt", arguments)
    return chatting.main(_run_dir(arguments, "chat"), stage, prompt, console)


def data(arguments: list[str], console: Console) -> int:
    """`data inspect|prepare|fetch [key=value ...]`: rows from outside, looked at, filtered into a file, or fetched from
    the hub.
    """
    from pipeline.commands import data as data_command

    return data_command.main(arguments)


def clean(arguments: list[str], console: Console) -> int:
    """`clean [--yes] [--logs] [--unfinished] [run=NAME]`: shows what can go, deletes it with --yes."""
    from pipeline.commands import clean as cleaning

    is_confirmed, rest = _flag("--yes", arguments)
    with_logs, rest = _flag("--logs", rest)
    with_unfinished, rest = _flag("--unfinished", rest)
    return cleaning.main(
        _run_dir(_no_flags(rest, "clean", "--yes, --logs and --unfinished"), "clean"),
        console,
        is_confirmed,
        with_logs,
        with_unfinished,
    )


def publish(arguments: list[str], console: Console) -> int:
    """`publish [--stage NAME] --to OWNER/NAME [--yes] [--public] [run=NAME]`: shows what would go to the hub, uploads
    it with --yes.
    """
    from pipeline.commands import publish as publishing

    stage, rest = _option("--stage", arguments)
    target, rest = _option("--to", rest)
    is_confirmed, rest = _flag("--yes", rest)
    is_public, rest = _flag("--public", rest)
    run_dir = _run_dir(_no_flags(rest, "publish", "--stage, --to, --yes and --public"), "publish")
    return publishing.main(run_dir, stage, target, is_confirmed, is_public, console)


def doctor(arguments: list[str], console: Console) -> int:
    from pipeline.commands import doctor as checks

    return checks.main(console, quick=_flag("--quick", arguments)[0])


def _flag(name: str, arguments: list[str]) -> tuple[bool, list[str]]:
    return name in arguments, [word for word in arguments if word != name]


def _option(name: str, arguments: list[str]) -> tuple[str | None, list[str]]:
    """(value of `--name VALUE` or `--name=VALUE`, the other arguments)."""
    rest, value, words = [], None, list(arguments)
    while words:
        word = words.pop(0)
        if word == name:
            if not words:
                raise InvalidConfig([f"{name} needs a value"])
            value = words.pop(0)
        elif word.startswith(f"{name}="):
            value = word.partition("=")[2]
        else:
            rest.append(word)
    return value, rest


def _no_flags(words: list[str], command: str, known: str) -> list[str]:
    unknown = [word for word in words if word.startswith("-")]
    if unknown:
        raise InvalidConfig([f"{word}: {command} knows no such flag; it has {known}" for word in unknown])
    return words


def _run_dir(overrides: list[str], command: str) -> Path:
    """The directory of the run that run= and runs_dir= name; by default the one that was worked on last."""
    settings = dict(text.partition("=")[::2] for text in _no_flags(overrides, command, "run= and runs_dir="))
    unknown = [key for key in settings if key not in ("run", "runs_dir")]
    if unknown:
        raise InvalidConfig(
            [f"{key}: {command} reads the disk; it knows run=NAME and runs_dir=DIRECTORY" for key in unknown]
        )
    runs = Path(settings.get("runs_dir") or RunConfig().runs_dir).expanduser().resolve()
    known = sorted(
        (path.parent for path in runs.glob("*/config.yaml")), key=lambda path: (path / "config.yaml").stat().st_mtime
    )
    if "run" in settings:
        if runs / settings["run"] not in known:
            raise MissingInput(
                f"there is no run {settings['run']} in {runs}"
                + (f"; there are {', '.join(path.name for path in known)}" if known else ""),
                f"python -m pipeline run +stage=all run={settings['run']}",
            )
        return runs / settings["run"]
    if not known:
        raise MissingInput(f"there is no run in {runs} yet", "python -m pipeline run +stage=all")
    return known[-1]


def _print_mistakes(console: Console, error: InvalidConfig) -> None:
    for line in error.errors:
        view.print_error(console, InvalidConfig([line]))
    print(f"{len(error.errors)} mistake(s)", file=sys.stderr)
