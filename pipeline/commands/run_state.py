"""Where a run stands, read from its files alone: while a driver works on it too, and on a machine that never ran it."""

import time
from pathlib import Path
from typing import Any

import yaml

from pipeline.configuration.graph import STAGES, build, is_stage, stage_order
from pipeline.configuration.resolve import from_tree
from pipeline.configuration.schema import LauncherConfig
from pipeline.execution import lock, stall
from stages.config import ConfigError
from stages.contract.error_report import ErrorReport
from stages.contract.files import read_jsonl
from stages.contract.manifest import Verdict, verify
from stages.contract.progress import INTERRUPTED, StageProgress


def read_run(run_dir: Path) -> dict[str, Any]:
    """The state of a run as plain data: what `status --json` prints."""
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


def _selected(tree: dict[str, Any]) -> list[str]:
    """The stages that the run's last command selected, without those that its configuration leaves out."""
    try:
        config = from_tree(tree)
    except ConfigError:  # written by another version of the schema
        return [name for name in STAGES if tree["selected"].get(name)]
    return [name for name in config.selection if name in build(config).nodes]


def stage_state(stage_dir: Path, is_held: bool, stall_after_s: float) -> dict[str, Any]:
    """The state of a stage, read from the directory that its `latest` points to.

    Args:
        stage_dir: `<run>/<stage>`.
        is_held: whether a driver holds the run's lock: an unfinished stage is running, else it was interrupted.
        stall_after_s: seconds without progress after which a running stage counts as stalled.

    Returns:
        Plain data; `others` counts the directories of other configurations, `stalled` says which rank has waited since
        when, or is None.
    """
    directory = (stage_dir / "latest").resolve()
    verdict = verify(directory)
    progress = StageProgress.find(directory)
    error = ErrorReport.find(directory)
    state: dict[str, Any] = {
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
        state |= _of_running(directory, progress or StageProgress(), stall_after_s)
    elif error:
        state["message"] = f"rank {error.rank or 0}: {error.message}"
    return state


def _of_running(directory: Path, progress: StageProgress, stall_after_s: float) -> dict[str, Any]:
    stalled = stall.describe(directory, stall_after_s)
    return {
        "eta_s": progress.eta_s,
        "stalled": stalled,
        "message": stalled or progress.message,
        "seconds": time.time() - progress.started if progress.started else 0.0,
    }


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
