"""Makes deployments of a run's stages on the user's Prefect server. Typed again, it updates them."""

import json
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import DeploymentScheduleCreate, WorkPoolCreate
from prefect.client.schemas.objects import WorkPool
from prefect.client.schemas.responses import DeploymentResponse
from prefect.client.schemas.schedules import CronSchedule
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound
from prefect.utilities.urls import url_for
from prefect.workers.process import ProcessWorker
from pydantic import ValidationError

from pipeline.configuration.schema import RunConfig
from pipeline.errors import InvalidConfig, MissingInput
from pipeline.execution.prefect.deployed import r1
from pipeline.execution.prefect.flow import FLOW, tags_of
from pipeline.paths import REPOSITORY
from stages.config.quoting import hydra_quoted

POOL = "r1"  # the pool that is taken, and made, where none is named
WHOLE = "recipe"  # the deployment of all selected stages together
PROCESS = "process"  # the type of pools whose workers start processes on their own machine
SUPERVISE = "pipeline.execution.prefect.supervise"
DEFAULT_RETRIES = "retry.times=3"
_OWN = ("stage=", "selected.", "run=", "runs_dir=", "force=")  # words that are not kept as they were typed


@dataclass(frozen=True)
class Schedule:
    """When the last deployment of a command runs by itself."""

    cron: str | None = None  # None: as it is on the server
    timezone: str | None = None
    is_removed: bool = False


@dataclass(frozen=True)
class Place:
    """Where deployed runs are carried out."""

    pool: str | None = None  # None: POOL, which is made where it is not there
    queue: str | None = None
    variables: dict[str, object] = field(default_factory=dict)  # job variables, over our own


@dataclass(frozen=True)
class Deployed:
    """What was made on the server, for people."""

    name: str  # FLOW/NAME
    page: str
    is_new: bool
    schedule: str  # in words; "" where there is none


def deploy(
    config: RunConfig, words: Sequence[str], place: Place, schedule: Schedule, is_replaced: bool
) -> tuple[str, list[Deployed]]:
    """Makes a deployment for each selected stage and, where there are several, one for all of them.

    Args:
        config: The checked configuration.
        words: The words that it was composed of.
        place: The pool and what its workers are told.
        schedule: Of the deployment of all stages, or of the one stage.
        is_replaced: Whether deployments of another run with the same name may be overwritten.

    Returns:
        The pool's name, and the deployments.

    Raises:
        MissingInput: There is no such pool or queue, or a name belongs to a run elsewhere.
        InvalidConfig: The schedule cannot be read.
    """
    cron = _read(schedule)
    stages = config.selection
    wanted = {f"{config.run}.{stage}": [stage] for stage in stages}
    if len(stages) > 1:
        wanted[f"{config.run}.{WHOLE}"] = stages
    kept = kept_words(config, words)
    with get_client(sync_client=True) as client:
        before = {name: _find(client, name) for name in wanted}
        if not is_replaced:
            for name, found in before.items():
                _require_same_run(name, found, kept)
        pool = _pool(client, place)
        if place.queue is not None:
            _require_queue(client, pool, place.queue)
        flow = client.create_flow_from_name(FLOW)
        made = []
        for name, selected in wanted.items():
            is_scheduled = name == list(wanted)[-1]
            schedules = _schedules(before[name], cron, schedule.is_removed) if is_scheduled else _kept(before[name])
            number = client.create_deployment(
                flow_id=flow,
                name=name,
                description=f"{', '.join(selected)} of the run {config.run} in {config.run_dir.parent}",
                tags=tags_of(config),
                parameters={"stages": selected, "configuration": kept, "overrides": [], "directory": str(Path.cwd())},
                parameter_openapi_schema=r1.parameters.model_dump(exclude_unset=True),
                enforce_parameter_schema=True,
                entrypoint=f"{r1.__module__}.{r1.fn.__name__}",
                pull_steps=[],
                work_pool_name=pool.name,
                work_queue_name=place.queue,
                job_variables=_job_variables(pool) | place.variables,
                schedules=schedules,
            )
            page = url_for("deployment", obj_id=number) or ""
            made.append(Deployed(f"{FLOW}/{name}", page, before[name] is None, _in_words(schedules)))
    return pool.name, made


