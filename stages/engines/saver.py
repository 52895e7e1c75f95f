"""When and how checkpoints are written: by steps or by time, in two phases, while training goes on.

    training stops        every rank copies its part into host memory
    training goes on      a thread of each rank writes it, syncs it and takes its checksum; that of rank 0 waits for the
                          others, writes the manifest last and renames the whole
    before the next one, before a stop and before the end the thread is waited for; what went wrong in it is raised in
    the loop

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

import torch

from stages.config import StageConfig
from stages.contract import files
from stages.engines.checkpoint import checkpoint_bytes, remove_temporary
from stages.engines.training import TrainEngine
from stages.runtime import disk
from stages.runtime.distributed import barrier, collective_timeout
from stages.runtime.errors import CollectiveTimeout, Interrupted
from stages.runtime.worker import Worker

POLL_S, SETTLE_S = 0.005, 60


class Saver:
    """Writes the checkpoints of one engine to `name`/step_N. `sealed`: what rank 0 does once one is whole."""

    def __init__(
        self,
        worker: Worker,
        engine: TrainEngine,
        config: StageConfig,
        name: str = "state",
        sealed: Callable[[], None] = lambda: None,
    ):
        self.worker, self.engine, self.config, self.root, self.sealed = (
            worker,
            engine,
            config,
            worker.dir / name,
            sealed,
        )
        self.is_overlapped = (
            config.save_in_background and not engine.config.offload_optimizer
        )  # that state fills the host's memory already
        self.saved_at = time.monotonic()
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None
        worker.at_exit.append(self._settle)

    def step_done(self, step: int, num_steps: int, extra: Callable[[], dict] = dict) -> None:
        """After each optimizer step but the last: saves when it is time or when a stop was asked for; the latter raises
        Interrupted. Collective. `extra`: what the loop must know beside the step.
        """
        if step >= num_steps:
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
        """By the clock of rank 0."""
        minutes = self.config.save_every_minutes
        return self.worker.is_main and minutes > 0 and time.monotonic() - self.saved_at >= 60 * minutes

    def save(self, step: int, extra: dict | None = None) -> None:
        """Begins a checkpoint; `wait` ends it. A full disk raises DiskFull and leaves those before. Collective."""
        self.wait()
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
        """Until the checkpoint that was begun is whole on this rank. Raises what kept it from that."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def _settle(self) -> None:
        """The end of the process, whatever its reason: a checkpoint that was begun is finished if it can be."""
        if self._thread is not None:
            self._thread.join(SETTLE_S)

    def _write(self, temporary: Path, final: Path, parts: list, progress: dict, needed_bytes: int) -> None:
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

    def _write_part(self, temporary: Path, parts: list, needed_bytes: int) -> None:
        """For the other ranks, who tell rank 0 what they wrote, or why they could not."""
        try:
            files.write_json(
                _message(temporary, self.worker.rank), {"table": write_parts(temporary, parts)}, durable=False
            )
        except Exception as error:
            with contextlib.suppress(OSError):
                files.write_json(_message(temporary, self.worker.rank), {"error": str(error)}, durable=False)
            raise disk.as_disk_full(error, self.root, needed_bytes) or error

    def _seal(self, temporary: Path, table: dict, progress: dict) -> None:
        """The manifest, once the other ranks have said what they wrote."""
        files.write_json(temporary / "progress.json", progress)
        self.worker.sync_logs()
        for rank in range(1, self.worker.world_size):
            table |= self._table_of(temporary, rank)
        rest = [str(path.relative_to(temporary)) for path in sorted(temporary.rglob("*")) if path.is_file()]
        files.write_json(
            temporary / "manifest.json",
            {"files": table | files.file_table(temporary, [name for name in rest if name not in table])},
        )

    def _table_of(self, temporary: Path, rank: int) -> dict:
        path, deadline = _message(temporary, rank), time.monotonic() + collective_timeout().total_seconds()
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
    return temporary / f"rank{rank}.json"


def write_parts(temporary: Path, parts: list[tuple[Path, dict]]) -> dict[str, dict]:
    """Writes them to the disk; the table of their checksums. Gives the memory back as it goes."""
    table = {}
    while parts:
        path, state = parts.pop(0)
        torch.save(state, path)
        table |= files.file_table(temporary, [str(path.relative_to(temporary))])
    return table


def superseded(root: Path, newest: Path, keep: int) -> list[Path]:
    """What can go once `newest` is written: all but the last `keep` up to it, and those after it, which the resume
    before it found damaged.
    """
    directories = sorted(root.glob("step_*"))
    return [path for path in directories if path.name <= newest.name][:-keep] + [
        path for path in directories if path.name > newest.name
    ]
