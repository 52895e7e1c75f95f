"""Sweeps of the command `run`: checks one, runs it by Hydra's sweeper and launcher, shows what becomes of its jobs."""

import contextlib
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType

from hydra.errors import HydraException
from rich.console import Console
from rich.markup import escape

from pipeline.commands.hydra_command_line import call_hydra, program_name
from pipeline.configuration import compose
from pipeline.configuration.schema import RunConfig
from pipeline.errors import InvalidConfig, PipelineError, StageFailed, StageInterrupted
from pipeline.execution import sweep
from pipeline.execution.lock import RunLock
from pipeline.execution.notify import Notifier
from pipeline.execution.prefect import server as prefect_server
from pipeline.execution.sweeping import stop_file, sweep_file
from pipeline.execution.sweeping.checks import check_sweep, with_bounded_processes
from pipeline.execution.sweeping.directory import sweep_directory
from pipeline.execution.sweeping.job_files import DONE, FAILED, INTERRUPTED, PRUNED, RUNNING, Job, find_jobs
from pipeline.execution.sweeping.sweep_job import SweepJobs
from pipeline.paths import REPOSITORY
from pipeline.planning.command_line import resume_command
from stages.config.quoting import override

WATCH_S = 0.5
INTERRUPTED_CODE = StageInterrupted.exit_code


def run_sweep(words: Sequence[str], options: Sequence[str], console: Console, has_steps: bool | None) -> int:
    """Runs a sweep and prints its leaderboard.

    Args:
        words: the overrides.
        options: for Hydra, such as --multirun.
        console: where everything is shown.
        has_steps: as for `run_stages`.

    Returns:
        The exit code: that of the last job that failed, 75 where the sweep was interrupted.
    """
    config = compose.compose_config(list(words), is_sweep=True)
    check_sweep(config, words)
    directory = _directory(config, words)
    is_parallel = any(word.startswith("hydra/launcher=") and not word.endswith("=basic") for word in words)
    words = with_bounded_processes(words)
    jobs = SweepJobs(directory, config.run_dir, has_steps, console)
    _show_modules_to_jobs()
    with RunLock(config.run_dir) as lock:
        if lock.note:
            console.print(f"note: {lock.note}", highlight=False, soft_wrap=True)
        stop_file.forget(directory)
        command = resume_command(config, "all")
        sweep_file.note(directory, command, has_ended=False)
        before = {job.number: job.state for job in find_jobs(directory)}
        if before:
            told = f"{sum(state in (DONE, PRUNED) for state in before.values())} of {len(before)} begun jobs are done"
            console.print(f"this sweep goes on: {told}; {directory}", highlight=False, markup=False, soft_wrap=True)
        with (
            _stops_jobs(directory) if is_parallel else contextlib.nullcontext(),
            Watch(directory, console, is_parallel, words),
        ):
            _call(words, options, directory, jobs)
        found = jobs.found()
        code = _exit_code(found)
        if code != INTERRUPTED_CODE:
            sweep_file.note(directory, command, has_ended=True)
    if found:
        sweep.print_leaderboard(found, console)
    _notify(config, found, code, console)
    return code


def _notify(config: RunConfig, found: list[Job], code: int, console: Console) -> None:
    """Tells of the end of a sweep that nobody has interrupted."""
    notifier = Notifier(config, lambda text: console.print(f"note: {escape(text)}", highlight=False, soft_wrap=True))
    states = [job.state for job in found]
    summary = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
    if code == 0:
        notifier.finished(f"sweep: {summary}")
    elif code != INTERRUPTED_CODE:
        notifier.failed(StageFailed(f"sweep: {summary}"))
    notifier.close()


