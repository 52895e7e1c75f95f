"""The command `status`: where a run stands, and what it has cost."""

import json
from pathlib import Path
from typing import Annotated, Any

from rich.console import Console
from rich.markup import escape

from pipeline.commands.declaration import Overrides, declare, exit_codes, flag, option
from pipeline.commands.run_directory import find_run
from pipeline.commands.run_state import read_run
from pipeline.planning.command_line import use_command
from pipeline.planning.whole import command_of_run, configuration_tree, overrides_of
from pipeline.report import cost
from pipeline.view.colours import COLOURS as STATE_COLOURS
from pipeline.view.console import standard_console
from pipeline.view.tables import Column, print_table
from pipeline.view.words import duration, numbers

SHOWN_VARIANTS = 5  # of each stage
SHOWN_SWEEPS = 3
COLUMNS = (
    Column("stage"),
    Column("state"),
    Column("step", is_number=True),
    Column("time", is_number=True, goes=3),
    Column("left", is_number=True),
    Column("numbers", is_sentence=True, goes=2),
    Column("fingerprint", goes=1),
)

app = declare(
    "status",
    "[--json] [--cost] [--price USD] [run=NAME] [runs_dir=DIRECTORY]",
    {
        "r1 status": "the run that was worked on last",
        "r1 status run=second": "another run",
        "r1 status --cost --price 2.5": "what it has cost so far, at 2.50 dollars for an hour of one rank",
    },
    exit_codes(0, 2, 3),
)


@app.default
def status(
    *overrides: Overrides,
    as_json: Annotated[bool, flag("--json")] = False,
    with_cost: Annotated[bool, flag("--cost")] = False,
    price: Annotated[float | None, option("--price", value="USD")] = None,
) -> int:
    """Show where a run stands, read from its files alone.

    It can be asked while a driver works on the run, and on a machine that never ran it.

    Args:
        overrides: `run=NAME` and `runs_dir=DIRECTORY`; by default the run that was worked on last.
        as_json: Print JSON for programs.
        with_cost: Show what each stage has cost over all its attempts: hours of ranks, tokens, judge calls, money.
        price: What an hour of one rank costs; without it, what the run was given as `cost.price_per_hour`. Implies
            `--cost`.
    """
    console = standard_console()
    run_dir = find_run(overrides, "status", is_said=with_cost or price is not None)
    if with_cost or price is not None:
        return _show_cost(run_dir, price, as_json, console)
    state = read_run(run_dir)
    if as_json:
        print(json.dumps(state, indent=1, ensure_ascii=False))
    else:
        show(state, console)
    return 0


def _show_cost(run_dir: Path, price: float | None, as_json: bool, console: Console) -> int:
    config = configuration_tree(run_dir)
    configured = (config.get("cost") or {}).get("price_per_hour", 0.0)
    price_per_hour = float(configured if price is None else price)
    lines = cost.read(run_dir)
    if as_json:
        print(json.dumps(cost.as_json(lines, price_per_hour), indent=1))
    else:
        cost.show(lines, price_per_hour, console)
    return 0


def show(state: dict[str, Any], console: Console) -> None:
    """Prints the state of a run: a table of its stages, what is wrong with it, its alarms, where its report is."""
    for line in heading(state):
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    print_table(console, "", COLUMNS, _rows(state))
    for line in _remarks(state):
        console.print(line, highlight=False, soft_wrap=True)
    for stage in state["stages"]:
        for alarm in stage["alarms"]:
            console.print(
                f"[yellow]alarm[/] {stage['stage']} step {alarm['step']}: {escape(alarm['message'])}\n  advice: "
                f"{escape(alarm['advice'])}",
                highlight=False,
                soft_wrap=True,
            )
    if state["report"]:
        console.print(f"report: {state['report']}", highlight=False, soft_wrap=True)


