"""One stage directory seen from a worker: its configuration and inputs, logs, progress, metrics, signals, and the
manifest at the end.
"""

import contextlib
import dataclasses
import datetime
import faulthandler
import os
import resource
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from stages.config import KINDS, ConfigError, from_dict
from stages.contract import files
from stages.contract.attempts import attempts, timing
from stages.contract.description import StageDescription
from stages.contract.error_report import INPUT, ErrorReport
from stages.contract.inputs import read_inputs
from stages.contract.manifest import Manifest, Tokens
from stages.contract.progress import StageProgress
from stages.runtime import deadline, disk, environment
from stages.runtime.distributed import barrier, collective_timeout, control_group
from stages.runtime.errors import CollectiveTimeout, InputError, Interrupted
from stages.runtime.heartbeat import HeartbeatWriter, timeout_message

EXIT_BAD_INPUT = 64
EXIT_INTERRUPTED = 75
RESERVE = ".reserve"
LOGS = ("metrics.jsonl", "alarms.jsonl", "samples.jsonl", "first_words.jsonl")
OF_RANK_0 = ("data", "model", "references", "rollouts", "state")


class Worker:
    """A context manager around a stage. Rank 0 writes the shared files; every rank has its own log."""

    def __init__(self, directory: str):
        self.dir = Path(directory).resolve()
        self.rank = int(os.environ["RANK"])
        self.world_size = int(os.environ["WORLD_SIZE"])
        self.started = time.time()
        self.exit_code = 0
        self.stop_requested = False
        self.metrics: dict[str, float] = {}
        self.at_exit: list[Callable[[], None]] = []  # what still has to end, whatever happened
        self._progress_written = 0.0
        self._first_work = None
        self.description = StageDescription.read(self.dir)
        self.stage, self.kind, self.seed = self.description.stage, self.description.kind, self.description.seed
        self.inputs = read_inputs(self.dir)

    @property
    def config(self) -> Any:
        return from_dict(KINDS[self.kind], self.description.config, f"stages.{self.stage}")

    @property
    def is_main(self) -> bool:
        return self.rank == 0

    def model_dir(self, role: str) -> Path:
        """The HF directory of the input in this role."""
        model_dir = self.inputs[role].model_dir
        if model_dir is None:
            raise InputError(f"the input {role} of {self.stage} has no model: see {self.dir / 'inputs.json'}")
        return Path(model_dir)

    def input_dir(self, role: str) -> Path:
        return Path(self.inputs[role].path)

    def __enter__(self) -> "Worker":
        self.attempt = self._open_log()
        self.heartbeat = HeartbeatWriter(self.logs, self.rank, self.started)
        if self.is_main:
            (self.dir / "error.json").unlink(missing_ok=True)
            for name in OF_RANK_0:  # a stray file in model/ or data/ would be taken for a part of the output
                files.remove_temporaries(self.dir / name, is_recursive=True)
            disk.reserve(self.dir / RESERVE)
        signal.signal(signal.SIGTERM, self._on_stop)
        signal.signal(signal.SIGINT, self._on_stop)
        deadline.on_miss = self._on_missed_deadline
        self.progress("start", 0, 0, "starting", force=True)
        return self

    @property
    def logs(self) -> Path:
        return self.dir / "logs" / f"attempt_{self.attempt}"

    def _open_log(self) -> int:
        """stdout and stderr go to logs/attempt_N/rankR.log; the launcher names N, a lone worker takes the next free
        one.
        """
        logs = self.dir / "logs"
        attempt = int(os.environ.get("STAGE_ATTEMPT", 0)) or 1 + sum(
            1 for _ in logs.glob(f"attempt_*/rank{self.rank}.log")
        )
        attempt_dir = logs / f"attempt_{attempt}"
        attempt_dir.mkdir(parents=True, exist_ok=True)
        if self.is_main and not os.environ.get("STAGE_ATTEMPT"):
            files.link(logs / "latest", attempt_dir.name)
        descriptor = os.open(attempt_dir / f"rank{self.rank}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
            os.dup2(descriptor, stream.fileno())
        os.close(descriptor)
        sys.stdout.reconfigure(line_buffering=True)
        return attempt

    def _on_stop(self, signum, frame):
        if (self.dir / "error.json").exists():  # another rank failed: there is no one left to finish the step with
            os._exit(1)
        self.stop_requested = True  # loops stop after their step, with a checkpoint
        signal.signal(signum, signal.SIG_DFL)  # a second one ends the process at once

    def _on_missed_deadline(self, message: str) -> None:
        """Called from a thread; the main one is stuck where nothing can be raised."""
        message = f"rank {self.rank} {message}"
        with contextlib.suppress(OSError):
            if not (self.dir / "error.json").exists():
                fix = "see where it hangs at the end of its log"
                self._error_report("DeadlineMissed", message, fix).write(self.dir)
            print(f"{self.stage} failed: {message}", flush=True)
            faulthandler.dump_traceback(all_threads=True)
        os._exit(1)

    def _error_report(self, kind: str, message: str, fix: str) -> ErrorReport:
        log = f"logs/attempt_{self.attempt}/rank{self.rank}.log"
        return ErrorReport(kind=kind, message=message, fix=fix, rank=self.rank, log=log)

    def __exit__(self, kind, error, trace) -> bool:
        self.heartbeat.stop()
        if error is None:
            return False
        self._report(error)
        for settle in self.at_exit:
            settle()
        return True

    def _report(self, error: BaseException) -> None:
        """The exit code of an error, and what people will read of it."""
        cause = error
        checkpoint_bytes = max((files.size(path) for path in self.dir.glob("state/**/step_*")), default=0)
        error = disk.as_disk_full(error, self.dir, checkpoint_bytes + disk.MIB) or self._as_timeout(error) or error
        (self.dir / RESERVE).unlink(missing_ok=True)
        if isinstance(error, Interrupted):
            self.exit_code = EXIT_INTERRUPTED
            with contextlib.suppress(OSError):
                self.progress("interrupted", *self._last_step(), str(error), force=True)
                print(f"interrupted: {error}")
            return
        is_input = isinstance(error, (InputError, ConfigError, disk.DiskFull))
        self.exit_code = EXIT_BAD_INPUT if is_input else 1
        kind = INPUT if is_input else type(error).__name__
        report = self._error_report(kind, str(error), getattr(error, "fix", ""))
        with contextlib.suppress(OSError):  # a full disk: whatever can still be written, in this order
            if not (self.dir / "error.json").exists() or is_input:
                report.write(self.dir)
            if not is_input:
                traceback.print_exception(type(cause), cause, cause.__traceback__)
            print(f"{self.stage} failed on rank {self.rank}: {error}")

    def _as_timeout(self, error: BaseException) -> CollectiveTimeout | None:
        message = timeout_message(error, self.rank, self.world_size, self.logs, collective_timeout().total_seconds())
        return CollectiveTimeout(message) if message else None

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
        """Rank 0 tells the world where it is, about once a second; every rank its heartbeat."""
        self._step = (step, num_steps)
        self.heartbeat.moved(phase, step)
        if step > 0 and self._first_work is None:
            self._first_work = (time.time(), step)
        now = time.time()
        if not self.is_main or (not force and now - self._progress_written < 1.0):
            return
        self._progress_written = now
        eta_s = None
        if self._first_work and step > self._first_work[1]:
            eta_s = (now - self._first_work[0]) / (step - self._first_work[1]) * (num_steps - step)
        StageProgress(
            phase=phase,
            step=step,
            num_steps=num_steps,
            updated=now,
            started=self.started,
            eta_s=eta_s,
            message=message,
        ).write(self.dir, durable=False)

    def _last_step(self) -> tuple[int, int]:
        return getattr(self, "_step", (0, 0))

    def startup_done(self) -> None:
        """Engines are up: what came before is start-up time in the manifest."""
        environment.collect_garbage()
        self.startup_s = self.heartbeat.startup_s = time.time() - self.started
        self.say(f"{self.stage}: engines up after {self.startup_s:.1f} s, {self.world_size} process(es)")

    def say(self, line: str) -> None:
        if self.is_main:
            print(line, flush=True)

    def log_step(self, step: int, metrics: dict[str, float]) -> None:
        """One line of metrics.jsonl."""
        if self.is_main:
            files.append_jsonl(
                self.dir / "metrics.jsonl",
                [{"step": step, **{name: rounded(value) for name, value in metrics.items()}}],
            )

    def log_samples(self, rows: list[dict]) -> None:
        if self.is_main:
            files.append_jsonl(self.dir / "samples.jsonl", rows)

    def cut_logs(self, last_step: int, last_sample_step: int | None = None) -> None:
        """Drops what an earlier attempt logged after `last_step`, because it will be logged again."""
        if self.is_main:
            for name in LOGS:
                files.cut_jsonl(
                    self.dir / name,
                    last_sample_step if name == "samples.jsonl" and last_sample_step is not None else last_step,
                )

    def sync_logs(self) -> None:
        """What was logged is on the disk, so that no checkpoint is ahead of its logs when the power fails. For rank 0."""
        for name in LOGS:
            if (self.dir / name).exists():
                files.fsync_file(self.dir / name)

    def finish(self) -> None:
        """Writes the manifest, last of all: from now on the stage is done. Then drops the state that no one will
        resume.
        """
        barrier()
        if not self.is_main:
            return
        elapsed = time.time() - self.started
        self.heartbeat.write_now()
        manifest = Manifest(
            stage=self.stage,
            kind=self.kind,
            version=self.description.version,
            fingerprint=self.description.fingerprint,
            inputs={role: source.fingerprint for role, source in self.inputs.items()},
            files=files.file_table(
                self.dir, ["model/**/*", "data/**/*", "results.json", "comparisons.json", "skipped.jsonl"]
            ),
            metrics={name: rounded(value) for name, value in self.metrics.items()},
            timing=dataclasses.replace(timing(attempts(self.dir)), attempts=self.attempt),
            tokens=self._tokens(),
            peak_memory_gib=round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20 * self.world_size, 2),
            created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            versions={name: version(name) for name in ("torch", "transformers", "deepspeed")},
        )
        self.progress("done", *self._last_step(), "done", force=True)
        manifest.write(self.dir)
        (self.dir / RESERVE).unlink(missing_ok=True)
        for name in ("state", "references", "cache"):  # what only a resume would need
            shutil.rmtree(self.dir / name, ignore_errors=True)
        print(f"{self.stage}: done in {elapsed:.1f} s (start-up {getattr(self, 'startup_s', 0.0):.1f} s)", flush=True)

    def count_tokens(self, part: str, sampled: int = 0, trained: int = 0) -> None:
        """Tokens of a part of the stage that logs no steps. A part that is done again counts once: the ledger is of
        what the result needed.
        """
        if self.is_main:
            table = files.read_json(self.dir / "tokens.json") if (self.dir / "tokens.json").exists() else {}
            files.write_json(self.dir / "tokens.json", {**table, part: {"sampled": sampled, "trained": trained}})

    def _tokens(self) -> Tokens:
        """Sampled and trained tokens of all logged steps and counted parts."""
        rows = [
            {"sampled": row.get("tokens/sampled", 0), "trained": row.get("tokens/trained", 0)}
            for row in files.read_jsonl(self.dir / "metrics.jsonl")
        ]
        parts = files.read_json(self.dir / "tokens.json").values() if (self.dir / "tokens.json").exists() else []
        return Tokens(**{name: round(sum(row[name] for row in [*rows, *parts])) for name in ("sampled", "trained")})


def rounded(value: float) -> float:
    """As it is logged; whatever decides something by a metric uses this one, so that a resume, which reads the log,
    decides alike.
    """
    return round(float(value), 7)
