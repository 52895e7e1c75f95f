"""`plan --simulate nodes=64`: the recipe on other machines, as a timeline of a step and of the whole, with its cost.

Nothing is measured and nothing is started: it is the arithmetic of `timeline.py`.
"""

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console

from pipeline.configuration.graph import family_of
from pipeline.configuration.schema import RunConfig
from pipeline.errors import InvalidConfig
from pipeline.planning import estimate
from pipeline.planning.devices import is_for_gpus
from pipeline.planning.plan import Plan, Step
from pipeline.planning.published import PAPER
from pipeline.planning.shapes import shape_of
from pipeline.planning.speeds import CARDS
from pipeline.planning.timeline import LENGTH, Phase, Timeline, timeline
from pipeline.planning.training_rows import training_rows
from pipeline.view.tables import Column, print_table
from pipeline.view.words import duration
from stages.config import ConfigError

BAR = 24  # cells of the longest bar
EXAMPLE = "--simulate nodes=64, or nodes=64,gpus=8,card=h800,length=0.25"


@dataclass(frozen=True)
class Machines:
    """What is simulated."""

    nodes: int
    gpus: int | None = None  # of each; None: what the configuration says
    card: str = "h100"
    length: float = LENGTH  # mean length of a completion over its limit


@dataclass(frozen=True)
class Row:
    """A stage of the simulated recipe."""

    step: Step
    time: Timeline
    begins: float  # seconds since the recipe began


def parse(text: str) -> Machines:
    """What follows `--simulate`: nodes=N, and gpus=N, card=NAME, length=SHARE.

    Raises:
        InvalidConfig: It is not of this form.
    """
    found: dict[str, Any] = {}
    kinds = {"nodes": int, "gpus": int, "card": str, "length": float}
    for part in text.split(","):
        key, _, value = part.partition("=")
        try:
            found[key] = kinds[key](value)
        except KeyError:
            raise InvalidConfig([f"--simulate {part}: it takes {', '.join(kinds)}, as {EXAMPLE}"]) from None
        except ValueError:
            raise InvalidConfig([f"--simulate {part}: {value!r} is not a number, as in {EXAMPLE}"]) from None
    if found.get("nodes", 0) < 1 or found.get("gpus", 1) < 1:
        raise InvalidConfig([f"--simulate {text}: it needs at least one machine with one rank, as {EXAMPLE}"])
    if not 0 < found.get("length", LENGTH) <= 1:
        raise InvalidConfig([f"--simulate {text}: length is a share of the longest completion, above 0 and up to 1"])
    if found.get("card", "h100") not in CARDS:
        raise InvalidConfig([f"--simulate {text}: card is one of {', '.join(CARDS)}"])
    return Machines(**found)


def on_machines(config: RunConfig, machines: Machines) -> RunConfig:
    """The configuration with the launcher of these machines.

    Raises:
        InvalidConfig: The launcher cannot be so.
    """
    launcher = config.launcher
    name = "torchrun" if launcher.name == "local" and machines.nodes > 1 else launcher.name
    try:
        changed = dataclasses.replace(
            launcher, name=name, num_nodes=machines.nodes, num_processes=machines.gpus or launcher.num_processes
        )
    except ConfigError as error:
        raise InvalidConfig(error.errors) from None
    return dataclasses.replace(config, launcher=changed)


def simulate(plan: Plan, machines: Machines) -> list[Row]:
    """The selected stages one after the other, where their time can be known; as if none were made yet."""
    rows, begins = [], 0.0
    for step in plan.steps:
        found = _timeline(step, plan, machines) if step.config is not None else None
        if found is not None:
            rows.append(Row(step, found, begins))
            begins += found.seconds
    return rows


def _timeline(step: Step, plan: Plan, machines: Machines) -> Timeline | None:
    """The time of a stage: by phases on GPUs, by its number of steps on a CPU."""
    config, node = plan.config, plan.graph.nodes[step.stage]
    shape = shape_of(getattr(step.config, "model", None) or config.model_of(step.stage))
    rows = training_rows(node, step.config, config) if node.kind == "sft" else None
    if shape is None or (node.kind == "sft" and rows is None and not step.config.max_steps):
        return None
    if is_for_gpus(config):
        return timeline(node, step.config, config, shape, CARDS[machines.card], rows, machines.length)
    trained, sampled = estimate.work(node, step.config, config, shape.parameters, rows)
    start = Phase("start", estimate.STARTUP_S[node.kind])
    steps = getattr(step.config, "num_steps", 0) if node.kind == "grpo" else 0
    if not steps:
        return Timeline(others=[start, Phase("sample", sampled), Phase("update", trained)])
    every = step.config.updates_per_rollout
    cycles = steps / every
    cycle = [Phase("rollout", sampled / cycles), Phase("update", trained / steps, every)]
    return Timeline(cycle, cycles, [start], every)