def heading(state: dict[str, Any]) -> list[str]:
    """Which run it is, and who works on it."""
    is_known = state["seed"] is not None
    about = f" (recipe {state['recipe']}, seed {state['seed']})" if is_known else ""
    lines = [f"run {state['run']}{about} in {Path(state['run_dir']).parent}"]
    if not is_known:
        lines.append("its config.yaml is damaged or missing; `r1 run` with the same words writes it anew")
    if state["driver"]:
        lines.append(f"in progress: {state['driver']}")
    elif state["lost_driver"]:
        lines.append(f"nobody works on it; the last driver was killed: {state['lost_driver']}")
    return lines


def _rows(state: dict[str, Any]) -> list[tuple[str, ...]]:
    rows = [_row(stage["stage"], stage) for stage in state["stages"]]
    return rows + [(name, "[dim]not started[/]", "", "", "", "", "") for name in state["not_started"]]


def _row(name: str, stage: dict[str, Any]) -> tuple[str, ...]:
    return (
        name,
        f"[{STATE_COLOURS.get(stage['state'], 'red')}]{stage['state']}[/]",
        f"{stage['step']}/{stage['num_steps']}" if stage["num_steps"] else "",
        duration(stage["seconds"]),
        duration(stage["eta_s"]),
        escape(stage["message"] or "; ".join(text for text in (_origin(stage), numbers(stage["metrics"])) if text)),
        stage["fingerprint"],
    )


def _origin(stage: dict[str, Any]) -> str:
    return f"reused from run {stage['reused_from']}" if stage["reused_from"] else ""


def _remarks(state: dict[str, Any]) -> list[str]:
    """What else there is to know, with what can be done about it, in rich's markup."""
    lines = []
    for flaw in state["flaws"]:
        lines.append(f"[yellow]not of one piece[/] {escape(flaw['message'])}")
    for number, command in enumerate(dict.fromkeys(mend for flaw in state["flaws"] for mend in flaw["mends"])):
        lines.append(f"  {'or' if number else 'mend'}: {escape(command)}")
    for stage in state["stages"]:
        if stage["state"] == "damaged":
            lines.append(f"[red]damaged[/] {stage['stage']}: {escape(_redo(state, stage))}")
        lines += _variant_lines(state, stage)
    lines += _sweep_lines(state)
    if state["continue"]:
        lines.append(f"continue with: {escape(state['continue'])}")
    return lines


def _sweep_lines(state: dict[str, Any]) -> list[str]:
    """The sweeps that have not come to their end, with the command that goes on with them."""
    lines = []
    for sweep in [one for one in state["sweeps"] if not one["has_ended"]][:SHOWN_SWEEPS]:
        jobs = ", ".join(f"{count} {name}" for name, count in sweep["jobs"].items()) or "none begun"
        lines.append(f"sweep {sweep['name']} has not ended; its jobs: {jobs}")
        if not state["driver"]:
            lines.append(f"  go on: {escape(sweep['command'])}")
    return lines


def _redo(state: dict[str, Any], stage: dict[str, Any]) -> str:
    overrides = overrides_of(Path(stage["dir"])) or []
    command = command_of_run(Path(state["run_dir"]), state["recipe"], overrides, stage["stage"])
    return f"make it again (this directory is kept aside): {command} force=true"


def _variant_lines(state: dict[str, Any], stage: dict[str, Any]) -> list[str]:
    """The other directories of a stage, the newest first, and the command that makes one of them current."""
    found = stage["variants"]
    if not found:
        return []
    lines = [f"variants of {stage['stage']}, beside {stage['fingerprint']}:"]
    for variant in found[:SHOWN_VARIANTS]:
        steps = f" {variant['step']}/{variant['num_steps']}" if variant["num_steps"] else ""
        words = [f"  {variant['fingerprint']} {variant['state']}{steps}"]
        words += [escape(text) for text in (variant["changes"], numbers(variant["metrics"])) if text]
        lines.append(", ".join(words))
    if len(found) > SHOWN_VARIANTS:
        lines.append(f"  and {len(found) - SHOWN_VARIANTS} more: status --json has all")
    usable = [variant for variant in found if variant["state"] != "damaged"]
    example = next((variant for variant in usable if variant["state"] == "done"), usable[0] if usable else None)
    if example is not None:
        command = use_command(Path(state["run_dir"]), stage["stage"], example["fingerprint"])
        lines.append(f"  choose: {escape(command)}")
    return lines
