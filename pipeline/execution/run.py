"""Carries out the selected stages of one configuration: plan, lock, then one stage after another."""

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from pipeline.configuration.schema import RunConfig
from pipeline.errors import MissingInput, PipelineError
from pipeline.execution import current, nodes
from pipeline.execution.execute import execute
from pipeline.execution.lock import RunLock
from pipeline.execution.notify import Notifier
from pipeline.execution.observers import DONE, NOBODY, Observer, Observers
from pipeline.execution.prefect import server as prefect_server
from pipeline.execution.retry import with_retries
from pipeline.execution.reuse import with_reused
from pipeline.execution.stage_lock import stage_lock
from pipeline.execution.stop import StopRequest
from pipeline.execution.tracking.trackers import Trackers
from pipeline.planning.action import SKIP
from pipeline.planning.estimate import STARTUP_S
from pipeline.planning.plan import Plan, Step, make_plan
from pipeline.planning.preflight import require_run_dir
from pipeline.planning.presentation import print_notes, print_plan
from pipeline.view.live import LiveView
from pipeline.view.words import duration
from stages.contract.files import remove_temporaries
from stages.contract.manifest import Manifest


@dataclasses.dataclass(frozen=True)
class InSweep:
    """What is different for a job of a sweep, whose driver may be another process."""

    locked: Path  # the run's directory that the driver of the sweep holds
    is_elsewhere: bool  # whether the job has a process of its own; then Prefect's embedded server is out of reach
    observers: Callable[[StopRequest], list[Observer]]  # who follows the job besides the trackers


def run_stages(
    config: RunConfig,
    console: Console,
    has_steps: bool | None = None,
    is_aside: bool = False,
    in_sweep: InSweep | None = None,
    keeps_command: bool = False,
) -> Plan:
    """Plans the selected stages and runs what is not done, while it holds the run's lock.

    Args:
        config: What to run.
        console: Where it is shown.
        has_steps: Whether each step has a line where the console is no terminal; None: where one stage is to be made.
        is_aside: Whether it is a job of a sweep or an evaluation on the side, which leaves current what is current.
        in_sweep: Of a job of a sweep, what that changes.
        keeps_command: Whether the run's last command stays the one before, as with an evaluation of its models.

    Returns:
        The plan that was carried out.

    Raises:
        PipelineError: the plan has errors, another driver holds the run, or a stage failed or was interrupted.
    """
    require_run_dir(config)
    is_locked = in_sweep is not None and in_sweep.locked == config.run_dir
    with contextlib.nullcontext() if is_locked else RunLock(config.run_dir) as lock:
        if lock is not None and lock.note:
            console.print(f"note: {lock.note}", highlight=False, soft_wrap=True)
        plan = dataclasses.replace(make_plan(config), is_aside=is_aside)
        plan.raise_errors()
        if lock is not None:
            remove_temporaries(config.run_dir)
        if moved := current.moves(plan):
            _note(console, moved)
        current.write_configuration(plan, keeps_command)
        if len(plan.steps) > 1:
            print_plan(console, plan)
        else:
            print_notes(console, plan)
        with _alone_in_taking_over(config.run_dir, is_locked):
            plan = with_reused(plan)
        current.show_done(plan)
        _run_observed(plan, console, has_steps, in_sweep)
        return plan


def _alone_in_taking_over(run_dir: Path, has_neighbours: bool) -> AbstractContextManager:
    """Inside, no other job of a sweep takes over what another run has made."""
    if not has_neighbours:
        return contextlib.nullcontext()
    return stage_lock(run_dir / "taking_over", StopRequest(), lambda: None, lambda _: None)


def _run_observed(plan: Plan, console: Console, has_steps: bool | None, in_sweep: InSweep | None) -> None:
    """Runs the steps of a plan, followed by trackers and, in a sweep, by those who may end the job."""
    config, stop = plan.config, StopRequest()
    with_prefect = config.orchestrator == "prefect"
    if in_sweep is not None and in_sweep.is_elsewhere:
        with_prefect = with_prefect and prefect_server.has_own_server()
    with machines(config), Trackers(config, lambda text: _note(console, text)) as trackers:
        trackers.catch_up(plan)
        with _notifier(plan, console, in_sweep is not None) as notifier:
            made = _Made()
            observers = Observers(trackers, notifier, made, *(in_sweep.observers(stop) if in_sweep is not None else ()))
            if not run_plan(plan, console, stop, with_prefect, has_steps, observers):
                _note(console, "Prefect's server has ended; the run goes on without it")
                plan = dataclasses.replace(make_plan(config), is_aside=plan.is_aside)
                run_plan(_without(plan, made.stages), console, stop, False, has_steps, observers)


def _without(plan: Plan, made: set[str]) -> Plan:
    """The plan with these stages as done, which force=true would redo."""
    is_redone = {step.stage for step in plan.steps if step.stage in made and not step.is_done}
    steps = [
        dataclasses.replace(step, action=SKIP, reason="made before") if step.stage in is_redone else step
        for step in plan.steps
    ]
    return dataclasses.replace(plan, steps=steps)


