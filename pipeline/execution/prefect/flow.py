"""The Prefect flow of a run: each stage is a task run with its state, its log lines and its metrics.

The disk is the truth: losing Prefect's database loses nothing. What Prefect may do is to start a run
(`deployed.py`) and to end it (`watch.py`); what a stage is and whether it is done, it does not decide.
"""

import logging
from collections.abc import Callable
from uuid import UUID

import httpx
from prefect import State, flow, get_run_logger, tags, task
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter
from prefect.client.schemas.objects import StateType
from prefect.context import FlowRunContext, TagsContext
from prefect.exceptions import ObjectNotFound
from prefect.states import Cancelled, Completed, Crashed, Failed
from prefect.utilities.urls import url_for

from pipeline.configuration.schema import RunConfig
from pipeline.errors import PipelineError, StageInterrupted
from pipeline.execution.prefect import artifacts, patches
from pipeline.execution.prefect import server as prefect_server
from pipeline.execution.prefect.watch import UNREACHABLE, CancelWatch
from pipeline.execution.stop import StopRequest
from pipeline.planning.fingerprint import short_fingerprint
from pipeline.planning.plan import Plan, Step
from pipeline.view.live import LiveView
from stages.contract.manifest import Manifest

FLOW = "r1"  # the name of the flow, in front of the names of its deployments
SEND_TIMEOUT_S = 10

RunStep = Callable[[Step, Plan, LiveView, StopRequest, Callable[..., None]], Manifest | None]


class ServerLost(Exception):
    """The server has ended, or cannot be reached any more, while the flow ran. The disk says which stages are done."""


LOST = (ServerLost, httpx.TransportError, ConnectionError, TimeoutError, ObjectNotFound)


def run(plan: Plan, run_step: RunStep, live: LiveView, stop: StopRequest) -> None:
    """Runs the steps of a plan as task runs of one flow run: of the one that a worker has begun, or of a new one.

    Args:
        plan: What to run.
        run_step: Called as `run_step(step, plan, live, stop, on_line)` for each step; returns its manifest, or None
            where the step was done before.
        live: The live view, handed to `run_step`.
        stop: Counts stop signals; handed to `run_step`.

    Raises:
        PipelineError: The first error of a stage.
        ServerLost: The server has ended, or cannot be reached any more.
    """
    logging.raiseExceptions = False  # else a thread of Prefect writes over our output when its server is away
    work = _Work(plan, run_step, live, stop)
    name = f"{plan.config.run}-{plan.config.recipe}"
    try:
        if FlowRunContext.get() is not None:
            _carry_out(work, is_deployed=True)
        else:
            if prefect_server.is_embedded():
                _close_lost_runs(name)
            new_flow = flow(name=FLOW, flow_run_name=name, validate_parameters=False)(_recipe_of(work))
            with tags(*tags_of(plan.config)):
                new_flow(plan.config.run, plan.config.seed, [step.stage for step in plan.steps], return_state=True)
            patches.send_queued_messages(SEND_TIMEOUT_S)
        if not (work.errors or work.is_through):
            raise ServerLost  # what Prefect itself failed in, it keeps in a state
        if not work.errors:
            for state in work.states.values():
                state.result()  # an error that is not a PipelineError is a bug of ours: raise it as it is
    except Exception as error:
        if not (prefect_server.has_ended() or _is_lost(error)):
            raise
        patches.drop_queued_messages()
        raise work.errors[0] if work.errors else ServerLost() from error
    if work.errors:
        raise work.errors[0]


def tags_of(config: RunConfig) -> list[str]:
    """The tags of a run's flow runs and deployments."""
    return list(dict.fromkeys([f"run:{config.run}", f"recipe:{config.recipe}", *config.prefect.tags]))


def state_of(error: PipelineError) -> State:
    """The state in which Prefect shows a stage, or a flow, that ended with this error."""
    if isinstance(error, StageInterrupted):
        return Cancelled(message=str(error))
    return Failed(message=str(error).splitlines()[0])


class _Work:
    """What the task runs of a flow share. A task run gets it as one argument, of which Prefect shows the run's name.

    No dataclass: Prefect looks into the fields of those for results of other tasks, and copies them.
    """

    def __init__(self, plan: Plan, run_step: RunStep, live: LiveView, stop: StopRequest):
        self.plan = plan
        self.run_step = run_step
        self.live = live
        self.stop = stop
        self.errors: list[PipelineError] = []
        self.states: dict[str, State] = {}
        self.is_through = False  # whether the steps were carried out as far as they could be

    def __repr__(self) -> str:
        return self.plan.config.run


