"""How a plan is shown: as a table for people, as JSON for programs."""

from typing import Any

from rich.console import Console
from rich.markup import escape

from pipeline.planning.fingerprint import short_fingerprint
from pipeline.planning.memory import PARTS
from pipeline.planning.plan import Plan, Step
from pipeline.view.colours import COLOURS
from pipeline.view.tables import Column, print_table, print_wide_table
from pipeline.view.words import duration

MAX_NAMED_INPUTS = 3
LEAST_SHOWN = 0.05  # GiB of a part
COLUMNS = (
    Column("stage"),
    Column("action"),
    Column("reason", is_sentence=True, inline=24),
    Column("inputs", goes=1),
    Column("fingerprint", goes=3),
    Column("ranks", is_number=True, goes=2),
    Column("GPU GiB", is_number=True, goes=6),
    Column("host GiB", is_number=True, goes=5),
    Column("disk GiB", is_number=True, goes=4),
    Column("time", is_number=True),
)


def print_plan(console: Console, plan: Plan) -> None:
    """Prints the table of a plan, its notes, and how long its stages will take."""
    config = plan.config
    title = f"run {config.run} (recipe {config.recipe}, seed {config.seed})"
    steps = [_row(step) for step in plan.steps]
    left_out = [
        (stage, "[dim]left out[/]", escape(why), "", "", "", "", "", "", "") for stage, why in plan.left_out.items()
    ]
    print_table(console, title, COLUMNS, [*steps, *left_out])
    print_notes(console, plan)
    if plan.steps and not plan.errors:
        console.print(work_in_words(plan), highlight=False, soft_wrap=True)


def print_memory(console: Console, plan: Plan) -> None:
    """Prints the memory of each stage by parts, of each GPU and of each machine, when most is taken."""
    rows, used = [], set()
    for step in plan.steps:
        if step.memory is None:
            continue
        for where, found, moment in (
            ("GPU", step.memory.gpu, step.memory.gpu_moment),
            ("host", step.memory.host, step.memory.host_moment),
        ):
            shown = {part: size for part, size in found.items() if size >= LEAST_SHOWN}
            used |= set(shown)
            if shown:
                rows.append((step.stage, where, moment, sum(found.values()), shown))
    columns = [Column("stage"), Column("of"), Column("at"), Column("GiB", is_number=True)]
    parts = [part for part in PARTS if part in used]
    cells = [
        [stage, where, moment, _gib(total), *[_gib(shown.get(part)) for part in parts]]
        for stage, where, moment, total, shown in rows
    ]
    title = "memory in GiB when most is taken: of each GPU, and of each machine with all its ranks"
    print_wide_table(console, title, [*columns, *[Column(part, is_number=True) for part in parts]], cells)


def print_notes(console: Console, plan: Plan) -> None:
    """Prints what a reader of the plan should know besides its table."""
    for line in plan.notes:
        console.print(f"note: {line}", highlight=False, markup=False, soft_wrap=True)


def work_in_words(plan: Plan) -> str:
    """How long the stages that are not done will take, as far as that can be known."""
    left = [step for step in plan.steps if not step.is_made]
    unknown = [step.stage for step in left if step.seconds is None]
    if not left:
        return "everything is done"
    why = "what they work on is not here yet" if len(unknown) > 1 else "what it works on is not here yet"
    if len(unknown) == len(left):
        return f"how long it takes cannot be known: {why}"
    known = f"about {duration(sum(step.seconds or 0.0 for step in left))} of work"
    return f"{known}, besides {', '.join(unknown)} (?): {why}" if unknown else known


def _row(step: Step) -> tuple[str, ...]:
    seconds = "?" if step.seconds is None else f"~{duration(step.seconds)}"
    return (
        step.stage,
        f"[{COLOURS[step.action]}]{step.action}[/]",
        escape(step.reason),
        _inputs(step),
        short_fingerprint(step.fingerprint),
        str(step.num_processes),
        _gib(step.gpu_memory_gib) if step.memory else "",
        "?" if step.memory_gib is None else _gib(step.memory_gib),
        _gib(step.disk_gib if step.disk_gib >= LEAST_SHOWN else None),
        "" if step.is_made else seconds,
    )


def _gib(size: float | None) -> str:
    """GiB with a digit after the point where that counts; nothing for None."""
    return "" if size is None else f"{size:,.0f}" if size >= 100 else f"{size:.1f}"


def _inputs(step: Step) -> str:
    sources = [source.stage or "outside" for source in step.inputs.values()]
    return ", ".join(sources) if len(sources) <= MAX_NAMED_INPUTS else f"{len(sources)} stages"


def plan_json(plan: Plan) -> dict[str, Any]:
    """The plan as plain data, for programs that read `plan --json`; null where something cannot be known yet."""
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
        "gpu_memory_gib": step.gpu_memory_gib,
        "memory": _memory_json(step),
        "disk_gib": round(step.disk_gib, 2),
        "seconds": None if step.seconds is None else round(step.seconds, 1),
    }


def _memory_json(step: Step) -> dict[str, Any] | None:
    """The parts of the memory, GiB; null where they cannot be known yet."""
    if step.memory is None:
        return None
    found = {"gpu": (step.memory.gpu, step.memory.gpu_moment), "host": (step.memory.host, step.memory.host_moment)}
    return {
        where: {"at": moment, "parts": {part: round(size, 3) for part, size in parts.items()}}
        for where, (parts, moment) in found.items()
    }
