"""When and how checkpoints are written: by steps or by time, in two phases, while training goes on.

    training stops        every rank copies its part into host memory
    training goes on      a thread of each rank writes it, syncs it and takes its checksum; that of rank 0 waits for the
                          others, writes the manifest last and renames the whole

The thread is waited for before the next checkpoint, before a stop and before the end; what went wrong in it is raised
in the loop.

The copy needs as much host memory as the rank writes: 12 bytes a parameter in fp32 (weights and two moments), 14 in
bf16 (with the fp32 copy), on rank 0 at ZeRO 0, and divided over the ranks at ZeRO 1-3.
"""

import contextlib
import os
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from stages.config import StageConfig
from stages.contract import files
from stages.engines.checkpoint import Progress, checkpoint_bytes, remove_temporary
from stages.engines.training import TrainEngine
from stages.runtime import disk
from stages.runtime.distributed import barrier, collective_timeout
from stages.runtime.errors import CollectiveTimeout, Interrupted
from stages.runtime.worker import Worker

POLL_S = 0.005  # between two looks for another rank's part
SETTLE_S = 60  # how long the end of a process waits for a checkpoint that was begun

Part = tuple[Path, dict[str, Any]]  # a file, and what torch.save writes into it
FileTable = dict[str, files.FileEntry]  # path within the checkpoint -> checksum and bytes


