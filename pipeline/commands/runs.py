"""The command `runs`: what runs there are."""

import json
import time
from pathlib import Path
from typing import Annotated, Any

from rich.markup import escape

from pipeline.commands.declaration import Overrides, declare, exit_codes, flag
from pipeline.commands.run_directory import runs_in, runs_place
from pipeline.commands.run_state import held_since, stage_names
from pipeline.commands.stage_state import quick_state
from pipeline.configuration.graph import FAMILIES, family_of
from pipeline.errors import MissingInput
from pipeline.execution import lock
from pipeline.planning.whole import configuration_tree
from pipeline.view.colours import COLOURS as STATE_COLOURS
from pipeline.view.console import standard_console
from pipeline.view.tables import Column, print_table
from pipeline.view.words import duration, numbers, size
from stages.contract.manifest import Manifest
from stages.contract.results import Result, find_results

COLUMNS = (
    Column("run"),
    Column("recipe", goes=3),
    Column("seed", is_number=True, goes=1),
    Column("state"),
    Column("headline", is_sentence=True),
    Column("age", is_number=True),
    Column("size", is_number=True, goes=2),
)
BEGUN = ("running", "failed", "interrupted", "damaged")

app = declare(
    "runs",
    "[--json] [runs_dir=DIRECTORY]",
    {"r1 runs": "the runs below runs/, the one worked on last first", "r1 runs --json": "for programs"},
    exit_codes(0, 2, 3),
)


@app.default
def runs(*overrides: Overrides, as_json: Annotated[bool, flag("--json")] = False) -> int:
    """List the runs: recipe, seed, state, headline, age and size.

    Commands without `run=` take the first one, which was worked on last.

    Args:
        overrides: `runs_dir=DIRECTORY`; by default runs.
        as_json: Print JSON for programs.
    """
    place = runs_place(overrides, "runs", keys=("runs_dir",))
    found = [describe(run_dir) for run_dir in reversed(runs_in(place))]
    if as_json:
        print(json.dumps(found, indent=1, ensure_ascii=False))
        return 0
    if not found:
        raise MissingInput(f"there is no run in {place} yet", "r1 run +stage=all")
    console = standard_console()
    print_table(console, f"runs in {place}", COLUMNS, [_row(one) for one in found])
    console.print(f"commands without run= take {found[0]['run']}", highlight=False, markup=False, soft_wrap=True)
    return 0


def _row(one: dict[str, Any]) -> tuple[str, ...]:
    return (
        escape(one["run"]),
        escape(str(one["recipe"])),
        str(one["seed"]),
        f"[{STATE_COLOURS.get(one['state'], 'red')}]{one['state']}[/]",
        escape(one["headline"]),
        duration(one["age_s"]),
        size(one["bytes"]),
    )


def describe(run_dir: Path) -> dict[str, Any]:
    """What is to be said of a run in one line, without a look at the content of its models."""
    config = configuration_tree(run_dir)
    states = {name: quick_state(run_dir / name, held_since(run_dir)) for name in stage_names(run_dir)}
    is_held = lock.is_held(run_dir)
    begun = [name for name, state in states.items() if state in BEGUN]
    state = states[begun[-1]] if begun else "done" if states else "empty"
    if is_held:
        state = "running"
    num_done = sum(state == "done" for state in states.values())
    where = f"{begun[-1]}; " if begun else ""
    return {
        "run": run_dir.name,
        "run_dir": str(run_dir),
        "recipe": config.get("recipe", "?"),
        "seed": config.get("seed", "?"),
        "state": state,
        "driver": lock.describe_holder(run_dir / ".lock") if is_held else None,
        "stages": states,
        "headline": f"{where}{headline(run_dir, list(states)) or f'{num_done} stages done'}",
        "age_s": round(time.time() - _last_change(run_dir)),
        "bytes": disk_bytes(run_dir),
    }


def headline(run_dir: Path, names: list[str]) -> str:
    """The most telling number of a run: pass@1 of its last model, else the numbers of its last finished stage."""
    scores = [row for row in find_results(run_dir / "evaluate" / "latest") if row["metric"] == "pass@1"]
    if scores:
        return _score(scores)
    for name in reversed(names):
        manifest = Manifest.find(run_dir / name / "latest")
        if manifest is not None and manifest.metrics:
            return f"{name}: {numbers(manifest.metrics)}"
    return ""


def _score(scores: list[Result]) -> str:
    models = list(dict.fromkeys(row["model"] for row in scores))
    teachers = [model for model in models if family_of(model) not in FAMILIES]
    chosen = (teachers or models)[-1]
    row = next(row for row in scores if row["model"] == chosen)
    base = next((one for one in scores if one["model"] == "base" and one["set"] == row["set"]), None)
    beside = f", base {100 * base['value']:.1f}" if base and chosen != "base" else ""
    return f"{chosen} {100 * row['value']:.1f}% on {row['set']}{beside}"


def _last_change(run_dir: Path) -> float:
    files = [run_dir / "config.yaml", *run_dir.glob("*/latest/progress.json"), *run_dir.glob("*/latest/manifest.json")]
    return max((path.stat().st_mtime for path in files if path.exists()), default=time.time())


def disk_bytes(directory: Path) -> int:
    """Bytes of all files below a directory; one that has several names counts once."""
    seen = {}
    for path in directory.rglob("*"):
        try:
            stat = path.lstat()
        except OSError:  # it has gone since
            continue
        if not path.is_dir() or path.is_symlink():
            seen[stat.st_dev, stat.st_ino] = stat.st_size
    return sum(seen.values())