class _Made:
    """The stages that this run has made so far."""

    def __init__(self) -> None:
        self.stages: set[str] = set()

    def begin(self, step: Step, plan: Plan) -> None:
        """A stage begins."""

    def poll(self) -> None:
        """Nothing is looked at."""

    def end(self, step: Step, outcome: str) -> None:
        """A stage has ended."""
        if outcome == DONE:
            self.stages.add(step.stage)


@contextlib.contextmanager
def machines(config: RunConfig) -> Iterator[None]:
    """Tells the other machines of a run (launcher=torchrun) when its driver ends."""
    try:
        yield
    finally:
        if config.launcher.name == "torchrun":
            nodes.say_over(config.run_dir)


@contextlib.contextmanager
def _notifier(plan: Plan, console: Console, is_job: bool) -> Iterator[Notifier]:
    """Tells of the alarms inside the block and, where it is no job of a sweep, of its end."""
    notifier = Notifier(plan.config, lambda text: _note(console, text))
    try:
        yield notifier
        if not is_job and not plan.is_done:
            notifier.finished(", ".join(step.stage for step in plan.steps if not step.is_done) + " done")
    except PipelineError as error:
        if not is_job:
            notifier.failed(error)
        raise
    finally:
        notifier.close()


def _note(console: Console, text: str) -> None:
    console.print(f"note: {escape(text)}", highlight=False, soft_wrap=True)


def run_plan(
    plan: Plan,
    console: Console,
    stop: StopRequest,
    with_prefect: bool,
    has_steps: bool | None = None,
    observers: Observers = NOBODY,
) -> bool:
    """Runs the steps of a plan in a Prefect flow or in a plain loop.

    Where everything is done, the plain loop is used: an embedded server is not worth its start.

    Returns:
        False where the flow has lost its server, so that stages may be left to do.
    """
    with_prefect = with_prefect and (not plan.is_done or prefect_server.has_own_server())
    stop.install()
    try:
        with _live_view(plan, console, has_steps) as live:
            if with_prefect:
                return _run_in_flow(plan, live, stop, observers)
            for step in plan.steps:
                run_step(step, plan, live, stop, observers=observers)
            return True
    finally:
        stop.restore()


def _live_view(plan: Plan, console: Console, has_steps: bool | None) -> LiveView:
    num_left = sum(not step.is_done for step in plan.steps)
    estimates = {step.stage: 0.0 if step.is_done else step.seconds for step in plan.steps}
    return LiveView(console, f"run {plan.config.run}", estimates, num_left == 1 if has_steps is None else has_steps)


def _run_in_flow(plan: Plan, live: LiveView, stop: StopRequest, observers: Observers) -> bool:
    live.prepares("starting Prefect's server")
    prefect_server.start(plan.config.run_dir.parent)
    try:
        from pipeline.execution.prefect import flow  # Prefect takes seconds to load
    except ValueError as error:  # one of its settings in the environment
        lines = [line.strip() for line in str(error).splitlines()[:3]]
        fix = "unset or mend the PREFECT_... variable, or add orchestrator=none to run without Prefect"
        raise MissingInput(f"Prefect does not accept its settings: {'; '.join(lines)}", fix) from None
    try:
        flow.run(plan, functools.partial(run_step, observers=observers), live, stop)
    except flow.ServerLost:
        return False
    return True


def _what_starts(step: Step, config: RunConfig) -> str:
    """What a stage's workers are going to load before their first step, and how long that usually takes."""
    if step.config is None:
        return "writing"
    engines = ["DeepSpeed"] if hasattr(step.config, "deepspeed") else []
    if hasattr(step.config, "rollout"):
        engines.append("vLLM" if step.config.rollout.is_vllm else "transformers")
    ranks = config.launcher.num_processes * config.launcher.num_nodes
    processes = f"{ranks} processes" if ranks > 1 else "1 process"
    return f"starting {' and '.join(engines)} in {processes}, usually about {duration(STARTUP_S[step.kind])}"


def _ignore(line: str) -> None:
    pass


def run_step(
    step: Step,
    plan: Plan,
    live: LiveView,
    stop: StopRequest,
    on_line: Callable[[str], None] = _ignore,
    observers: Observers = NOBODY,
) -> Manifest | None:
    """Executes one stage, or shows that it is skipped; the same for every orchestrator.

    Args:
        step: the stage.
        plan: the plan that it belongs to.
        live: where its progress is shown.
        stop: whether the user has asked for an end.
        on_line: called with each line that the stage's rank 0 logs.
        observers: who is told of the stage.

    Returns:
        The stage's manifest, or None where it was skipped.
    """
    if step.is_done:
        live.skipped(step.stage, step.reason)
        return None

    def relay(line: str) -> None:
        live.line(line)
        on_line(line)

    live.started(step.stage, step.action, _what_starts(step, plan.config), step.dir)
    waits = plan.config.retry.waits()
    manifest = with_retries(
        lambda step: execute(step, plan, stop, relay, live.progress, observers),
        step,
        waits,
        stop,
        relay,
        observers.poll,
    )
    live.done(step.stage, manifest)
    return manifest
