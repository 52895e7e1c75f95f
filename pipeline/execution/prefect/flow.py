"""The Prefect flow of a run: each stage is a task run with its state, its log lines and its metrics.

The disk is the truth: Prefect shows what happens and decides nothing, and losing its database loses nothing.
"""

from collections.abc import Callable

import httpx
from prefect import State, flow, get_run_logger, task
from prefect.artifacts import create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter
from prefect.client.schemas.objects import StateType
from prefect.states import Cancelled, Completed, Crashed, Failed

from pipeline.errors import PipelineError, StageInterrupted
from pipeline.execution.prefect import patches
from pipeline.execution.prefect import server as prefect_server
from pipeline.execution.stop import StopRequest
from pipeline.planning.fingerprint import short_fingerprint
from pipeline.planning.plan import Plan, Step
from pipeline.view.live import LiveView
from stages.contract.json_file import to_plain
from stages.contract.manifest import Manifest

SEND_TIMEOUT_S = 10

RunStep = Callable[[Step, Plan, LiveView, StopRequest, Callable[..., None]], Manifest | None]


class ServerLost(Exception):
    """The server has ended, or cannot be reached any more, while the flow ran. The disk says which stages are done."""


def run(plan: Plan, run_step: RunStep, live: LiveView, stop: StopRequest) -> None:
    """Runs the steps of a plan as task runs of one flow run.

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
    errors: list[PipelineError] = []
    states: dict[str, State] = {}
    name = f"{plan.config.run}-{plan.config.recipe}"
    if prefect_server.is_embedded():
        _close_lost_runs(name)

    @flow(name="r1", flow_run_name=name, validate_parameters=False)
    def recipe(run: str, seed: int, stages: list[str]):
        # Prefect has put its own SIGTERM handler in place, which would kill the flow before a checkpoint is written
        stop.install()
        for step in plan.steps:
            sources = [states[source.stage] for source in step.inputs.values() if source.stage in states]
            run_stage = task(
                _stage,
                name=step.stage,
                task_run_name=step.stage,
                cache_policy=NO_CACHE,
                persist_result=False,
                description=f"{step.kind}: {step.reason}",
            )
            states[step.stage] = run_stage(
                short_fingerprint(step.fingerprint),
                _Work(step, plan, run_step, live, stop, errors),
                wait_for=sources,
                return_state=True,
            )
            if errors or not states[step.stage].is_completed():
                break
        if errors:
            return _state_of(errors[0])
        is_complete = all(state.is_completed() for state in states.values())
        return Completed(message=f"{len(states)} stages") if is_complete else Failed()

    try:
        recipe(plan.config.run, plan.config.seed, [step.stage for step in plan.steps], return_state=True)
    except Exception as error:
        if not (prefect_server.has_ended() or (prefect_server.has_own_server() and _is_unreachable(error))):
            raise
        patches.drop_queued_messages()
        raise errors[0] if errors else ServerLost() from error
    patches.send_queued_messages(SEND_TIMEOUT_S)
    if errors:
        raise errors[0]
    for state in states.values():
        state.result()  # an error that is not a PipelineError is a bug of ours: raise it as it is


def _is_unreachable(error: BaseException) -> bool:
    """Whether an error of Prefect, or what caused it, is that no server answers."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, (httpx.TransportError, ConnectionError, TimeoutError)):
            return True
        seen = seen.__cause__ or seen.__context__
    return False


class _Work:
    """What a task run needs, as one argument, of which Prefect shows the stage's name.

    No dataclass: Prefect looks into the fields of those for results of other tasks, and copies them.
    """

    def __init__(
        self,
        step: Step,
        plan: Plan,
        run_step: RunStep,
        live: LiveView,
        stop: StopRequest,
        errors: list[PipelineError],  # of the whole flow
    ):
        self.step = step
        self.plan = plan
        self.run_step = run_step
        self.live = live
        self.stop = stop
        self.errors = errors

    def __repr__(self) -> str:
        return self.step.stage


def _stage(fingerprint: str, work: _Work) -> State:
    """The body of every task run: runs the stage, logs its lines, shows its metrics as an artifact."""
    step, logger = work.step, get_run_logger()
    logger.info("%s: %s (%s), %s", step.stage, step.action, step.reason, step.dir)
    try:
        manifest = work.run_step(step, work.plan, work.live, work.stop, logger.info)
    except PipelineError as error:
        work.errors.append(error)
        logger.error("%s", error)
        return _state_of(error)
    if manifest is None:
        return Completed(name="Skipped", message=step.reason)
    _show_metrics(step, manifest)
    return Completed(message=f"{manifest.timing.total_s} s")


def _show_metrics(step: Step, manifest: Manifest) -> None:
    """Shows the final numbers of a stage as a table among the artifacts."""
    rows = [{"metric": name, "value": value} for name, value in manifest.metrics.items()]
    rows += [{"metric": f"timing/{name}", "value": value} for name, value in to_plain(manifest.timing).items()]
    rows.append({"metric": "peak_memory_gib", "value": manifest.peak_memory_gib})
    create_table_artifact(
        key=step.stage.replace("_", "-"),
        table=rows,
        description=f"{step.stage} {short_fingerprint(step.fingerprint)}: {step.dir}",
    )


def _close_lost_runs(name: str) -> None:
    """Ends the flow runs of this name that a killed driver left in state Running.

    None of them is alive: this driver holds the lock of the run.
    """
    unfinished = {"type": {"any_": [StateType.RUNNING, StateType.PENDING]}}
    with get_client(sync_client=True) as client:
        for lost in client.read_flow_runs(flow_run_filter=FlowRunFilter(name={"any_": [name]}, state=unfinished)):
            client.set_flow_run_state(lost.id, Crashed(message="its driver was killed"), force=True)


def _state_of(error: PipelineError) -> State:
    """The state in which Prefect shows a stage, or a flow, that ended with this error."""
    if isinstance(error, StageInterrupted):
        return Cancelled(message=str(error))
    return Failed(message=str(error).splitlines()[0])
