"""The command `compare`: two runs side by side: stages, configurations, results on the same problems, costs."""

import json
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter
from rich.console import Console
from rich.markup import escape

from pipeline.commands.comparison import Compared, compare_results
from pipeline.commands.declaration import ARGUMENTS, Overrides, declare, exit_codes, flag
from pipeline.commands.run_directory import find_run, runs_place
from pipeline.commands.run_state import held_since, stage_names
from pipeline.commands.stage_state import quick_state
from pipeline.configuration.graph import stage_order
from pipeline.planning.fingerprint import differences
from pipeline.planning.whole import configuration_of, current_directories
from pipeline.report import cost
from pipeline.view.colours import COLOURS as STATE_COLOURS
from pipeline.view.console import standard_console
from pipeline.view.tables import Column, print_table
from stages.config import to_dict
from stages.config.quoting import hydra_quoted
from stages.contract.description import StageDescription

OF_ONE_RUN = ("run", "runs_dir", "selected", "force")  # keys that two runs never share, and that make no difference
SHOWN_DIFFERENCES = 40

app = declare(
    "compare",
    "RUN_A RUN_B [--json] [runs_dir=DIRECTORY]",
    {
        "r1 compare tiny second": "two runs below runs/",
        "r1 compare tiny /other/runs/tiny --json": "a run elsewhere, by its directory; for programs",
    },
    exit_codes(0, 2, 3),
)


@app.default
def compare(
    first: Annotated[str, Parameter(name="RUN_A", group=ARGUMENTS)],
    second: Annotated[str, Parameter(name="RUN_B", group=ARGUMENTS)],
    *overrides: Overrides,
    as_json: Annotated[bool, flag("--json")] = False,
) -> int:
    """Put two runs side by side: stages, configurations, results on the same problems, costs.

    Results are those of the runs' current evaluations. A difference is RUN_B minus RUN_A; its interval and p come from
    a paired test over the problems that both models were asked, as in comparisons.json.

    Args:
        first: The name of a run, or the directory of one.
        second: The run that is compared with it.
        overrides: `runs_dir=DIRECTORY`; by default runs.
        as_json: Print JSON for programs.
    """
    place = runs_place(overrides, "compare", keys=("runs_dir",))
    found = _compared(_run(first, place), _run(second, place))
    if as_json:
        print(json.dumps(found, indent=1, ensure_ascii=False))
    else:
        _show(found, standard_console())
    return 0


def _run(name: str, place: Path) -> Path:
    """The directory of a run by its name, or by its own path."""
    path = Path(name).expanduser()
    if "/" in name and (path / "config.yaml").is_file():
        return path.resolve()
    return find_run([f"run={hydra_quoted(name)}", f"runs_dir={hydra_quoted(str(place))}"], "compare")


def _compared(first: Path, second: Path) -> dict[str, Any]:
    """All that is known of the two, as plain data."""
    rows, notes = compare_results(first / "evaluate" / "latest", second / "evaluate" / "latest")
    return {
        "a": str(first),
        "b": str(second),
        "stages": _stages(first, second),
        "configuration": _configurations(first, second),
        "results": [row.as_dict() for row in rows],
        "notes": notes,
        "costs": _costs(first, second),
    }


def _stages(first: Path, second: Path) -> list[dict[str, Any]]:
    """Each stage that one of them has: its state and its fingerprint in both."""
    names = sorted({*stage_names(first), *stage_names(second)}, key=stage_order)
    states = [{name: quick_state(run / name, held_since(run)) for name in stage_names(run)} for run in (first, second)]
    directories = [current_directories(run) for run in (first, second)]
    rows = []
    for name in names:
        prints = [found[name].name if name in found else None for found in directories]
        rows.append(
            {
                "stage": name,
                "a": states[0].get(name),
                "b": states[1].get(name),
                "a_fingerprint": prints[0],
                "b_fingerprint": prints[1],
                "is_same": prints[0] is not None and prints[0] == prints[1],
            }
        )
    return rows


def _configurations(first: Path, second: Path) -> list[str]:
    """The keys in which the configurations differ, a line each: KEY A -> B."""
    trees = []
    for run in (first, second):
        config = configuration_of(run)
        if config is None:
            return [f"the configuration of {run} cannot be read by this version"]
        trees.append({key: value for key, value in to_dict(config).items() if key not in OF_ONE_RUN})
    return differences(trees[0], trees[1]) + _versions(first, second)


