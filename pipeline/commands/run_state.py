"""Where a run stands, read from its files alone: while a driver works on it too, and on a machine that never ran it."""

import datetime
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pipeline.commands.stage_state import stage_state, variants
from pipeline.configuration.graph import STAGES, build, is_stage, stage_order
from pipeline.configuration.resolve import from_tree
from pipeline.configuration.schema import LauncherConfig
from pipeline.execution import lock
from pipeline.execution.sweeping.sweep_file import find_sweeps
from pipeline.planning.whole import command_of_run, configuration_tree, flaws, last_overrides
from stages.config import ConfigError


def read_run(run_dir: Path) -> dict[str, Any]:
    """The state of a run as plain data: what `status --json` prints."""
    config = configuration_tree(run_dir)
    since = held_since(run_dir)
    is_held = since is not None
    stall_after_s = (config.get("launcher") or {}).get("stall_after_s", LauncherConfig().stall_after_s)
    names = stage_names(run_dir)
    stages = [
        stage_state(run_dir / name, since, stall_after_s) | {"variants": variants(run_dir / name, since)}
        for name in names
    ]
    selected = _selected(config)
    unfinished = [name for name in selected if name not in names] or [
        stage["stage"] for stage in stages if stage["state"] not in ("done", "damaged")
    ]
    overrides = last_overrides(run_dir)
    return {
        "run": run_dir.name,
        "run_dir": str(run_dir),
        "recipe": config.get("recipe", "unknown"),
        "seed": config.get("seed"),
        "driver": lock.describe_holder(run_dir / ".lock") if is_held else None,
        "lost_driver": None if is_held else _lost_driver(run_dir),
        "stages": stages,
        "not_started": [name for name in selected if name not in names],
        "flaws": [{"stage": flaw.stage, "message": flaw.message, "mends": list(flaw.mends)} for flaw in flaws(run_dir)],
        "sweeps": [asdict(one) for one in find_sweeps(run_dir, is_held)],
        "continue": (
            command_of_run(run_dir, config.get("recipe"), overrides, _stages_word(selected))
            if unfinished and not is_held and overrides is not None and selected
            else None
        ),
        "report": str(run_dir / "report.html") if (run_dir / "report.html").exists() else None,
    }


def stage_names(run_dir: Path) -> list[str]:
    """The stages that have a directory in the run, in order of execution."""
    return sorted((path.name for path in run_dir.iterdir() if path.is_dir() and is_stage(path.name)), key=stage_order)


def held_since(run_dir: Path) -> float | None:
    """When the driver that holds the run has taken it, Unix time; 0 where its note is silent; None where none does."""
    if not lock.is_held(run_dir):
        return None
    holder = lock.read_note(run_dir / ".lock")
    try:
        return datetime.datetime.fromisoformat(holder.since).timestamp() if holder else 0.0
    except ValueError:
        return 0.0


def _lost_driver(run_dir: Path) -> str | None:
    """The driver that ended without giving the run back: it was killed. None where the last one ended by itself."""
    holder = lock.read_note(run_dir / ".lock")
    return str(holder) if holder else None


def _selected(tree: dict[str, Any]) -> list[str]:
    """The stages that the run's last command selected, without those that its configuration leaves out."""
    try:
        config = from_tree(tree)
    except ConfigError:  # written by another version of the schema
        return [name for name in STAGES if (tree.get("selected") or {}).get(name)]
    return [name for name in config.selection if name in build(config).nodes]


def _stages_word(selected: list[str]) -> str:
    if len(selected) == 1:
        return selected[0]
    return f"[{','.join(selected)}]"
