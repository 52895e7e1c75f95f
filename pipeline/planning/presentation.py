"""How a plan is shown: as a table for people, as JSON for programs."""

from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pipeline.planning.fingerprint import short_fingerprint
from pipeline.planning.plan import Plan, Step
from pipeline.view.colours import COLOURS
from pipeline.view.words import duration

MAX_NAMED_INPUTS = 3


def print_plan(console: Console, plan: Plan) -> None:
    """Prints the table of a plan, its notes, and how long its stages will take."""
    console.print(plan_table(plan))
    for line in plan.notes:
        console.print(f"note: {line}", highlight=False, soft_wrap=True)
    total_s = sum(step.seconds for step in plan.steps)
    if plan.steps and not plan.errors:
        console.print("everything is done" if plan.is_done else f"about {duration(total_s)} of work", highlight=False)


def plan_table(plan: Plan) -> Table:
    """The table of a plan: a row for each selected stage, also for those that the configuration leaves out."""
    table = Table(
        title=f"run {plan.config.run} (recipe {plan.config.recipe}, seed {plan.config.seed})",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
    )
    table.add_column("stage", no_wrap=True)
    table.add_column("action", no_wrap=True)
    table.add_column("reason")
    table.add_column("inputs")
    table.add_column("fingerprint", no_wrap=True)
    table.add_column("ranks", justify="right", no_wrap=True)
    table.add_column("GiB", justify="right", no_wrap=True)
    table.add_column("time", justify="right", no_wrap=True)
    for step in plan.steps:
        table.add_row(
            step.stage,
            f"[{COLOURS[step.action]}]{step.action}[/]",
            escape(step.reason),
            _inputs(step),
            short_fingerprint(step.fingerprint),
            str(step.num_processes),
            f"{step.memory_gib:.1f}",
            "" if step.is_done else f"~{duration(step.seconds)}",
        )
    for stage, why in plan.left_out.items():
        table.add_row(stage, "[dim]left out[/]", escape(why), "", "", "", "", "")
    return table


def _inputs(step: Step) -> str:
    sources = [source.stage or "outside" for source in step.inputs.values()]
    return ", ".join(sources) if len(sources) <= MAX_NAMED_INPUTS else f"{len(sources)} stages"


def plan_json(plan: Plan) -> dict[str, Any]:
    """The plan as plain data, for programs that read `plan --json`."""
    return {
        "run": plan.config.run,
        "run_dir": str(plan.config.run_dir),
        "recipe": plan.config.recipe,
        "seed": plan.config.seed,
        "stages": [_step_json(step) for step in plan.steps],
        "left_out": plan.left_out,
        "notes": plan.notes,
        "errors": [{"message": message, "fix": fix} for message, fix in plan.errors],
    }


def _step_json(step: Step) -> dict[str, Any]:
    return {
        "stage": step.stage,
        "kind": step.kind,
        "action": step.action,
        "reason": step.reason,
        "fingerprint": step.fingerprint,
        "dir": str(step.dir),
        "inputs": {role: source.fingerprint for role, source in step.inputs.items()},
        "num_processes": step.num_processes,
        "memory_gib": step.memory_gib,
        "seconds": round(step.seconds, 1),
    }