def _recipe_of(work: _Work) -> Callable[[str, int, list[str]], State]:
    """The function of a flow of our own. Its parameters are for people who look at the page."""

    def recipe(run: str, seed: int, stages: list[str]) -> State:
        return _carry_out(work, is_deployed=False)

    return recipe


def _carry_out(work: _Work, is_deployed: bool) -> State:
    """Inside a flow run: runs the steps one after another, until one has not completed."""
    # Prefect has put its own SIGTERM handler in place, which would kill the flow before a checkpoint is written
    work.stop.install()
    flow_run = _flow_run()
    if page := url_for("flow-run", obj_id=flow_run):
        work.live.says(f"Prefect: {page}{' (while this command runs)' if prefect_server.is_embedded() else ''}")
    # A tag of a task is a limit of Prefect's to ask for before each task: one more thing that a lost server would end.
    with TagsContext(current_tags=set()), CancelWatch(flow_run, work.stop, is_deployed) as watch:
        for step in work.plan.steps:
            if prefect_server.has_ended():
                raise ServerLost
            state = work.states[step.stage] = _run_as_task(step, work)
            if work.errors or not state.is_completed():
                break
    work.is_through = True
    if work.errors:
        return state_of(work.errors[0])
    if watch.is_cancelled:
        return Cancelled(message="cancelled, when all stages were done")
    is_complete = all(state.is_completed() for state in work.states.values())
    return Completed(message=f"{len(work.states)} stages") if is_complete else Failed()


def _flow_run() -> UUID:
    context = FlowRunContext.get()
    assert context is not None and context.flow_run is not None  # called inside a flow run only
    return context.flow_run.id


def _run_as_task(step: Step, work: _Work) -> State:
    run_stage = task(
        _stage,
        name=step.stage,
        task_run_name=step.stage,
        cache_policy=NO_CACHE,
        persist_result=False,
        description=f"{step.kind}: {step.reason}",
    )
    sources = [work.states[source.stage] for source in step.inputs.values() if source.stage in work.states]
    return run_stage(step.stage, short_fingerprint(step.fingerprint), work, wait_for=sources, return_state=True)


def _stage(stage: str, fingerprint: str, work: _Work) -> State:
    """The body of every task run: runs the stage, logs its lines, shows its metrics as an artifact."""
    step = next(step for step in work.plan.steps if step.stage == stage)
    logger = get_run_logger()
    logger.info("%s: %s (%s), %s", step.stage, step.action, step.reason, step.dir)
    try:
        manifest = work.run_step(step, work.plan, work.live, work.stop, logger.info)
    except PipelineError as error:
        work.errors.append(error)
        logger.error("%s", error)
        return state_of(error)
    try:
        if step.kind == "report":
            artifacts.link_report(work.plan)
        if manifest is not None:
            artifacts.show_metrics(step, manifest)
    except UNREACHABLE as error:  # what Prefect cannot show is done all the same
        logger.warning("nothing is shown among the artifacts: %s", error)
    if manifest is None:
        return Completed(name="Skipped", message=step.reason)
    return Completed(message=f"{manifest.timing.total_s} s")


def _is_lost(error: BaseException) -> bool:
    """Whether an error of Prefect, or what caused it, is that no server answers, or that it knows the run no more."""
    seen: BaseException | None = error
    while seen is not None:
        is_broken = isinstance(seen, httpx.HTTPStatusError) and seen.response.status_code >= 500
        if is_broken or isinstance(seen, LOST):
            return True
        seen = seen.__cause__ or seen.__context__
    return False


def _close_lost_runs(name: str) -> None:
    """Ends the flow runs of this name that a killed driver left in state Running.

    None of them is alive: this driver holds the lock of the run.
    """
    unfinished = {"type": {"any_": [StateType.RUNNING, StateType.PENDING, StateType.CANCELLING]}}
    with get_client(sync_client=True) as client:
        for lost in client.read_flow_runs(flow_run_filter=FlowRunFilter(name={"any_": [name]}, state=unfinished)):
            client.set_flow_run_state(lost.id, Crashed(message="its driver was killed"), force=True)