def _versions(first: Path, second: Path) -> list[str]:
    """The kinds of stages whose code differs, a line each: such stages differ whatever their configurations say."""
    found: dict[str, str] = {}
    directories = [current_directories(run) for run in (first, second)]
    for stage in directories[0].keys() & directories[1].keys():
        old, new = (StageDescription.find(of_run[stage]) for of_run in directories)
        if old is not None and new is not None and old.version != new.version:
            found[old.kind] = f"code version of {old.kind} {old.version} -> {new.version}"
    return [found[kind] for kind in sorted(found)]


def _costs(first: Path, second: Path) -> list[dict[str, Any]]:
    """Hours of ranks and tokens of each stage in both, and the sums."""
    lines = [cost.read(run) for run in (first, second)]
    by_stage = [{line.stage: line for line in [*found, cost.total(found)]} for found in lines]
    names = sorted({name for found in by_stage for name in found if name != "total"}, key=stage_order)
    return [
        {"stage": name}
        | {
            f"{side}_{key}": getattr(found[name], key) if name in found else None
            for side, found in zip("ab", by_stage)
            for key in ("hours", "sampled", "trained")
        }
        for name in (*names, "total")
    ]


def _show(found: dict[str, Any], console: Console) -> None:
    console.print(f"A: {found['a']}\nB: {found['b']}\n", highlight=False, markup=False, soft_wrap=True)
    _show_stages(found["stages"], console)
    _show_configurations(found["configuration"], console)
    _show_results([Compared(**row) for row in found["results"]], console)
    for note in found["notes"]:
        console.print(f"note: {note}", highlight=False, markup=False, soft_wrap=True)
    _show_costs(found["costs"], console)


def _show_stages(stages: list[dict[str, Any]], console: Console) -> None:
    def state(one: dict[str, Any], side: str) -> str:
        name = one[side] or "not made"
        return f"[{STATE_COLOURS.get(name, 'dim')}]{name}[/]"

    columns = (
        Column("stage"),
        Column("A"),
        Column("B"),
        Column("A is", goes=1),
        Column("B is", goes=2),
        Column("same"),
    )
    rows = [
        (
            one["stage"],
            state(one, "a"),
            state(one, "b"),
            one["a_fingerprint"] or "",
            one["b_fingerprint"] or "",
            "yes" if one["is_same"] else "",
        )
        for one in stages
    ]
    print_table(console, "stages", columns, rows)


def _show_configurations(lines: list[str], console: Console) -> None:
    console.print(f"\nconfiguration: {f'{len(lines)} keys differ, A -> B' if lines else 'the same'}", highlight=False)
    for line in lines[:SHOWN_DIFFERENCES]:
        console.print(f"  {line}", highlight=False, markup=False, soft_wrap=True)
    if len(lines) > SHOWN_DIFFERENCES:
        console.print(f"  and {len(lines) - SHOWN_DIFFERENCES} more: --json has all", highlight=False)
    console.print()


def _show_results(rows: list[Compared], console: Console) -> None:
    if not rows:
        return
    columns = (
        Column("set"),
        Column("model"),
        Column("A", is_number=True),
        Column("B", is_number=True),
        Column("B - A", is_number=True),
        Column("95% interval", is_number=True, goes=2),
        Column("p", is_number=True),
        Column("problems", is_number=True, goes=1),
    )
    cells = [
        (
            escape(row.set),
            escape(row.model),
            "" if row.a is None else f"{100 * row.a:.1f}",
            "" if row.b is None else f"{100 * row.b:.1f}",
            "" if row.difference is None else f"{100 * row.difference:+.1f}",
            "" if row.low is None or row.high is None else f"{100 * row.low:+.1f} to {100 * row.high:+.1f}",
            "" if row.p is None else f"{row.p:.2g}",
            str(row.n or ""),
        )
        for row in rows
    ]
    print_table(console, "pass@1, in percent", columns, cells)


def _show_costs(lines: list[dict[str, Any]], console: Console) -> None:
    def hours(value: float | None) -> str:
        return "" if value is None else cost.hours_text(value)

    def amount(value: int | None) -> str:
        return "" if value is None else f"{value:,}"

    columns = (
        Column("stage"),
        Column("A hours", is_number=True),
        Column("B hours", is_number=True),
        Column("A sampled", is_number=True, goes=2),
        Column("B sampled", is_number=True, goes=2),
        Column("A trained", is_number=True, goes=1),
        Column("B trained", is_number=True, goes=1),
    )
    rows = [
        (
            line["stage"],
            hours(line["a_hours"]),
            hours(line["b_hours"]),
            amount(line["a_sampled"]),
            amount(line["b_sampled"]),
            amount(line["a_trained"]),
            amount(line["b_trained"]),
        )
        for line in lines
    ]
    print_table(console, "\ncost: hours of one rank, tokens", columns, rows)
