"""Where a run stands, read from disk alone: also while a driver works on it, and on a machine that never ran it."""

import time
from pathlib import Path

import yaml
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pipeline.configuration.graph import STAGES, build, is_stage, stage_order
from pipeline.configuration.resolve import from_tree
from pipeline.configuration.schema import LauncherConfig
from pipeline.execution import lock, stall
from pipeline.view import COLOURS, duration, numbers
from stages.config import ConfigError
from stages.contract.error_report import ErrorReport
from stages.contract.files import read_jsonl
from stages.contract.manifest import Verdict, verify
from stages.contract.progress import INTERRUPTED, StageProgress


def read(run_dir: Path) -> dict:
    """The state of a run as plain data."""
    config = yaml.safe_load((run_dir / "config.yaml").read_text(encoding="utf-8"))
    is_held = lock.is_held(run_dir)
    stall_after_s = (config.get("launcher") or {}).get("stall_after_s", LauncherConfig().stall_after_s)
    stages = [stage_state(run_dir / name, is_held, stall_after_s) for name in stage_names(run_dir)]
    return {
        "run": config["run"],
        "run_dir": str(run_dir),
        "recipe": config["recipe"],
        "seed": config["seed"],
        "driver": lock.describe_holder(run_dir / ".lock") if is_held else None,
        "stages": stages,
        "not_started": [name for name in _selected(config) if not (run_dir / name).is_dir()],
        "report": str(run_dir / "report.html") if (run_dir / "report.html").exists() else None,
    }


def stage_names(run_dir: Path) -> list[str]:
    """The stages that have a directory in the run, in order of execution."""
    return sorted((path.name for path in run_dir.iterdir() if path.is_dir() and is_stage(path.name)), key=stage_order)


def _selected(tree: dict) -> list[str]:
    """The stages that the run's last command selected, but for those that its configuration leaves out."""
    try:
        config = from_tree(tree)
    except ConfigError:  # written by another version of the schema
        return [name for name in STAGES if tree["selected"].get(name)]
    return [name for name in config.selection if name in build(config).nodes]


def stage_state(stage_dir: Path, is_held: bool, stall_after_s: float) -> dict:
    """The state of a stage's latest directory; `others` counts directories of other configurations, `stalled` says
    since when which rank waits.
    """
    directory = (stage_dir / "latest").resolve()
    verdict = verify(directory)
    progress, error = StageProgress.find(directory), ErrorReport.find(directory)
    state = {
        "stage": stage_dir.name,
        "state": _state(verdict, progress, error, is_held),
        "fingerprint": directory.name,
        "dir": str(directory),
        "step": progress.step if progress else None,
        "num_steps": progress.num_steps if progress else None,
        "phase": progress.phase if progress else None,
        "eta_s": None,
        "message": "",
        "metrics": {},
        "seconds": None,
        "others": _num_others(stage_dir, directory),
        "alarms": read_jsonl(directory / "alarms.jsonl") + read_jsonl(directory / "skipped.jsonl"),
        "stalled": None,
    }
    if verdict.manifest:
        state |= {
            "metrics": verdict.manifest.metrics,
            "step": state["num_steps"],
            "seconds": verdict.manifest.timing.total_s,
            "peak_memory_gib": verdict.manifest.peak_memory_gib,
            "message": "; ".join(verdict.problems),
        }
    elif verdict.problems:
        state["message"] = "; ".join(verdict.problems)
    elif state["state"] == "running":
        stalled, known = stall.describe(directory, stall_after_s), progress or StageProgress()
        state |= {
            "eta_s": known.eta_s,
            "stalled": stalled,
            "message": stalled or known.message,
            "seconds": time.time() - known.started if known.started else 0.0,
        }
    elif error:
        state["message"] = f"rank {error.rank or 0}: {error.message}"
    return state


def _state(verdict: Verdict, progress: StageProgress | None, error: ErrorReport | None, is_held: bool) -> str:
    if verdict.is_there:
        return "damaged" if verdict.problems else "done"
    if error:
        return "failed"
    is_interrupted = progress is not None and progress.phase == INTERRUPTED
    return "running" if is_held and not is_interrupted else "interrupted"


def _num_others(stage_dir: Path, latest: Path) -> int:
    return sum(
        1
        for path in stage_dir.iterdir()
        if path.is_dir() and not path.is_symlink() and path != latest and ".old-" not in path.name
    )


def show(state: dict, console: Console) -> None:
    holder = f", driver: {state['driver']}" if state["driver"] else ""
    table = Table(
        title=f"run {state['run']} (recipe {state['recipe']}, seed {state['seed']}){holder}",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
    )
    for name, keeps_width in (
        ("stage", True),
        ("state", True),
        ("step", True),
        ("time", True),
        ("left", True),
        ("numbers", False),
        ("fp8", True),
    ):
        table.add_column(name, no_wrap=keeps_width, justify="right" if name in ("step", "time", "left") else "left")
    for stage in state["stages"]:
        step = f"{stage['step']}/{stage['num_steps']}" if stage["num_steps"] else ""
        table.add_row(
            stage["stage"],
            f"[{COLOURS.get(stage['state'], 'red')}]{stage['state']}[/]",
            step,
            duration(stage["seconds"]),
            duration(stage["eta_s"]),
            escape(stage["message"] or numbers(stage["metrics"])),
            stage["fingerprint"],
        )
    for name in state["not_started"]:
        table.add_row(name, "[dim]not started[/]")
    console.print(table)
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
