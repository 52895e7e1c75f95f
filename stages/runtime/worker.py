"""The life of one worker process in a stage directory: from its configuration to the manifest or the error report."""

import contextlib
import dataclasses
import datetime
import faulthandler
import os
import resource
import shutil
import signal
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

from stages.config import KINDS, from_dict
from stages.contract import exit_codes, files
from stages.contract import progress as phases
from stages.contract.attempts import attempts, timing
from stages.contract.description import StageDescription
from stages.contract.error_report import ErrorReport
from stages.contract.inputs import StageInput, read_inputs
from stages.contract.manifest import Manifest
from stages.runtime import deadline, disk, environment, machine
from stages.runtime.attempt_logs import AttemptLogs
from stages.runtime.distributed import barrier, control_group
from stages.runtime.errors import InputError, Interrupted
from stages.runtime.failure import cause_of, exit_code_of, is_bad_input, report_of
from stages.runtime.heartbeat import HeartbeatWriter
from stages.runtime.progress import ProgressReporter
from stages.runtime.step_logs import StepLogs, rounded

RESERVE = ".reserve"
WRITTEN_BY_RANK_0 = ("adapter", "data", "model", "references", "rollouts", "state")
ONLY_FOR_RESUMING = ("state", "references", "cache")
RESULT_FILES = ["model/**/*", "adapter/**/*", "data/**/*", "results.json", "comparisons.json", "skipped.jsonl"]


