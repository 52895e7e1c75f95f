"""The state of one stage of a run: of its current directory, and of the variants beside it."""

import re
import signal
import time
from pathlib import Path
from typing import Any

from pipeline.execution import stall
from pipeline.execution.failure import failure_kind, root_failure
from pipeline.planning.action import checkpoint_steps
from pipeline.planning.whole import changed_keys
from stages.contract.description import StageDescription
from stages.contract.error_report import ErrorReport
from stages.contract.failures import read_failures
from stages.contract.files import read_jsonl
from stages.contract.manifest import Manifest, Verdict, verify
from stages.contract.outcome import Outcome
from stages.contract.progress import INTERRUPTED as PHASE_INTERRUPTED
from stages.contract.progress import StageProgress
from stages.contract.reused import Reused

SHORT_FINGERPRINT = re.compile(r"[0-9a-f]{8}")
CLOCKS_DIFFER_S = 2  # the lock's note has whole seconds


def stage_state(stage_dir: Path, held_since: float | None, stall_after_s: float) -> dict[str, Any]:
    """The state of a stage, read from the directory that its `latest` points to.

    Args:
        stage_dir: `<run>/<stage>`.
        held_since: when the driver that holds the run's lock took it; None where none holds it.
        stall_after_s: seconds without progress after which a running stage counts as stalled.

    Returns:
        Plain data; `others` counts the directories of other configurations, `stalled` says which rank has waited since
        when, or is None.
    """
    directory = (stage_dir / "latest").resolve()
    verdict = verify(directory)
    progress = StageProgress.find(directory)
    name, message, fix = _state(verdict, directory, progress, held_since)
    step, num_steps = _place(directory, progress)
    state: dict[str, Any] = {
        "stage": stage_dir.name,
        "state": name,
        "fingerprint": directory.name,
        "dir": str(directory),
        "step": step,
        "num_steps": num_steps,
        "phase": progress.phase if progress else None,
        "eta_s": None,
        "message": message,
        "fix": fix,
        "metrics": {},
        "seconds": None,
        "others": len(_others(stage_dir, directory)),
        "alarms": read_jsonl(directory / "alarms.jsonl") + read_jsonl(directory / "skipped.jsonl"),
        "stalled": None,
        "reused_from": reused.run if (reused := Reused.find(directory)) else None,
    }
    if verdict.manifest:
        state |= {
            "metrics": verdict.manifest.metrics,
            "step": state["num_steps"],
            "seconds": verdict.manifest.timing.total_s,
            "peak_memory_gib": verdict.manifest.peak_memory_gib,
        }
    elif name == "running":
        state |= _of_running(directory, progress or StageProgress(), stall_after_s)
    return state


def quick_state(stage_dir: Path, held_since: float | None) -> str:
    """The state of a stage's current directory, by its small files: of models no checksum is looked at."""
    directory = (stage_dir / "latest").resolve()
    manifest = Manifest.find(directory)
    if manifest is None:
        verdict = verify(directory)  # a manifest that is none is damage too
    elif stage_dir.name == "evaluate":
        verdict = verify(directory)  # what people quote; its files are small
    else:
        is_complete = all((directory / name).is_file() for name in manifest.files)
        verdict = Verdict(manifest, [] if is_complete else ["a file is missing"])
    return _state(verdict, directory, StageProgress.find(directory), held_since)[0]


def variants(stage_dir: Path, held_since: float | None) -> list[dict[str, Any]]:
    """The directories of a stage that are not current, the newest first: what they differ in, and how far they are."""
    current = (stage_dir / "latest").resolve()
    found = []
    for directory in sorted(_others(stage_dir, current), key=lambda path: path.stat().st_mtime, reverse=True):
        verdict, progress = verify(directory), StageProgress.find(directory)
        step, num_steps = _place(directory, progress)
        found.append(
            {
                "fingerprint": directory.name,
                "state": _state(verdict, directory, progress, held_since)[0],
                "step": num_steps if verdict.manifest else step,
                "num_steps": num_steps,
                "changes": changed_keys(current, directory) if current.is_dir() else "",
                "metrics": verdict.manifest.metrics if verdict.manifest else {},
            }
        )
    return found


def _others(stage_dir: Path, current: Path) -> list[Path]:
    return [
        path
        for path in stage_dir.iterdir()
        if SHORT_FINGERPRINT.fullmatch(path.name) and path.is_dir() and not path.is_symlink() and path != current
    ]


def _of_running(directory: Path, progress: StageProgress, stall_after_s: float) -> dict[str, Any]:
    stalled = stall.describe(directory, stall_after_s)
    return {
        "eta_s": progress.eta_s,
        "stalled": stalled,
        "message": stalled or progress.message,
        "seconds": time.time() - progress.started if progress.started else 0.0,
    }


def _state(
    verdict: Verdict, directory: Path, progress: StageProgress | None, held_since: float | None
) -> tuple[str, str, str]:
    """(state, what is to be said of it, what to do about it)."""
    if verdict.is_there:
        return ("damaged" if verdict.problems else "done"), "; ".join(verdict.problems), ""
    logs = directory / "logs" / "latest"
    outcome, error = Outcome.find(logs), ErrorReport.find(directory)
    if outcome is not None:
        return outcome.state, outcome.message, outcome.fix
    if error is not None:
        return "failed", f"rank {error.rank or 0}: {error.message}", error.fix
    rank, code = root_failure(read_failures(logs))
    if code is not None and code < 0 and code != -signal.SIGTERM:  # of ranks without a driver
        return "failed", f"rank {rank}: {failure_kind(None, code, code)}", ""
    has_stopped = (
        progress is not None and progress.phase == PHASE_INTERRUPTED and progress.updated > (held_since or 0.0)
    )
    if held_since is not None and not has_stopped and _is_of_driver(logs, held_since):
        return "running", "", ""
    kept = checkpoint_steps(directory)
    return "interrupted", f"continues from the checkpoint of step {kept[-1]}" if kept else "", ""


def _is_of_driver(logs: Path, held_since: float) -> bool:
    """Whether the newest attempt is that of the driver which holds the run: its ranks write there all the time."""
    return not logs.exists() or logs.stat().st_mtime > held_since - CLOCKS_DIFFER_S


def _place(directory: Path, progress: StageProgress | None) -> tuple[int | None, int | None]:
    """(step, number of steps): of the progress, or, where that begins anew after a stop, of the log and the plan."""
    if progress is None:
        return None, None
    if progress.step:
        return progress.step, progress.num_steps
    last = _last_logged_step(directory / "metrics.jsonl")
    description = StageDescription.find(directory)
    planned = description.config.get("num_steps") if description and last else None
    return last, progress.num_steps or (planned if isinstance(planned, int) else 0)


def _last_logged_step(path: Path) -> int:
    try:
        return max((row["step"] for row in read_jsonl(path)), default=0)
    except (ValueError, KeyError, TypeError):  # damaged
        return 0
