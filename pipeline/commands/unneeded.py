"""What of a run nobody needs any more, and its deletion.

Needed are the directories that each stage's `latest` points to, those that can be resumed, evaluations of current
models on any suites, and everything that these were made from. Runs beside this one, in the same runs_dir, count too:
what they read is needed.
"""

import os
import re
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from pipeline.configuration.graph import is_stage
from stages.contract.description import StageDescription
from stages.contract.inputs import StageInput, find_inputs
from stages.contract.manifest import Manifest
from stages.contract.progress import StageProgress
from stages.contract.rollout_files import logged_steps

SHORT_FINGERPRINT = re.compile(r"[0-9a-f]{8}")
KEPT_ASIDE = re.compile(r"[0-9a-f]{8}\.old-\d+")  # what force=true renames a directory to
ONLY_FOR_RESUMING = ("state", "references", "cache")
FRESH_S = 120  # a worker without a driver holds no lock; its progress file is younger than this


@dataclass(frozen=True)
class Unneeded:
    """A file or directory that can be deleted, the reason, and its size in bytes."""

    path: Path
    why: str
    num_bytes: int


@dataclass(frozen=True)
class Findings:
    """What can be deleted, and notes on what is kept although it may look as if it could go."""

    items: list[Unneeded]
    notes: list[str]

    @property
    def num_bytes(self) -> int:
        """The size of everything that can be deleted."""
        return sum(item.num_bytes for item in self.items)


def find(run_dir: Path, with_logs: bool = False, with_unfinished: bool = False) -> Findings:
    """What nobody needs any more. No item lies within another.

    Args:
        run_dir: the run's directory; nobody may be at work in it but lone workers, which are recognised.
        with_logs: also the logs of earlier attempts.
        with_unfinished: also superseded directories that could be resumed, and what only they need.
    """
    directories = [path for path in stage_directories(run_dir) if not _is_alive(path)]
    kept_aside = [path for path in directories if KEPT_ASIDE.fullmatch(path.name)]
    others = [path for path in directories if path not in kept_aside]
    unfinished = [path for path in others if not _is_done(path) and not _is_latest(path) and has_checkpoint(path)]
    kept_unfinished = [] if with_unfinished else unfinished
    needed, unreadable = needed_directories(run_dir, kept_unfinished)
    superseded = [] if unreadable else [path for path in others if path not in needed]

    items = [Unneeded(path, "kept aside by force=true", tree_bytes(path)) for path in kept_aside]
    items += [Unneeded(path, "superseded", tree_bytes(path)) for path in superseded]
    for directory in others:
        if directory not in superseded:
            items += _unneeded_parts(directory, with_logs)
    items += _temporary_outside(run_dir, {item.path for item in items})
    notes = [f"{path} cannot be read, so no superseded directory is deleted" for path in unreadable]
    notes += [f"{path} was superseded but can be resumed: --unfinished deletes it too" for path in kept_unfinished]
    return Findings(items, notes)


def _unneeded_parts(directory: Path, with_logs: bool) -> list[Unneeded]:
    """What can go of a stage directory that stays."""
    items = []
    if _is_done(directory):
        items += _existing([directory / name for name in ONLY_FOR_RESUMING], "only for resuming, and the stage is done")
    if with_logs:
        items += _existing(_old_logs(directory), "log of an earlier attempt")
    return items


def _temporary_outside(run_dir: Path, taken: set[Path]) -> list[Unneeded]:
    """Temporary files that are neither within what is deleted anyway nor in use by a lone worker."""
    return [
        item
        for item in _existing(_temporary(run_dir), "temporary")
        if not taken & {item.path, *item.path.parents} and not any(_is_alive(parent) for parent in item.path.parents)
    ]


def stage_directories(run_dir: Path) -> list[Path]:
    """All <stage>/<short fingerprint> and <stage>/<short fingerprint>.old-N of a run."""
    found: list[Path] = []
    for stage_dir in sorted(run_dir.iterdir()):
        if is_stage(stage_dir.name):
            found += [path for path in sorted(stage_dir.glob("*")) if _is_stage_directory(path)]
    return found


def _is_stage_directory(path: Path) -> bool:
    is_named_so = SHORT_FINGERPRINT.fullmatch(path.name) or KEPT_ASIDE.fullmatch(path.name)
    return is_named_so is not None and path.is_dir() and not path.is_symlink()


