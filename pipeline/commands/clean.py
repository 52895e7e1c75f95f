"""`clean`: what of a run nobody needs any more, how much it is, and, when told to, its deletion.

Needed is where each stage's `latest` points, what can be resumed, and everything those were made from, also by other
runs of the same runs_dir. A directory is renamed before it is deleted: what a killed `clean` leaves is a temporary
file, never half a result.
"""

import os
import re
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from pipeline.configuration.graph import is_stage
from pipeline.execution.lock import RunLock
from pipeline.view import size
from stages.contract.description import StageDescription
from stages.contract.inputs import find_inputs
from stages.contract.manifest import Manifest
from stages.contract.progress import StageProgress

FINGERPRINT, FORCED = re.compile(r"[0-9a-f]{8}"), re.compile(r"[0-9a-f]{8}\.old-\d+")
ONLY_FOR_RESUMING = ("state", "references", "cache")
FRESH_S = 120  # a worker without a driver holds no lock; its progress file is younger than this


@dataclass(frozen=True)
class Item:
    """Something to delete."""

    path: Path
    why: str
    bytes: int


@dataclass(frozen=True)
class Findings:
    items: list[Item]
    notes: list[str]


def main(run_dir: Path, console: Console, is_confirmed: bool, with_logs: bool, with_unfinished: bool) -> int:
    """Shows what can go; deletes it if `is_confirmed`. Raises RunLocked while a driver works on the run."""
    with RunLock(run_dir):
        found = find(run_dir, with_logs, with_unfinished)
        _show(found, run_dir, console)
        if is_confirmed:
            for item in found.items:
                delete(item.path)
            console.print(f"deleted, {size(sum(item.bytes for item in found.items))} freed", highlight=False)
        elif found.items:
            flags = "".join(
                f" --{name}" for name, is_set in (("logs", with_logs), ("unfinished", with_unfinished)) if is_set
            )
            console.print(
                f"nothing was deleted; to do so: python -m pipeline clean run={run_dir.name} "
                f"runs_dir={run_dir.parent} --yes{flags}",
                highlight=False,
                soft_wrap=True,
            )
    return 0


def find(run_dir: Path, with_logs: bool = False, with_unfinished: bool = False) -> Findings:
    """What nobody needs any more, none of it inside another."""
    directories = [path for path in stage_directories(run_dir) if not _is_alive(path)]
    forced = [path for path in directories if FORCED.fullmatch(path.name)]
    others = [path for path in directories if path not in forced]
    unfinished = [path for path in others if not _is_done(path) and not _is_latest(path) and has_checkpoint(path)]
    kept_unfinished = [] if with_unfinished else unfinished
    needed, unreadable = needed_directories(run_dir, kept_unfinished)
    notes = [f"{path} cannot be read, so no superseded directory is deleted" for path in unreadable]
    notes += [f"{path} was superseded but can be resumed: --unfinished deletes it too" for path in kept_unfinished]
    superseded = [] if unreadable else [path for path in others if path not in needed]
    items = [Item(path, "kept aside by force=true", tree_bytes(path)) for path in forced]
    items += [Item(path, "superseded", tree_bytes(path)) for path in superseded]
    for directory in (path for path in others if path not in superseded):
        if _is_done(directory):
            items += _items(
                [directory / name for name in ONLY_FOR_RESUMING], "only for resuming, and the stage is done"
            )
        if with_logs:
            items += _items(_old_logs(directory), "log of an earlier attempt")
    taken = {item.path for item in items}
    items += [
        item
        for item in _items(_temporary(run_dir), "temporary")
        if not taken & {item.path, *item.path.parents} and not any(_is_alive(parent) for parent in item.path.parents)
    ]
    return Findings(items, notes)


def stage_directories(run_dir: Path) -> list[Path]:
    """All <stage>/<fp8> and <stage>/<fp8>.old-N of a run."""
    return [
        path
        for stage in sorted(run_dir.iterdir())
        if is_stage(stage.name)
        for path in sorted(stage.glob("*"))
        if path.is_dir() and not path.is_symlink() and (FINGERPRINT.fullmatch(path.name) or FORCED.fullmatch(path.name))
    ]


def needed_directories(run_dir: Path, resumable: list[Path]) -> tuple[set[Path], list[Path]]:
    """(directories of the run that something needs, inputs.json files that cannot be read). Runs beside this one count
    as needing.
    """
    needed, unreadable = set(), []
    frontier = [link.parent / os.readlink(link) for link in run_dir.glob("*/latest") if link.is_symlink()]
    frontier += [
        *resumable,
        *(path for path in stage_directories(run_dir) if _is_alive(path)),
        *_read_by_other_runs(run_dir),
    ]
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
        frontier += [
            run_dir / source.stage / source.fingerprint[:8] for source in inputs.values() if source.stage
        ]  # the run was moved
    return needed, unreadable


def _read_by_other_runs(run_dir: Path) -> list[Path]:
    return [
        path
        for inputs in run_dir.parent.glob("*/*/*/inputs.json")
        if inputs.parents[2] != run_dir
        for path in _inside(run_dir, inputs.parent)
    ]


def _inside(run_dir: Path, reader: Path) -> list[Path]:
    """The stage directories of this run in which the inputs and the data file of the directory `reader` lie."""
    paths = [source.path for source in (find_inputs(reader) or {}).values()]
    description = StageDescription.find(reader)
    data = description.config.get("data") if description else None
    paths += [data.get("path")] if isinstance(data, dict) else []
    root = run_dir.resolve()
    inside = [
        Path(path).resolve().relative_to(root) for path in paths if path and Path(path).resolve().is_relative_to(root)
    ]
    return [run_dir.joinpath(*path.parts[:2]) for path in inside if len(path.parts) >= 2]


def delete(path: Path) -> None:
    """Removes a file or a directory; a directory is out of sight at once."""
    if path.is_dir() and not path.is_symlink():
        gone = path.with_name(f".{path.name.strip('.')}.{os.getpid()}.tmp")
        path.rename(gone)
        shutil.rmtree(gone)
    else:
        path.unlink()


def tree_bytes(path: Path) -> int:
    """Bytes of a file or of all files below a directory; links are not followed."""
    if path.is_symlink() or path.is_file():
        return path.lstat().st_size
    return sum(child.lstat().st_size for child in path.rglob("*") if child.is_symlink() or child.is_file())


def has_checkpoint(directory: Path) -> bool:
    return (
        any(directory.glob("state/**/step_*/manifest.json"))
        or any(directory.glob("state/*.json*"))
        or any(directory.glob("rollouts/*"))
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


def _items(paths: list[Path], why: str) -> list[Item]:
    return [Item(path, why, tree_bytes(path)) for path in paths if path.exists() or path.is_symlink()]


def _show(found: Findings, run_dir: Path, console: Console) -> None:
    table = Table(
        title=f"{run_dir}: what nobody needs any more", title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False
    )
    for name in ("path", "why"):
        table.add_column(name, overflow="fold")
    table.add_column("size", justify="right", no_wrap=True)
    for item in found.items:
        table.add_row(str(item.path.relative_to(run_dir)), item.why, size(item.bytes))
    if found.items:
        console.print(table)
    console.print(
        f"{len(found.items)} things, {size(sum(item.bytes for item in found.items))}"
        if found.items
        else "nothing to delete",
        highlight=False,
    )
    for note in found.notes:
        console.print(f"note: {note}", highlight=False, soft_wrap=True)
