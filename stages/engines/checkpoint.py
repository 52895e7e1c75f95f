"""Resumable checkpoints: which can be trusted, and how a stage goes on from one. A directory with a manifest is whole;
`saver.py` writes them.

state/step_000120/
    engine/            DeepSpeed: weights, optimizer, one part a rank under ZeRO 1-3
    progress.json      the step, and whatever else the loop must know
    manifest.json      written last: sha256 of every file
"""

import shutil
from collections.abc import Callable
from pathlib import Path

from stages.contract import files
from stages.engines.training import TrainEngine
from stages.engines.universal import to_universal
from stages.runtime import disk
from stages.runtime.distributed import barrier
from stages.runtime.worker import Worker


def checkpoint_bytes(root: Path, engine: TrainEngine) -> int:
    """The size of the newest checkpoint, or of the parameters and their optimizer state; and a little for the rest."""
    newest = max(root.glob("step_*"), default=None)
    return (files.size(newest) if newest else engine.checkpoint_bytes()) + disk.MIB


def remove_temporary(root: Path) -> None:
    """What an attempt that was ended in the middle of a checkpoint left."""
    for path in root.glob(".*.tmp"):
        shutil.rmtree(path)


def newest_checkpoint(
    worker: Worker, name: str = "state", problem: Callable[[dict], str | None] = lambda progress: None
) -> tuple[Path, dict] | None:
    """The newest whole checkpoint and its progress; a damaged one is skipped with a warning (every rank decides alike).
    `problem`: what is wrong with other files that a checkpoint of this progress needs.
    """
    directories = sorted((worker.dir / name).glob("step_*"), reverse=True)
    for directory in directories:
        damaged = _damaged_files(directory)
        progress = None if damaged else files.read_json(directory / "progress.json")
        why = (
            f"is damaged ({', '.join(damaged)})"
            if damaged
            else (found := problem(progress)) and f"cannot be used: {found}"
        )
        if not why:
            return directory, progress
        worker.say(f"WARNING: checkpoint {directory} {why}: falling back to the one before it")
    if directories:
        worker.say(
            f"WARNING: none of the {len(directories)} checkpoints in {worker.dir / name} can be used: starting over"
        )
    return None


def _damaged_files(directory: Path) -> list[str]:
    try:
        return files.damaged_files(directory, files.read_json(directory / "manifest.json")["files"])
    except (OSError, ValueError, LookupError, TypeError, AttributeError):  # the manifest itself is damaged
        return ["manifest.json"]


def resume(
    worker: Worker,
    engine: TrainEngine,
    name: str = "state",
    first_step: int = 0,
    problem: Callable[[dict], str | None] = lambda progress: None,
    is_fresh: bool = True,
) -> dict:
    """Loads the newest whole checkpoint, if any, and cuts the logs back to it. Returns its progress, {"step": 0} for a
    fresh start, which an engine that has trained (`is_fresh` False) cannot make: RuntimeError.

    `first_step`: logged steps of this stage that come before this engine's (a stage may train two models). `problem`:
    see `newest_checkpoint`.
    """
    found = newest_checkpoint(worker, name, problem)
    if found is None and not is_fresh:
        raise RuntimeError(
            f"no checkpoint in {worker.dir / name} can be used to go back to; the same command starts the stage over"
        )
    if found is None:
        progress = {"step": 0}
    else:
        directory, progress = found
        is_split_otherwise = engine.config.zero_stage > 0 and progress["world_size"] != worker.world_size
        if is_split_otherwise:
            _load_split_otherwise(worker, engine, directory)
        else:
            engine.load(directory)
        worker.say(
            f"resumed from {directory.name}"
            + (f", written by {progress['world_size']} process(es)" if is_split_otherwise else "")
        )
    barrier()
    worker.cut_logs(first_step + progress["step"])
    barrier()
    return progress


def _load_split_otherwise(worker: Worker, engine: TrainEngine, directory: Path) -> None:
    """Loads a ZeRO 1-3 checkpoint of another number of processes, through whole tensors written beside it for as long
    as it takes.
    """
    whole = directory.with_name(".universal.tmp")
    if worker.is_main:
        remove_temporary(whole.parent)
        needed_bytes = 3 * checkpoint_bytes(whole.parent, engine)
        disk.require(whole.parent, needed_bytes, f"reading {directory.name}, written by another number of processes,")
        with disk.all_or_nothing(whole, needed_bytes):
            to_universal(directory / "engine", whole / "engine")
    barrier()
    engine.load(whole, is_universal=True)
    barrier()
    if worker.is_main:
        shutil.rmtree(whole)
