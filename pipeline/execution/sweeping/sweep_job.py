"""One job of a sweep, in the driver's process or in one of its own: runs its stages and keeps its record."""

import dataclasses
import math
import os
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig
from rich.console import Console
from rich.markup import escape

from pipeline.configuration import compose
from pipeline.configuration.schema import RunConfig
from pipeline.errors import InvalidConfig, PipelineError, StageInterrupted
from pipeline.execution import sweep
from pipeline.execution.observers import Observer
from pipeline.execution.run import InSweep, run_stages
from pipeline.execution.stop import StopRequest
from pipeline.execution.sweeping import job_files, lifeline, stop_file
from pipeline.execution.sweeping.pruning import Pruner, find_pruner
from pipeline.planning.command_line import remember_overrides
from pipeline.planning.plan import make_plan
from pipeline.view.console import standard_console
from pipeline.view.errors import print_error
from stages.config import ConfigError

LOG = "job.log"  # SWEEP/NUMBER/job.log: what a job in a process of its own prints


@dataclasses.dataclass
class SweepJobs:
    """Runs the jobs that Hydra asks for. Launchers copy it to the processes of jobs, without its console."""

    sweep_dir: Path
    run_dir: Path  # which the driver of the sweep holds
    has_steps: bool | None
    console: Console | None
    driver: int = dataclasses.field(default_factory=os.getpid)
    numbers: list[int] = dataclasses.field(default_factory=list)  # of the jobs that ran in this process

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "console": None, "numbers": []}

    def found(self) -> list[job_files.Job]:
        """The jobs of the sweep, wherever they ran."""
        return job_files.find_jobs(self.sweep_dir)

    def run(self, hydra_config: DictConfig) -> float:
        """Runs one job and returns its objective; NaN where it has none.

        Raises:
            SystemExit: a job in the driver's own process was interrupted, and the sweep with it.
        """
        compose.register_schema()  # in the process of a job, nobody has
        job = HydraConfig.get().job
        record = job_files.Job(job.num, list(HydraConfig.get().overrides.task), Path(HydraConfig.get().sweep.dir))
        (record.sweep_dir / str(record.number)).mkdir(parents=True, exist_ok=True)
        self.numbers.append(record.number)
        try:
            if os.getpid() == self.driver:
                return self._run(record, hydra_config, self.console or standard_console(), is_elsewhere=False)
            with lifeline.job(), open(record.sweep_dir / str(record.number) / LOG, "a", encoding="utf-8") as stream:
                return self._run(record, hydra_config, Console(file=stream, width=120), is_elsewhere=True)
        finally:
            if jobs := job_files.find_jobs(record.sweep_dir):
                sweep.write_leaderboard(jobs)

    def _run(self, record: job_files.Job, hydra_config: DictConfig, console: Console, is_elsewhere: bool) -> float:
        title = f"[bold]job {record.number}[/bold] {escape(' '.join(record.overrides))}"
        console.print(title, highlight=False, soft_wrap=True)
        remember_overrides(record.overrides)
        pruners: list[Pruner] = []
        try:
            config = compose.from_hydra(hydra_config)
            return self._make(record, config, console, is_elsewhere, pruners)
        except ConfigError as error:
            return self._failed(record, InvalidConfig(error.errors), console)
        except StageInterrupted as error:
            if any(pruner.is_pruned for pruner in pruners):
                console.print("pruned: the other jobs were better by then", highlight=False)
                record.set_state(job_files.PRUNED)
                return math.nan
            print_error(console, error)
            record.exit_code = error.exit_code
            record.set_state(job_files.INTERRUPTED)
            if is_elsewhere:
                return math.nan
            raise SystemExit(error.exit_code) from None
        except PipelineError as error:
            return self._failed(record, error, console)

    def _make(
        self,
        record: job_files.Job,
        config: RunConfig,
        console: Console,
        is_elsewhere: bool,
        pruners: list[Pruner],
    ) -> float:
        objective = sweep.choose_objective(config) if config.selection else None
        record.name = str(objective or "")
        record.run_dir = str(config.run_dir)
        record.direction = sweep.direction_of(config, objective.metric) if objective else "maximize"
        before = job_files.find_job(record.sweep_dir, record.number)
        if before is not None and not config.force and before.overrides == record.overrides:
            value = _value_before(before, config)
            if value is not None:
                console.print(f"{before.state} before", highlight=False)
                return value
        if stop_file.count(record.sweep_dir):
            raise StageInterrupted(f"stopped before job {record.number}", "type the command again")
        record.set_state(job_files.RUNNING)

        def observers(stop: StopRequest) -> list[Observer]:
            pruner = find_pruner(record.sweep_dir, record.number, config, stop)
            pruners.extend([pruner] if pruner else [])
            return [stop_file.StopFileObserver(record.sweep_dir, stop), *pruners]

        in_sweep = InSweep(self.run_dir, is_elsewhere, observers)
        plan = run_stages(config, console, self.has_steps, is_aside=True, in_sweep=in_sweep)
        return sweep.record_result(record, config, sweep.objective_value(plan))

    def _failed(self, record: job_files.Job, error: PipelineError, console: Console) -> float:
        print_error(console, error)
        record.error = (str(error).splitlines() or [""])[0]
        record.exit_code = error.exit_code
        record.set_state(job_files.FAILED)
        return math.nan


def _value_before(before: job_files.Job, config: RunConfig) -> float | None:
    """The value of a job that has ended, where what it made is still there; None where it has to run."""
    if before.state == job_files.PRUNED:
        return math.nan
    if before.state != job_files.DONE or not make_plan(config).is_done:
        return None
    return math.nan if before.objective is None else before.objective
