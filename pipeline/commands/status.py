"""The command `status`: where a run stands, and what it has cost."""

import json
from pathlib import Path
from typing import Annotated, Any

import yaml
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pipeline.commands.declaration import Overrides, declare, exit_codes, flag, option
from pipeline.commands.run_directory import find_run
from pipeline.commands.run_state import read_run
from pipeline.report import cost
from pipeline.view.colours import COLOURS
from pipeline.view.console import standard_console
from pipeline.view.words import duration, numbers

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
    run_dir = find_run(overrides, "status")
    if with_cost or price is not None:
        return _show_cost(run_dir, price, as_json, console)
    state = read_run(run_dir)
    if as_json:
        print(json.dumps(state, indent=1, ensure_ascii=False))
    else:
        show(state, console)
    return 0


def _show_cost(run_dir: Path, price: float | None, as_json: bool, console: Console) -> int:
    config = yaml.safe_load((run_dir / "config.yaml").read_text(encoding="utf-8"))
    configured = (config.get("cost") or {}).get("price_per_hour", 0.0)
    price_per_hour = float(configured if price is None else price)
    lines = cost.read(run_dir)
    if as_json:
        print(json.dumps(cost.as_json(lines, price_per_hour), indent=1))
    else:
        cost.show(lines, price_per_hour, console)
    return 0


def show(state: dict[str, Any], console: Console) -> None:
    """Prints the state of a run: a table of its stages, its alarms, where its report is."""
    console.print(_table(state))
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


def _table(state: dict[str, Any]) -> Table:
    holder = f", driver: {state['driver']}" if state["driver"] else ""
    table = Table(
        title=f"run {state['run']} (recipe {state['recipe']}, seed {state['seed']}){holder}",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
    )
    table.add_column("stage", no_wrap=True)
    table.add_column("state", no_wrap=True)
    table.add_column("step", no_wrap=True, justify="right")
    table.add_column("time", no_wrap=True, justify="right")
    table.add_column("left", no_wrap=True, justify="right")
    table.add_column("numbers")
    table.add_column("fingerprint", no_wrap=True)
    for stage in state["stages"]:
        table.add_row(
            stage["stage"],
            f"[{COLOURS.get(stage['state'], 'red')}]{stage['state']}[/]",
            f"{stage['step']}/{stage['num_steps']}" if stage["num_steps"] else "",
            duration(stage["seconds"]),
            duration(stage["eta_s"]),
            escape(stage["message"] or numbers(stage["metrics"])),
            stage["fingerprint"],
        )
    for name in state["not_started"]:
        table.add_row(name, "[dim]not started[/]")
    return table