class Saver:
    """Writes the checkpoints of one engine.

    Args:
        worker: The stage.
        engine: What is saved.
        config: Says when: `save_every`, `save_every_minutes`; and how many are kept.
        name: Directory of the checkpoints within the stage directory.
        sealed: What rank 0 does once a checkpoint is whole.
        inspect: Looks at the engine's state after so many steps: before each checkpoint, and after the last step. It
            raises where that state must not be kept. Collective.
    """

    def __init__(
        self,
        worker: Worker,
        engine: TrainEngine,
        config: StageConfig,
        name: str = "state",
        sealed: Callable[[], None] = lambda: None,
        inspect: Callable[[int], None] = lambda step: None,
    ):
        self.worker = worker
        self.engine = engine
        self.config = config
        self.root = worker.dir / name
        self.sealed = sealed
        self.inspect = inspect
        # The state of an offloaded optimizer fills the host's memory already: there is no room for a copy.
        self.is_overlapped = config.save_in_background and not engine.config.offload_optimizer
        self.saved_at = time.monotonic()
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None
        worker.at_exit.append(self._settle)

    def step_done(self, step: int, num_steps: int, extra: Callable[[], dict] = dict) -> None:
        """To be called after each optimizer step: saves when it is time or when a stop was asked for. Collective.

        Args:
            step: The number of optimizer steps that are done.
            num_steps: After the last of these the state is inspected, and nothing is saved.
            extra: Gives what the loop must know beside the step.

        Raises:
            Interrupted: A stop was asked for; the checkpoint is whole.
        """
        if step >= num_steps:
            self.inspect(step)
            return
        should_stop, is_late = self.worker.agree(self.worker.stop_requested, self._is_late())
        if should_stop or is_late or (self.config.save_every and step % self.config.save_every == 0):
            self.save(step, extra())
        elif self._thread is not None and not self._thread.is_alive():
            self.wait()  # raises what went wrong in it
        if should_stop:
            self.wait()
            barrier()
            raise Interrupted(f"stopped after step {step} of {num_steps}; run the same command to continue")

    def _is_late(self) -> bool:
        """Whether `save_every_minutes` have passed, by the clock of rank 0."""
        minutes = self.config.save_every_minutes
        return self.worker.is_main and minutes > 0 and time.monotonic() - self.saved_at >= 60 * minutes

    def save(self, step: int, extra: dict | None = None) -> None:
        """Begins a checkpoint; `wait` ends it. A full disk raises DiskFull and leaves those before. Collective."""
        self.wait()
        self.inspect(step)
        temporary, final = self.root / f".step_{step:06d}.tmp", self.root / f"step_{step:06d}"
        needed_bytes = checkpoint_bytes(self.root, self.engine)
        if self.worker.is_main:
            self.root.mkdir(parents=True, exist_ok=True)
            remove_temporary(self.root)
            disk.require(self.root, needed_bytes, f"checkpoint {final.name}")
            temporary.mkdir()
        barrier()
        with disk.all_or_nothing(temporary, needed_bytes):
            parts = self.engine.parts(temporary, is_copied=self.is_overlapped)
        progress = {
            "step": step,
            "world_size": self.worker.world_size,
            "zero_stage": self.engine.config.zero_stage,
            **(extra or {}),
        }
        self.saved_at = time.monotonic()
        self._thread = threading.Thread(
            target=self._write, args=(temporary, final, parts, progress, needed_bytes), name="saver", daemon=True
        )
        self._thread.start()
        if not self.is_overlapped:
            self.wait()
            barrier()

    def wait(self) -> None:
        """Waits until the checkpoint that was begun is whole on this rank; raises what kept it from that."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def _settle(self) -> None:
        """Finishes a checkpoint that was begun, if it can be, at the end of the process, whatever its reason."""
        if self._thread is not None:
            self._thread.join(SETTLE_S)

    def _write(self, temporary: Path, final: Path, parts: list[Part], progress: Progress, needed_bytes: int) -> None:
        """What the thread does: writes this rank's part; rank 0 then completes the checkpoint and drops old ones."""
        try:
            if not self.worker.is_main:
                self._write_part(temporary, parts, needed_bytes)
                return
            with disk.all_or_nothing(temporary, needed_bytes):
                self._seal(temporary, write_parts(temporary, parts), progress)
            shutil.rmtree(final, ignore_errors=True)
            os.replace(temporary, final)
            files.fsync_directory(self.root)
            for path in superseded(self.root, final, self.config.keep_checkpoints):
                shutil.rmtree(path)
            self.sealed()
        except BaseException as error:  # raised in the loop
            self._error = error

    def _write_part(self, temporary: Path, parts: list[Part], needed_bytes: int) -> None:
        """Writes the part of another rank than 0, and tells rank 0 what was written, or why it could not be."""
        try:
            files.write_json(
                _message(temporary, self.worker.rank), {"table": write_parts(temporary, parts)}, durable=False
            )
        except Exception as error:
            with contextlib.suppress(OSError):
                files.write_json(_message(temporary, self.worker.rank), {"error": str(error)}, durable=False)
            full = disk.as_disk_full(error, self.root, needed_bytes)
            if full is None:
                raise
            raise full from error

    def _seal(self, temporary: Path, table: FileTable, progress: Progress) -> None:
        """Writes the manifest, once the other ranks have said what they wrote."""
        files.write_json(temporary / "progress.json", progress)
        self.worker.sync_logs()
        for rank in range(1, self.worker.world_size):
            table |= self._table_of(temporary, rank)
        rest = [str(path.relative_to(temporary)) for path in sorted(temporary.rglob("*")) if path.is_file()]
        files.write_json(
            temporary / "manifest.json",
            {"files": table | files.file_table(temporary, [name for name in rest if name not in table])},
        )

    def _table_of(self, temporary: Path, rank: int) -> FileTable:
        """What another rank wrote; waits for its message."""
        path = _message(temporary, rank)
        deadline = time.monotonic() + collective_timeout().total_seconds()
        while not path.exists():
            if time.monotonic() > deadline:
                raise CollectiveTimeout(
                    f"rank 0 waited {collective_timeout().total_seconds():g} s for rank {rank}'s part of checkpoint "
                    f"{temporary.name}"
                )
            time.sleep(POLL_S)
        said = files.read_json(path)
        path.unlink()
        if "error" in said:
            raise RuntimeError(f"rank {rank} could not write its part of checkpoint {temporary.name}: {said['error']}")
        return said["table"]


def _message(temporary: Path, rank: int) -> Path:
    """The file in which a rank tells rank 0 what it wrote."""
    return temporary / f"rank{rank}.json"


def write_parts(temporary: Path, parts: list[Part]) -> FileTable:
    """Writes the parts to the disk and empties the list, so that memory is given back as it goes.

    Returns:
        The table of their checksums; paths are relative to `temporary`.
    """
    table: FileTable = {}
    while parts:
        path, state = parts.pop(0)
        torch.save(state, path)
        table |= files.file_table(temporary, [str(path.relative_to(temporary))])
    return table


def superseded(root: Path, newest: Path, keep: int) -> list[Path]:
    """The checkpoints that can go once `newest` is written.

    All but the last `keep` up to it, and those after it, which the resume before it found damaged.
    """
    directories = sorted(root.glob("step_*"))
    older = [path for path in directories if path.name <= newest.name][:-keep]
    return older + [path for path in directories if path.name > newest.name]