class Worker:
    """What a stage's code knows of the process it runs in, and the context manager around it.

    Rank 0 writes the shared files of the stage directory; every rank has its own log.
    """

    def __init__(self, directory: str | Path):
        """Reads what the driver has written into the stage directory. RANK and WORLD_SIZE are in the environment.

        Raises:
            FileNotFoundError: config.json or inputs.json is not there.
            DamagedFile: One of them cannot be understood.
        """
        self.dir = Path(directory).resolve()
        self.rank = int(os.environ["RANK"])
        self.world_size = int(os.environ["WORLD_SIZE"])
        self.started = time.time()
        self.description = StageDescription.read(self.dir)
        self.inputs: dict[str, StageInput] = read_inputs(self.dir)
        self.exit_code = exit_codes.DONE
        self.ending = ""  # why the stage ended without a result
        self.stop_requested = False
        self.startup_s = 0.0
        self.metrics: dict[str, float] = {}  # the numbers of the manifest
        self.at_exit: list[Callable[[], None]] = []  # what still has to end, whatever happened
        self._logs = AttemptLogs(self.dir, self.rank)
        self._heartbeat = HeartbeatWriter(self.logs, self.rank, self.started)
        self._progress = ProgressReporter(self.dir, self._heartbeat, self.started, self.is_main)
        self._step_logs = StepLogs(self.dir)

    @property
    def stage(self) -> str:
        """Name of the stage in the recipe."""
        return self.description.stage

    @property
    def kind(self) -> str:
        """Kind of the stage, a key of stages.config.KINDS."""
        return self.description.kind

    @property
    def seed(self) -> int:
        """The seed of the run."""
        return self.description.seed

    @property
    def config(self) -> Any:
        """The stage's configuration, of the class of its kind."""
        return from_dict(KINDS[self.kind], self.description.config, f"stages.{self.stage}")

    @property
    def is_main(self) -> bool:
        """Whether this is rank 0, which writes the shared files."""
        return self.rank == 0

    @property
    def attempt(self) -> int:
        """The number of this attempt at the stage, from 1."""
        return self._logs.attempt

    @property
    def logs(self) -> Path:
        """The directory of this attempt's logs."""
        return self._logs.directory

    def model_dir(self, role: str) -> Path:
        """The Hugging Face directory of the input in this role."""
        model_dir = self.inputs[role].model_dir
        if model_dir is None:
            raise InputError(f"the input {role} of {self.stage} has no model: see {self.dir / 'inputs.json'}")
        return Path(model_dir)

    def input_dir(self, role: str) -> Path:
        """The stage directory of the input in this role."""
        return Path(self.inputs[role].path)

    def __enter__(self) -> "Worker":
        self._logs.redirect_output()
        self._heartbeat.start()
        if self.is_main:
            (self.dir / ErrorReport.FILE_NAME).unlink(missing_ok=True)
            for name in WRITTEN_BY_RANK_0:  # a stray file in model/ or data/ would be taken for a part of the output
                files.remove_temporaries(self.dir / name, is_recursive=True)
            disk.reserve(self.dir / RESERVE)
        signal.signal(signal.SIGTERM, self._on_stop)
        signal.signal(signal.SIGINT, self._on_stop)
        deadline.on_miss = self._on_missed_deadline
        self.progress("start", 0, 0, "starting", force=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        self._heartbeat.stop()
        if error is None:
            return False
        self._report_failure(error)
        for settle in self.at_exit:
            settle()
        return True

    def startup_done(self) -> None:
        """Notes that the engines are up: what came before is start-up time in the manifest."""
        environment.collect_garbage()
        self.startup_s = self._heartbeat.startup_s = time.time() - self.started
        self.say(f"{self.stage}: engines up after {self.startup_s:.1f} s, {self.world_size} process(es)")

    def finish(self) -> None:
        """Writes the manifest, last of all: from now on the stage is done. Then drops what only a resume would need.

        Collective: every rank waits here until all have ended their work.
        """
        barrier()
        if not self.is_main:
            return
        elapsed_s = time.time() - self.started
        self._heartbeat.write_now()
        manifest = self._manifest()
        self._progress.report_end(phases.DONE, "done")
        manifest.write(self.dir)
        (self.dir / RESERVE).unlink(missing_ok=True)
        for name in ONLY_FOR_RESUMING:
            shutil.rmtree(self.dir / name, ignore_errors=True)
        print(f"{self.stage}: done in {elapsed_s:.1f} s (start-up {self.startup_s:.1f} s)", flush=True)

    def _manifest(self) -> Manifest:
        peak_memory_gib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20 * self.world_size
        return Manifest(
            stage=self.stage,
            kind=self.kind,
            version=self.description.version,
            fingerprint=self.description.fingerprint,
            inputs={role: source.fingerprint for role, source in self.inputs.items()},
            files=files.file_table(self.dir, RESULT_FILES),
            metrics={name: rounded(value) for name, value in self.metrics.items()},
            timing=dataclasses.replace(timing(attempts(self.dir)), attempts=self.attempt),
            tokens=self._step_logs.tokens(),
            peak_memory_gib=round(peak_memory_gib, 2),
            created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            versions=machine.versions(),
            hardware=machine.hardware(),
        )

    def _on_stop(self, signum: int, frame: FrameType | None) -> None:
        if (self.dir / ErrorReport.FILE_NAME).exists():
            os._exit(exit_codes.FAILED)  # another rank failed: there is no one left to finish the step with
        self.stop_requested = True  # loops stop after their step, with a checkpoint
        signal.signal(signum, signal.SIG_DFL)  # a second one ends the process at once

    def _on_missed_deadline(self, message: str) -> None:
        """Called from a thread; the main one is stuck where nothing can be raised."""
        missed = deadline.DeadlineMissed(f"rank {self.rank} {message}")
        report = dataclasses.replace(
            report_of(missed, self.rank, self._log), fix="see where it hangs at the end of its log"
        )
        with contextlib.suppress(OSError):
            if not (self.dir / ErrorReport.FILE_NAME).exists():
                report.write(self.dir)
            print(f"{self.stage} failed: {missed}", flush=True)
            faulthandler.dump_traceback(all_threads=True)
        os._exit(exit_codes.FAILED)

    def _report_failure(self, error: BaseException) -> None:
        """Sets the exit code, and writes what people will read of the error."""
        cause = cause_of(error, self.dir, self.logs, self.rank, self.world_size)
        self.exit_code, self.ending = exit_code_of(cause), str(cause)
        (self.dir / RESERVE).unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # a full disk: whatever can still be written, in this order
            if isinstance(cause, Interrupted):
                self._progress.report_end(phases.INTERRUPTED, str(cause))
                print(f"interrupted: {cause}")
                return
            if is_bad_input(cause) or not (self.dir / ErrorReport.FILE_NAME).exists():
                report_of(cause, self.rank, self._log).write(self.dir)
            if not is_bad_input(cause):
                traceback.print_exception(type(error), error, error.__traceback__)
            print(f"{self.stage} failed on rank {self.rank}: {cause}")

    @property
    def log_path(self) -> Path:
        """This rank's log."""
        return self.logs / self._logs.file_name

    @property
    def _log(self) -> str:
        """This rank's log, relative to the stage directory."""
        return str(self.log_path.relative_to(self.dir))

    def should_stop(self) -> bool:
        """Whether any rank was asked to stop. Collective."""
        return self.agree(self.stop_requested)[0]

    def agree(self, *flags: bool) -> list[bool]:
        """For each flag, whether it is set on any rank. Collective: all ranks call it and get the same answers."""
        import torch
        import torch.distributed as dist

        values = torch.tensor(flags, dtype=torch.float32)
        if dist.is_initialized() and self.world_size > 1:
            dist.all_reduce(values, op=dist.ReduceOp.MAX, group=control_group())
        return [bool(value) for value in values.tolist()]

    def progress(self, phase: str, step: int, num_steps: int, message: str = "", force: bool = False) -> None:
        """Tells the world where the stage is, about once a second, or at once if `force` is set. For every rank."""
        self._progress.report(phase, step, num_steps, message, force)

    def say(self, line: str) -> None:
        """Prints a line to the log of rank 0, which the driver shows."""
        if self.is_main:
            print(line, flush=True)

    def log_step(self, step: int, metrics: dict[str, float]) -> None:
        """Adds a line to metrics.jsonl. Steps count from 1."""
        if self.is_main:
            self._step_logs.log_step(step, metrics)

    def log_samples(self, rows: list[dict]) -> None:
        """Adds lines to samples.jsonl."""
        if self.is_main:
            self._step_logs.log_samples(rows)

    def cut_logs(self, last_step: int, last_sample_step: int | None = None) -> None:
        """Drops what an earlier attempt logged after `last_step`, because it will be logged again."""
        if self.is_main:
            self._step_logs.cut(last_step, last_sample_step)

    def sync_logs(self) -> None:
        """Puts what was logged on the disk, so that no checkpoint is ahead of its logs. For rank 0."""
        self._step_logs.sync()

    def count_tokens(self, part: str, sampled: int = 0, trained: int = 0) -> None:
        """Counts the tokens of a part of the stage that logs no steps; a part that is done again counts once."""
        if self.is_main:
            self._step_logs.count_tokens(part, sampled, trained)
