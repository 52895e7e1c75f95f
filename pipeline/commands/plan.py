"""The command `plan`: what `run` would do, without doing it."""

import dataclasses
import json
import sys
from typing import Annotated

from rich.console import Console

from pipeline.commands.declaration import Overrides, declare, exit_codes, flag, option
from pipeline.configuration import compose, spelling
from pipeline.configuration.ignored import ignored
from pipeline.errors import InvalidConfig, MissingInput
from pipeline.execution.sweep_plan import SweepPlan, asks_for_sweep, plan_sweep, print_sweep, sweep_json
from pipeline.planning.command_line import remember_overrides, remember_typed
from pipeline.planning.fitting import check_memory
from pipeline.planning.plan import make_plan
from pipeline.planning.presentation import plan_json, print_memory, print_plan
from pipeline.planning.simulation import on_machines, parse, print_simulation, simulate, simulation_json
from pipeline.view.console import standard_console
from pipeline.view.errors import print_error

app = declare(
    "plan",
    "[--json] [--memory] [--simulate nodes=N] [-m] [KEY=VALUE ...]",
    {
        "r1 plan": "the whole recipe, which is what `plan` shows without a stage",
        "r1 plan +stage=reasoning_rl stages.reasoning_rl.optim.lr=3e-4": "one stage, with another learning rate",
        "r1 plan -m +stage=reasoning_rl stages.reasoning_rl.optim.lr=1e-4,3e-4": "the jobs of a sweep, with their time",
        "r1 plan recipe=paper_32b --memory": "what a GPU and a machine must hold, by parts",
        "r1 plan recipe=paper_32b --simulate nodes=4": "how long a step and the recipe take there, and what they cost",
        "r1 plan --json recipe=one_gpu model.path=models/base": "for programs",
    },
    exit_codes(0, 2) | {1: "there are errors, each printed with its fix", 2: "unknown option"},
)


@app.default
def plan(
    *overrides: Overrides,
    as_json: Annotated[bool, flag("--json")] = False,
    with_memory: Annotated[bool, flag("--memory")] = False,
    simulated: Annotated[str | None, option("--simulate", value="nodes=N")] = None,
    is_sweep: Annotated[bool, flag("--multirun", "-m")] = False,
) -> int:
    """Show what `run` would do, and why.

    For each stage: its action (`skip`, `reuse`, `resume` or `run`), the reason, its inputs, its memory and its time.
    Every mistake in the configuration is reported at once. Nothing is written and nothing is started.

    Args:
        overrides: The stages and the configuration, as for `run`; without `+stage=` the whole recipe.
        as_json: Print JSON for programs; the errors are in it.
        with_memory: Show the memory by parts too: weights, gradients, optimizer and so on, of a GPU and of a machine.
        simulated: Show how long a step and the recipe take on so many machines, and what they cost, beside the paper's
            147,000 GPU hours. More after commas: `nodes=64,gpus=8,card=h800,length=0.25`.
        is_sweep: Plan a sweep: a job for each combination of the comma-separated values. `+sweep=NAME` implies it.
    """
    console = standard_console()
    words = spelling.with_stages(spelling.rewrite(list(overrides)))
    try:
        remember_typed("plan", [*(["-m"] if is_sweep else []), *overrides])
        remember_overrides(words)
        if simulated is not None and (is_sweep or asks_for_sweep(words)):
            raise InvalidConfig(["--simulate goes with one configuration, not with a sweep: leave out -m and +sweep="])
        if is_sweep or asks_for_sweep(words):
            return _show_sweep(plan_sweep(words), as_json, console)
        config, tree = compose.compose_with_tree(words)
        machines = parse(simulated) if simulated is not None else None
        config = on_machines(config, machines) if machines is not None else config
        made = make_plan(config)
        if machines is not None:  # what is missing here need not be there
            made = dataclasses.replace(made, errors=check_memory(config, made.steps))
        made = dataclasses.replace(made, notes=[*made.notes, *ignored(words, tree, config)])
    except InvalidConfig as error:
        _show_mistakes(error, as_json, console)
        return 1
    rows = simulate(made, machines) if machines is not None else []
    if as_json:
        more = {"simulation": simulation_json(machines, rows, made)} if machines is not None else {}
        print(json.dumps(plan_json(made) | more, indent=1, ensure_ascii=False))
    else:
        print_plan(console, made)
        if machines is not None:
            print_simulation(console, made, machines, rows)
        if with_memory:
            print_memory(console, made)
        for message, fix in made.errors:
            print_error(console, MissingInput(message, fix))
    return 1 if made.errors else 0


def _show_sweep(sweep: SweepPlan, as_json: bool, console: Console) -> int:
    if as_json:
        print(json.dumps(sweep_json(sweep), indent=1, ensure_ascii=False))
    else:
        print_sweep(console, sweep)
        for message, fix in sweep.errors:
            print_error(console, MissingInput(message, fix))
    return 1 if sweep.errors else 0


def _show_mistakes(error: InvalidConfig, as_json: bool, console: Console) -> None:
    if as_json:
        print(json.dumps({"errors": [{"message": line, "fix": ""} for line in error.errors]}, indent=1))
        return
    print_error(console, error)
    print(f"{len(error.errors)} mistake(s)", file=sys.stderr)
