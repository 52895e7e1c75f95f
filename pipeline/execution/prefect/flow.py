"""The Prefect flow: a task run per stage, with its state, log lines and metrics. The only file that imports Prefect.

The disk is the truth: Prefect shows what happens, it decides nothing, and losing its database loses nothing.
"""

from prefect import flow, get_run_logger, task
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
from pipeline.planning.plan import Plan, Step
from pipeline.view.live import LiveView
from stages.contract.json_file import to_plain
from stages.contract.manifest import Manifest

DRAIN_S = 10


class ServerLost(Exception):
    """The embedded server has ended while the flow ran; the stages on disk are what they are."""


def run(plan: Plan, run_step, live: LiveView, stop: StopRequest) -> None:
    """Runs the steps of a plan with `run_step(step, plan, live, stop, on_line)` as task runs. Raises the first error of
    a stage, or ServerLost.
    """
    errors: list[PipelineError] = []
    states = {}
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
                step.fingerprint[:8],
                _Work(step, plan, run_step, live, stop, errors),
                wait_for=sources,
                return_state=True,
            )
            if errors or not states[step.stage].is_completed():
                break
        if errors:
            interrupted = isinstance(errors[0], StageInterrupted)
            return Cancelled(message=str(errors[0])) if interrupted else Failed(message=_first_line(errors[0]))
        return (
            Completed(message=f"{len(states)} stages")
            if all(state.is_completed() for state in states.values())
            else Failed()
        )

    try:
        recipe(plan.config.run, plan.config.seed, [step.stage for step in plan.steps], return_state=True)
    except Exception as error:
        if not prefect_server.has_ended():
            raise
        patches.drop_queued_messages()
        raise errors[0] if errors else ServerLost() from error
    patches.send_queued_messages(DRAIN_S)
    if errors:
        raise errors[0]
    for state in states.values():
        state.result()  # an error that is not a PipelineError is a bug of ours: raise it as it is


class _Work:
    """What a task run needs, as one opaque argument: Prefect shows parameters, it must not look into this one."""

    def __init__(self, step: Step, plan: Plan, run_step, live: LiveView, stop: StopRequest, errors: list):
        self.step, self.plan, self.run_step, self.live, self.stop, self.errors = (
            step,
            plan,
            run_step,
            live,
            stop,
            errors,
        )

    def __repr__(self) -> str:
        return self.step.stage


def _stage(fingerprint: str, work: _Work):
    """The body of every task run: the stage, its log lines, and its metrics as an artifact."""
    step, logger = work.step, get_run_logger()
    logger.info("%s: %s (%s), %s", step.stage, step.action, step.reason, step.dir)
    try:
        manifest = work.run_step(step, work.plan, work.live, work.stop, logger.info)
    except PipelineError as error:
        work.errors.append(error)
        logger.error("%s", error)
        return (
            Cancelled(message=str(error)) if isinstance(error, StageInterrupted) else Failed(message=_first_line(error))
        )
    if manifest is None:
        return Completed(name="Skipped", message=step.reason)
    _show_metrics(step, manifest)
    return Completed(message=f"{manifest.timing.total_s} s")


def _show_metrics(step: Step, manifest: Manifest) -> None:
    rows = [{"metric": name, "value": value} for name, value in manifest.metrics.items()]
    rows += [{"metric": f"timing/{name}", "value": value} for name, value in to_plain(manifest.timing).items()]
    rows.append({"metric": "peak_memory_gib", "value": manifest.peak_memory_gib})
    create_table_artifact(
        key=step.stage.replace("_", "-"), table=rows, description=f"{step.stage} {step.fingerprint[:8]}: {step.dir}"
    )


def _close_lost_runs(name: str) -> None:
    """Flow runs of this run that a killed driver left in state Running; the run's lock, which we hold, says that none
    is alive.
    """
    unfinished = {"type": {"any_": [StateType.RUNNING, StateType.PENDING]}}
    with get_client(sync_client=True) as client:
        for lost in client.read_flow_runs(flow_run_filter=FlowRunFilter(name={"any_": [name]}, state=unfinished)):
            client.set_flow_run_state(lost.id, Crashed(message="its driver was killed"), force=True)


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0]