def kept_words(config: RunConfig, words: Sequence[str]) -> list[str]:
    """The configuration of a deployment: where the run is, absolute, and the words that were typed.

    Stages are a parameter of their own, and `force=true` would begin again what a retried run goes on with.
    """
    place = {"run": config.run, "runs_dir": str(config.run_dir.parent)}
    kept = [word for word in words if not word.lstrip("+").startswith(_OWN)]
    retries = [] if any(word.lstrip("+").startswith("retry.times=") for word in kept) else [DEFAULT_RETRIES]
    return [*(f"{key}={hydra_quoted(value)}" for key, value in place.items()), *kept, *retries]


def _read(schedule: Schedule) -> CronSchedule | None:
    if schedule.cron is None:
        return None
    try:
        return CronSchedule(cron=schedule.cron, timezone=schedule.timezone)
    except ValidationError as error:
        what = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
        raise InvalidConfig([f"--cron {schedule.cron!r}: {what}; every night at two is '0 2 * * *'"]) from None


def _find(client: SyncPrefectClient, name: str) -> DeploymentResponse | None:
    try:
        return client.read_deployment_by_name(f"{FLOW}/{name}")
    except ObjectNotFound:
        return None


def _require_same_run(name: str, found: DeploymentResponse | None, kept: Sequence[str]) -> None:
    """Raises MissingInput where a deployment of this name is for a run in another directory."""
    if found is None:
        return
    before = found.parameters.get("configuration") or []
    other = next((word for word in before if word.startswith("runs_dir=") and word not in kept), None)
    if other is not None:
        raise MissingInput(
            f"the deployment {FLOW}/{name} is there already, for the run of that name with {other}",
            "give this run another name, run=NAME; or add --replace to take the deployment over",
        )


def _pool(client: SyncPrefectClient, place: Place) -> WorkPool:
    """The pool; the default one is made where it is not there."""
    try:
        return client.read_work_pool(place.pool or POOL)
    except ObjectNotFound:
        if place.pool is not None:
            names = ", ".join(sorted(pool.name for pool in client.read_work_pools())) or "none"
            raise MissingInput(
                f"there is no work pool {place.pool}; pools of this server: {names}",
                f"make it: prefect work-pool create --type process {shlex.quote(place.pool)}",
            ) from None
    template = ProcessWorker.get_default_base_job_template()
    try:
        return client.create_work_pool(WorkPoolCreate(name=POOL, type=PROCESS, base_job_template=template))
    except ObjectAlreadyExists:  # another command has made it meanwhile
        return client.read_work_pool(POOL)


def _require_queue(client: SyncPrefectClient, pool: WorkPool, queue: str) -> None:
    known = {found.name for found in client.read_work_queues(work_pool_name=pool.name)}
    if queue not in known:
        raise MissingInput(
            f"the work pool {pool.name} has no queue {queue}; it has {', '.join(sorted(known))}",
            f"make it: prefect work-queue create --pool {shlex.quote(pool.name)} {shlex.quote(queue)}",
        )


def _job_variables(pool: WorkPool) -> dict[str, object]:
    """What a worker starts. On machines of a process pool it is the Python of this command, which they share."""
    if pool.type != PROCESS:
        return {"command": f"python -m {SUPERVISE}"}
    return {"command": f"{shlex.quote(sys.executable)} -m {SUPERVISE}", "env": {"PYTHONPATH": str(REPOSITORY)}}


def _schedules(
    before: DeploymentResponse | None, cron: CronSchedule | None, is_removed: bool
) -> list[DeploymentScheduleCreate]:
    if cron is not None:
        return [DeploymentScheduleCreate(schedule=cron, active=True)]
    return [] if is_removed else _kept(before)


def _kept(before: DeploymentResponse | None) -> list[DeploymentScheduleCreate]:
    """The schedules that a deployment has, which people may have changed in the page."""
    if before is None:
        return []
    return [
        DeploymentScheduleCreate(schedule=one.schedule, active=one.active, parameters=one.parameters, slug=one.slug)
        for one in before.schedules
    ]


def _in_words(schedules: Sequence[DeploymentScheduleCreate]) -> str:
    words = []
    for one in schedules:
        zone = getattr(one.schedule, "timezone", None) or "UTC"
        what = getattr(one.schedule, "cron", None) or json.dumps(one.schedule.model_dump(mode="json"))
        words.append(f"{what} ({zone}){'' if one.active else ', paused'}")
    return "; ".join(words)
