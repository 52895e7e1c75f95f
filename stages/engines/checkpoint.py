"""Resumable checkpoints: which of them can be trusted, and how a stage goes on from one.

A directory with a manifest is whole; `saver.py` writes them.

state/step_000120/
    engine/            DeepSpeed: weights, optimizer, one part for each rank under ZeRO 1-3
    progress.json      the step, and whatever else the loop must know
    manifest.json      written last: sha256 of every file
"""

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from stages.contract import files
from stages.engines.finite import named
from stages.engines.training import TrainEngine
from stages.engines.universal import buffers_of, to_universal
from stages.runtime import disk
from stages.runtime.distributed import barrier, gather_objects, own_place
from stages.runtime.errors import InputError
from stages.runtime.worker import Worker

Progress = dict[str, Any]  # "step", "world_size", "zero_stage", and what the loop adds
WhyUnusable = Callable[[Progress], str | None]

OWNED = re.compile(r"zero_pp_rank_(\d+)_")  # in the name of a part that DeepSpeed writes and loads on one rank


def usable(progress: Progress) -> None:
    """The check of a loop whose checkpoints need no other files: nothing is ever wrong."""


def checkpoint_bytes(root: Path, engine: TrainEngine) -> int:
    """Bytes of the next checkpoint in `root`: as many as the newest has, or the engine's state, and a little more."""
    newest = max(root.glob("step_*"), default=None)
    return (files.size(newest) if newest else engine.checkpoint_bytes()) + disk.MIB


def remove_temporary(root: Path) -> None:
    """Removes what an attempt left that was ended in the middle of a checkpoint."""
    for path in root.glob(".*.tmp"):
        shutil.rmtree(path)


def newest_checkpoint(
    worker: Worker, name: str = "state", why_unusable: WhyUnusable = usable
) -> tuple[Path, Progress] | None:
    """The newest whole checkpoint and its progress, or None; every rank decides alike. Collective.

    Args:
        worker: The stage, which is warned of each checkpoint that is skipped.
        name: Directory of the checkpoints within the stage directory.
        why_unusable: What is wrong with other files that a checkpoint with this progress needs, or None; what one rank
            finds counts for all.
    """
    directories = sorted((worker.dir / name).glob("step_*"), reverse=True)
    for directory in directories:
        why: str | None
        if damaged := _damaged_files(directory):
            why = f"is damaged ({', '.join(damaged)})"
        else:
            progress = files.read_json(directory / "progress.json")
            mine = why_unusable(progress)
            found = gather_objects([mine] if mine else [])
            if not found:
                return directory, progress
            why = f"cannot be used: {found[0]}"
        worker.say(f"WARNING: checkpoint {directory} {why}: falling back to the one before it")
    if directories:
        worker.say(
            f"WARNING: none of the {len(directories)} checkpoints in {worker.dir / name} can be used: starting over"
        )
    return None


def _damaged_files(directory: Path) -> list[str]:
    """Files of a checkpoint that are missing or not what its manifest says; the manifest itself if it is damaged.

    Every file is read by one rank, its own part by each, and all get the same answer. Collective.
    """
    try:
        table = files.read_json(directory / "manifest.json")["files"]
        mine = files.damaged_files(directory, share_of(table, *own_place()))
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        mine = ["manifest.json"]
    return sorted(set(gather_objects(mine)))


def share_of(table: dict[str, files.FileEntry], rank: int, world_size: int) -> dict[str, files.FileEntry]:
    """The files of a checkpoint that this rank verifies: those that it loads, and its share of what has no owner.

    A checkpoint of more processes than there are now has files without an owner too. They are shared out by size.
    """
    owned = {name: int(found[1]) for name in table if (found := OWNED.search(name)) and int(found[1]) < world_size}
    rest = sorted(table.keys() - owned.keys(), key=lambda name: (-table[name]["bytes"], name))
    mine = set(rest[rank::world_size])
    return {name: entry for name, entry in table.items() if name in mine or owned.get(name) == rank}


def resume(
    worker: Worker,
    engine: TrainEngine,
    name: str = "state",
    first_step: int = 0,
    why_unusable: WhyUnusable = usable,
    is_fresh: bool = True,
) -> Progress:
    """Loads the newest whole checkpoint, if there is one, and cuts the logs back to it. Collective.

    Args:
        worker: The stage.
        engine: Gets the weights and the optimizer's state.
        name: Directory of the checkpoints within the stage directory.
        first_step: Logged steps of this stage that come before this engine's (a stage may train two models).
        why_unusable: See `newest_checkpoint`.
        is_fresh: Whether the engine has not trained yet.

    Returns:
        The progress of the checkpoint; {"step": 0} for a fresh start.

    Raises:
        RuntimeError: There is no checkpoint to go back to, and the engine has trained.
        InputError: The checkpoint holds numbers that are not finite.
    """
    found = newest_checkpoint(worker, name, why_unusable)
    if found is None and not is_fresh:
        raise RuntimeError(
            f"no checkpoint in {worker.dir / name} can be used to go back to; the same command starts the stage over"
        )
    if found is None:
        progress: Progress = {"step": 0}
    else:
        directory, progress = found
        is_split_otherwise = _load(worker, engine, directory, progress)
        _require_finite(worker, engine, directory)
        worker.say(
            f"resumed from {directory.name}"
            + (f", written by {progress['world_size']} process(es)" if is_split_otherwise else "")
        )
    barrier()
    worker.cut_logs(first_step + progress["step"])
    barrier()
    return progress


def _load(worker: Worker, engine: TrainEngine, directory: Path, progress: Progress) -> bool:
    """Loads a checkpoint. Returns whether another number of processes had divided it up. Collective."""
    is_split_otherwise = engine.config.zero_stage > 0 and progress["world_size"] != worker.world_size
    if is_split_otherwise:
        _load_split_otherwise(worker, engine, directory)
    else:
        engine.load(directory)
    return is_split_otherwise


def _require_finite(worker: Worker, engine: TrainEngine, directory: Path) -> None:
    """Checks the checkpoint that was just loaded; an older version could write one that is not finite. Collective.

    Raises:
        InputError: It holds numbers that are not finite. The message says which earlier checkpoint can be used.
    """
    broken = _broken(worker, engine)
    if not broken:
        return
    unusable = [directory]
    for earlier in sorted(directory.parent.glob("step_*"), reverse=True):
        if earlier.name >= directory.name or _damaged_files(earlier):
            continue
        _load(worker, engine, earlier, files.read_json(earlier / "progress.json"))
        if not _broken(worker, engine):
            remedy = f"delete {' and '.join(map(str, unusable))}; the same command then goes on from {earlier.name}"
            break
        unusable.append(earlier)
    else:
        remedy = f"no earlier checkpoint is finite: delete {directory.parent}, and the same command starts over"
    raise InputError(
        f"checkpoint {directory} holds numbers that are NaN or infinite ({named(broken)}), with which nothing can be "
        f"trained: {remedy}; with a lower stages.{worker.stage}.optim.lr if it happens again"
    )


def _broken(worker: Worker, engine: TrainEngine) -> list[str]:
    """What is not finite of the engine's state, on any rank. Collective."""
    mine = engine.non_finite()
    return gather_objects(mine) if worker.agree(bool(mine))[0] else []


def _load_split_otherwise(worker: Worker, engine: TrainEngine, directory: Path) -> None:
    """Loads a ZeRO 1-3 checkpoint that another number of processes wrote.

    It is converted to whole tensors, which lie beside it while they are read.
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
    engine.set_buffers(buffers_of(directory / "engine"))
    barrier()
    if worker.is_main:
        shutil.rmtree(whole)