def print_simulation(console: Console, plan: Plan, machines: Machines, rows: Sequence[Row]) -> None:
    """Prints the timeline of a rollout with its updates, of the recipe, and its cost beside the paper's."""
    ranks = plan.config.launcher.num_processes * plan.config.launcher.num_nodes
    unit = f"{CARDS[machines.card].name} GPUs" if is_for_gpus(plan.config) else "CPU ranks"
    where = f"{machines.nodes} machines of {plan.config.launcher.num_processes}: {ranks} {unit}"
    console.print(f"simulated on {where}; nothing was measured", highlight=False, soft_wrap=True)
    repeating = [row for row in rows if row.time.cycle and row.step.kind == "grpo"]
    for row in repeating[:1] or [row for row in rows if row.time.cycle][:1]:
        _print_cycle(console, row)
    _print_recipe(console, plan, rows, ranks)
    for line in _assumptions(plan, machines):
        console.print(f"note: {line}", highlight=False, markup=False, soft_wrap=True)


def _print_cycle(console: Console, row: Row) -> None:
    """The phases of one rollout, each with a bar where it is in time."""
    whole, begins, cells = row.time.cycle_seconds, 0.0, []
    for phase in row.time.cycle:
        name = phase.name if phase.count == 1 else f"{phase.name} x {phase.count:g}"
        cells.append([name, f"{begins:.1f}", f"{phase.total:.1f}", f"{phase.total / whole:.0%}",
                      _bar(begins / whole, (begins + phase.total) / whole, console)])  # fmt: skip
        begins += phase.total
    steps = "a step" if row.time.steps == 1 else f"a rollout and its {row.time.steps} steps"
    title = f"{steps} of {row.step.stage}: {duration(whole)}, {duration(whole / row.time.steps)} a step"
    columns = [Column("phase"), Column("from, s", True), Column("takes, s", True), Column("share", True), Column("")]
    print_table(console, title, columns, cells)


def _print_recipe(console: Console, plan: Plan, rows: Sequence[Row], ranks: int) -> None:
    """How long each stage takes and what it costs; then beside the paper."""
    price, whole = plan.config.cost.price_per_hour, sum(row.time.seconds for row in rows)

    def money(hours: float) -> str:
        return f"{hours * price:,.0f}" if price else ""

    cells = []
    for row in rows:
        hours, ends = row.time.seconds / 3600 * ranks, row.begins + row.time.seconds
        bar = _bar(row.begins / whole, ends / whole, console)
        cells.append([row.step.stage, duration(row.time.seconds), f"{hours:,.0f}", money(hours), bar])
    hours = whole / 3600 * ranks
    cells.append(["all", duration(whole), f"{hours:,.0f}", money(hours), ""])
    columns = [Column("stage"), Column("takes", True), Column("rank hours", True), Column("USD", True), Column("")]
    print_table(console, f"the recipe, one stage after the other: {duration(whole)}", columns, cells)
    mine = {name: _hours(rows, stages, ranks) for name, (stages, _) in PAPER.items()}
    lines = [(name, mine[name], hours) for name, (_, hours) in PAPER.items()]
    lines.append(("all", sum(mine.values()), sum(hours for _, hours in PAPER.values())))
    columns = [Column("training of"), Column("here, hours", True), Column("USD", True), Column("paper, hours", True),
               Column("USD", True)]  # fmt: skip
    title = "beside the paper: DeepSeek-V3-Base on 512 H800 [V2 Table 7]"
    shown = [[name, f"{own:,.0f}", money(own), f"{theirs:,}", f"{theirs * 2:,}"] for name, own, theirs in lines]
    print_table(console, title, columns, shown)


def _hours(rows: Iterable[Row], stages: Sequence[str], ranks: int) -> float:
    return sum(row.time.seconds / 3600 * ranks for row in rows if family_of(row.step.stage) in stages)


def _assumptions(plan: Plan, machines: Machines) -> list[str]:
    """What the numbers stand on."""
    lines = [f"completions have {machines.length:g} of the allowed length on average: --simulate nodes=N,length=0.25"]
    if any(shape.experts for shape in (shape_of(plan.config.model),) if shape is not None):
        lines.append(
            "weights are sampled from in bf16 (the paper served fp8); what experts send to each other is not counted, "
            "because no mechanism for it is here"
        )
    if not plan.config.cost.price_per_hour:
        lines.append("without cost.price_per_hour=USD there is no cost")
    return lines


def _bar(begins: float, ends: float, console: Console) -> str:
    """Where something is between the beginning (0) and the end (1)."""
    full, empty = ("#", " ") if console.options.ascii_only else ("█", " ")
    first = min(BAR - 1, int(begins * BAR))
    return empty * first + full * max(1, round(ends * BAR) - first)


def simulation_json(machines: Machines, rows: Sequence[Row], plan: Plan) -> dict[str, Any]:
    """The same as plain data, for `plan --json`."""
    ranks = plan.config.launcher.num_processes * plan.config.launcher.num_nodes
    return {
        "machines": dataclasses.asdict(machines),
        "ranks": ranks,
        "stages": [
            {
                "stage": row.step.stage,
                "begins_s": round(row.begins, 1),
                "seconds": round(row.time.seconds, 1),
                "rank_hours": round(row.time.seconds / 3600 * ranks, 1),
                "cost": round(row.time.seconds / 3600 * ranks * plan.config.cost.price_per_hour, 1),
                "cycle": [dataclasses.asdict(phase) for phase in row.time.cycle],
                "cycles": row.time.cycles,
                "others": [dataclasses.asdict(phase) for phase in row.time.others],
            }
            for row in rows
        ],
        "paper_hours": {name: hours for name, (_, hours) in PAPER.items()},
    }