def needed_directories(run_dir: Path, resumable: list[Path]) -> tuple[set[Path], list[Path]]:
    """Follows inputs from what is wanted in itself: `latest`, the resumable, what lone workers or other runs use.

    Args:
        run_dir: the run's directory.
        resumable: unfinished directories that are to stay.

    Returns:
        The directories of the run that something needs, and the inputs.json files that cannot be read.
    """
    needed: set[Path] = set()
    unreadable: list[Path] = []
    frontier = [link.parent / os.readlink(link) for link in run_dir.glob("*/latest") if link.is_symlink()]
    frontier += resumable
    frontier += [path for path in stage_directories(run_dir) if _is_alive(path)]
    frontier += _evaluations_of_current_models(run_dir)
    frontier += _read_by_other_runs(run_dir)
    while frontier:
        directory = frontier.pop()
        if directory in needed or not directory.is_dir():
            continue
        needed.add(directory)
        inputs = find_inputs(directory)
        if inputs is None:
            unreadable.append(directory / "inputs.json")
            continue
        frontier += _inside(run_dir, directory)
        # by name too: where the run was moved, the paths in inputs.json lead to its old place
        frontier += [run_dir / source.stage / source.fingerprint[:8] for source in inputs.values() if source.stage]
    return needed, unreadable


def _evaluations_of_current_models(run_dir: Path) -> list[Path]:
    """Finished evaluations of models that are current, or come from outside: on other suites they are results too."""

    def is_current(source: StageInput) -> bool:
        latest = run_dir / (source.stage or "") / "latest"
        return source.stage is None or (latest.is_symlink() and os.readlink(latest) == source.fingerprint[:8])

    found = []
    for path in stage_directories(run_dir):
        if path.parent.name == "evaluate" and SHORT_FINGERPRINT.fullmatch(path.name) and _is_done(path):
            inputs = find_inputs(path)
            if inputs is not None and all(map(is_current, inputs.values())):
                found.append(path)
    return found


def _read_by_other_runs(run_dir: Path) -> list[Path]:
    found: list[Path] = []
    for inputs in run_dir.parent.glob("*/*/*/inputs.json"):
        if inputs.parents[2] != run_dir:
            found += _inside(run_dir, inputs.parent)
    return found


def _inside(run_dir: Path, reader: Path) -> list[Path]:
    """The stage directories of this run that hold inputs or the data file of the stage directory `reader`."""
    paths: list[str | None] = [source.path for source in (find_inputs(reader) or {}).values()]
    description = StageDescription.find(reader)
    data = description.config.get("data") if description else None
    paths += [data.get("path")] if isinstance(data, dict) else []
    root = run_dir.resolve()
    resolved = [Path(path).resolve() for path in paths if path]
    inside = [path.relative_to(root) for path in resolved if path.is_relative_to(root)]
    return [run_dir.joinpath(*path.parts[:2]) for path in inside if len(path.parts) >= 2]


def delete(path: Path) -> None:
    """Deletes a file or a directory.

    A directory is renamed first: what a killed deletion leaves is a temporary directory, never half a result.
    """
    if path.is_dir() and not path.is_symlink():
        gone = path.with_name(f".{path.name.strip('.')}.{os.getpid()}.tmp")
        path.rename(gone)
        shutil.rmtree(gone)
    else:
        path.unlink()


def tree_bytes(path: Path) -> int:
    """The size in bytes of a file, or of all files below a directory; links are not followed."""
    if path.is_symlink() or path.is_file():
        return path.lstat().st_size
    return sum(child.lstat().st_size for child in path.rglob("*") if child.is_symlink() or child.is_file())


def has_checkpoint(directory: Path) -> bool:
    """Whether a stage directory holds anything that a resumed stage would go on from."""
    return (
        any(directory.glob("state/**/step_*/manifest.json"))
        or any(directory.glob("state/*.json*"))
        or bool(logged_steps(directory / "rollouts"))
    )


def _is_done(directory: Path) -> bool:
    return Manifest.find(directory) is not None


def _is_latest(directory: Path) -> bool:
    link = directory.parent / "latest"
    return link.is_symlink() and os.readlink(link) == directory.name


def _is_alive(directory: Path) -> bool:
    """Whether a worker that no driver watches may be at work here."""
    progress = StageProgress.find(directory)
    return (
        progress is not None
        and bool(progress.phase)
        and not progress.has_ended
        and time.time() - progress.updated < FRESH_S
        and not _is_done(directory)
        and not (directory / "error.json").exists()
    )


def _temporary(run_dir: Path) -> list[Path]:
    """Files and directories that an ended process was writing, outermost first."""
    found = list(run_dir.rglob(".*.tmp"))
    for directory in stage_directories(run_dir):
        found += [*directory.glob("logs/.latest.*"), *directory.glob(".reserve")]
    return [path for path in sorted(found) if not set(path.parents) & set(found)]


def _old_logs(directory: Path) -> list[Path]:
    latest = directory / "logs" / "latest"
    return [
        path
        for path in sorted((directory / "logs").glob("attempt_*"))
        if latest.is_symlink() and path.name != os.readlink(latest)
    ]


def _existing(paths: list[Path], why: str) -> list[Unneeded]:
    return [Unneeded(path, why, tree_bytes(path)) for path in paths if path.exists() or path.is_symlink()]
