"""The command `run`: Hydra's entry, one job or a sweep of them. What a job does is in `run_job`."""

import sys
from dataclasses import dataclass, field
from pathlib import Path

import yaml
from rich.console import Console
from rich.markup import escape

from pipeline import view
from pipeline.configuration import compose, keys, spelling
from pipeline.configuration.graph import FAMILIES, family_of
from pipeline.configuration.schema import RunConfig
from pipeline.errors import InvalidConfig, PipelineError, StageInterrupted
from pipeline.execution import sweep
from pipeline.execution.execute import execute
from pipeline.execution.lock import RunLock
from pipeline.execution.prefect import server as prefect_server
from pipeline.execution.stop import StopRequest
from pipeline.planning.plan import Plan, command, make_plan, remember_overrides
from stages.config import ConfigError, to_dict
from stages.contract.files import remove_temporaries, write_atomic
from stages.contract.manifest import Manifest

INFORMATION_FLAGS = {
    "--cfg",
    "-c",
    "--info",
    "-i",
    "--help",
    "-h",
    "--hydra-help",
    "--version",
    "--shell-completion",
    "-sc",
}


@dataclass
class Outcome:
    """What the jobs of one command left behind; Hydra's main function returns nothing to its caller."""

    exit_code: int = 0
    jobs: list[sweep.Job] = field(default_factory=list)


def main(arguments: list[str], console: Console) -> int:
    """Runs `arguments` as a Hydra user would expect; returns the exit code."""
    flags, overrides = spelling.split_flags(arguments)
    overrides = spelling.rewrite(overrides)
    is_information = bool(INFORMATION_FLAGS & set(flags)) or any(
        flag.startswith(("--cfg=", "--info=")) for flag in flags
    )
    is_sweep = bool({"--multirun", "-m"} & set(flags)) or any(
        text.lstrip("+").startswith(("sweep=", "hydra.mode=MULTIRUN")) for text in overrides
    )
    if not is_information:
        config = compose.compose_config(overrides, is_sweep)
        if not config.selection and not is_sweep:
            raise InvalidConfig(
                [
                    "no stage is selected: add +stage=all, +stage=NAME or '+stage=[a,b]'; stages are "
                    + ", ".join(option for option in keys.groups()["stage"] if option != "all")
                ]
            )
        remember_overrides(overrides)
    outcome = Outcome()
    try:
        _call_hydra([*flags, *overrides], outcome, console, is_sweep)
    finally:
        prefect_server.stop()
    if outcome.jobs and is_sweep:
        sweep.print_leaderboard(outcome.jobs, console)
    return outcome.exit_code


def _call_hydra(arguments: list[str], outcome: Outcome, console: Console, is_sweep: bool) -> None:
    import hydra

    compose.register_schema()

    @hydra.main(config_path=str(compose.CONF_DIR), config_name="config", version_base="1.3")
    def job(cfg):
        from hydra.core.hydra_config import HydraConfig

        try:
            config = compose.from_hydra(cfg)
            if not is_sweep:
                return run_job(config, console)
            hydra_config = HydraConfig.get()
            record = sweep.Job(hydra_config.job.num, list(hydra_config.overrides.task), Path(hydra_config.sweep.dir))
            remember_overrides(record.overrides)
            console.print(
                f"[bold]job {record.number}[/bold] {escape(' '.join(record.overrides))}",
                highlight=False,
                soft_wrap=True,
            )
            outcome.jobs.append(record)
            return sweep.run(record, config, lambda: run_job(config, console, is_sweep=True))
        except ConfigError as error:
            raise SystemExit(_report(InvalidConfig(error.errors), outcome, console)) from None
        except PipelineError as error:
            outcome.exit_code = _report(error, outcome, console)
            if is_sweep and not isinstance(error, StageInterrupted):
                return float("nan")
            raise SystemExit(outcome.exit_code) from None

    before = sys.argv  # Hydra reads the command line itself
    sys.argv = [
        "python -m pipeline run" if before[0].endswith("__main__.py") else f"{Path(before[0]).name} run",
        *arguments,
    ]
    try:
        job()
    finally:
        sys.argv = before


def _report(error: PipelineError, outcome: Outcome, console: Console) -> int:
    view.print_error(console, error)
    outcome.exit_code = error.exit_code
    return error.exit_code


def run_job(config: RunConfig, console: Console, is_sweep: bool = False) -> float | None:
    """Plans and runs the selected stages of one configuration. Returns the sweep objective."""
    plan = run_stages(config, console)
    if not is_sweep:
        print_end(plan, console)
    return sweep.objective(plan)


def run_stages(config: RunConfig, console: Console) -> Plan:
    """Plans the selected stages and runs what is not done; returns the plan that was carried out."""
    with RunLock(config.run_dir) as lock:
        if lock.note:
            console.print(f"note: {lock.note}", highlight=False, soft_wrap=True)
        plan = make_plan(config)
        plan.raise_errors()
        remove_temporaries(config.run_dir)
        text = yaml.safe_dump(to_dict(config), sort_keys=False, allow_unicode=True)
        write_atomic(config.run_dir / "config.yaml", text.encode())
        if len(plan.steps) > 1:
            view.print_plan(console, plan)
        stop = StopRequest()
        if not run_plan(plan, console, stop, config.orchestrator == "prefect"):
            console.print(
                "note: Prefect's server has ended; the run goes on without it", highlight=False, soft_wrap=True
            )
            plan = make_plan(config)
            run_plan(plan, console, stop, with_prefect=False)
        return plan


def run_plan(plan: Plan, console: Console, stop: StopRequest, with_prefect: bool) -> bool:
    """Runs what is not done, in a Prefect flow or a plain loop. When nothing is left to do, an embedded flow is not
    worth its start. Returns False where the flow has lost its server, and stages may be left to do.
    """
    with_prefect = with_prefect and (not plan.is_done or prefect_server.has_own_server())
    stop.install()
    try:
        with view.LiveView(console, len(plan.steps)) as live:
            if not with_prefect:
                for step in plan.steps:
                    run_step(step, plan, live, stop)
                return True
            prefect_server.start(plan.config.run_dir.parent)
            from pipeline.execution.prefect import flow

            try:
                flow.run(plan, run_step, live, stop)
            except flow.ServerLost:
                return False
            return True
    finally:
        stop.restore()


def run_step(step, plan: Plan, live: view.LiveView, stop: StopRequest, on_line=lambda line: None) -> Manifest | None:
    """One stage: skipped visibly, or executed; the same for every orchestrator. Returns its manifest."""
    if step.is_done:
        live.skipped(step.stage, step.reason)
        return None

    def relay(line: str) -> None:
        live.line(line)
        on_line(line)

    live.started(step.stage, step.action, None if step.kind == "report" else step.dir / "logs" / "latest" / "rank0.log")
    manifest = execute(step, plan, stop, relay, live.progress)
    live.done(step.stage, manifest)
    return manifest


def print_end(plan: Plan, console: Console) -> None:
    """Where the results are and what to type next."""
    report = plan.config.run_dir / "report.html"
    if report.exists() and any(step.stage == "report" for step in plan.steps):
        console.print(f"report: {report}", highlight=False, soft_wrap=True)
        models = [
            step.stage for step in plan.steps if step.kind in ("grpo", "sft") and family_of(step.stage) not in FAMILIES
        ]
        if models:
            console.print(
                f"next:   python -m pipeline chat run={plan.config.run} --stage {models[-1]}",
                highlight=False,
                soft_wrap=True,
            )
    else:
        console.print(f"next:   {escape(command(plan.config, 'all'))}", highlight=False, soft_wrap=True)