def _call(words: Sequence[str], options: Sequence[str], directory: Path, jobs: SweepJobs) -> None:
    own = [] if any(word.startswith("hydra.sweep.dir=") for word in words) else [_quoted(directory)]
    os.environ["HYDRA_FULL_ERROR"] = "1"  # else Hydra prints a traceback of its own and exits
    try:
        call_hydra([*options, *words, *own], jobs.run, program_name("run"))
    except PipelineError:
        raise
    except HydraException as error:
        raise InvalidConfig([str(error).strip()]) from None
    except Exception as error:
        if not _is_lost_process(error):
            raise
        raise StageFailed(
            f"a process of the sweep was killed: {str(error).splitlines()[0]}",
            "most likely for want of memory: run fewer jobs at once (hydra.launcher.n_jobs=2); the command goes on",
        ) from None
    finally:
        prefect_server.stop()


def _is_lost_process(error: Exception) -> bool:
    """Whether a launcher says that the process of a job is gone."""
    names = {cls.__name__ for cls in type(error).__mro__}
    return bool(names & {"TerminatedWorkerError", "BrokenProcessPool", "UncompletedJobError", "FailedJobError"})


def _quoted(directory: Path) -> str:
    return override("hydra.sweep.dir", str(directory))


def _directory(config: RunConfig, words: Sequence[str]) -> Path:
    """The directory of the sweep: the user's own, or the one that the same command finds again."""
    given = next((word.partition("=")[2] for word in words if word.startswith("hydra.sweep.dir=")), None)
    return Path(given.strip("'\"")).expanduser().resolve() if given else sweep_directory(config, words)


def _show_modules_to_jobs() -> None:
    """Processes of launchers import what this one does, wherever they start."""
    path = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    os.environ["PYTHONPATH"] = os.pathsep.join(dict.fromkeys(part for part in (str(REPOSITORY), *path) if part))


@contextlib.contextmanager
def _stops_jobs(directory: Path) -> Iterator[None]:
    """Hands the first stop signal to the jobs in other processes; the second ends this one too."""
    asked = [0]

    def ask(number: int, frame: FrameType | None) -> None:
        asked[0] += 1
        stop_file.ask(directory, asked[0])
        if asked[0] > 1:
            raise KeyboardInterrupt(signal.Signals(number).name)
        print("\nthe jobs stop after a checkpoint (once more: stop now)", flush=True)

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Watch:
    """Prints a line whenever a job in another process begins or ends; of jobs in this one everything is seen."""

    def __init__(self, directory: Path, console: Console, is_needed: bool, words: Sequence[str]):
        self.directory, self.console, self.is_needed = directory, console, is_needed
        self.shared = set(words)  # overrides that all jobs have
        self.states = {job.number: (job.state, job.updated) for job in find_jobs(directory)}
        self.has_ended = threading.Event()
        self.thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "Watch":
        if self.is_needed:
            self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.is_needed:
            self.has_ended.set()
            self.thread.join()
            self.look()

    def _watch(self) -> None:
        while not self.has_ended.wait(WATCH_S):
            self.look()

    def look(self) -> None:
        """Prints what has changed."""
        for job in find_jobs(self.directory):
            if self.states.get(job.number) != (job.state, job.updated):
                self.states[job.number] = (job.state, job.updated)
                self.console.print(self._line(job), highlight=False, soft_wrap=True)

    def _line(self, job: Job) -> str:
        own = " ".join(word for word in job.overrides if word not in self.shared)
        log = job.sweep_dir / str(job.number) / "job.log"
        about = {
            RUNNING: f"runs: {own}; tail -F {log}",
            DONE: f"is done: {job.name} {job.objective:.4f}" if job.objective is not None else "is done",
            PRUNED: "is pruned: the others were better by then",
            INTERRUPTED: "is interrupted; the same command goes on",
            FAILED: f"failed: {job.error}; {log}",
        }
        return f"[bold]job {job.number}[/bold] {escape(about.get(job.state, job.state))}"


def _exit_code(found: list[Job]) -> int:
    if any(job.state in (INTERRUPTED, RUNNING) for job in found):
        return INTERRUPTED_CODE
    return next((job.exit_code for job in reversed(found) if job.exit_code), 0)
