"""The flow of a deployment: what a worker runs when somebody presses Run in Prefect's page, or a schedule is due.

Its parameters are those of the page's form. The flow composes the configuration of their words and carries out the
stages as `r1 run` does: the same plan, the same lock, the same checkpoints.
"""

import dataclasses
import datetime
import os
import time
from typing import Annotated, NoReturn

from prefect import flow, get_run_logger
from prefect.client.orchestration import get_client
from prefect.context import FlowRunContext
from prefect.exceptions import Abort, ObjectNotFound
from prefect.runtime import deployment
from prefect.states import AwaitingRetry, Cancelled, Completed, Crashed, State
from pydantic import Field

from pipeline.configuration import compose, spelling
from pipeline.configuration.ignored import ignored
from pipeline.configuration.schema import RunConfig
from pipeline.errors import InvalidConfig, MissingInput, PipelineError, RunLocked, StageInterrupted
from pipeline.execution.prefect.flow import FLOW, state_of
from pipeline.execution.prefect.watch import UNREACHABLE, is_cancel, state_of_flow_run
from pipeline.execution.run import run_stages
from pipeline.execution.sweep_plan import require_one_job
from pipeline.planning.command_line import remember_overrides, remember_typed
from pipeline.view.console import standard_console
from pipeline.view.errors import print_error
from stages.config import ConfigError

LOCK_WAIT_S = 5.0
HANDOVER_S = 30.0  # a worker that takes a flow run again, before it has seen its first process end, loses it
SERVER_WAIT_S = 1800.0  # how long a run that is done waits to tell its server so
_CHOOSES = ("stage=", "selected.")  # words that choose stages, which the parameter `stages` does here


def _name() -> str:
    return deployment.name or FLOW


@flow(name=FLOW, flow_run_name=_name, persist_result=False)
def r1(
    stages: Annotated[list[str], Field(description="Stages to run: their names, or all.")],
    configuration: Annotated[list[str], Field(description="The words KEY=VALUE that `r1 deploy` was given.")],
    overrides: Annotated[
        list[str], Field(description="Further words KEY=VALUE for this flow run; they win over `configuration`.")
    ] = [],  # noqa: B006 - Prefect shows it in the form
    directory: Annotated[
        str | None, Field(description="Where relative paths begin; every machine of the pool must see it.")
    ] = None,
) -> State:
    """Stages of the DeepSeek-R1 recipe. What is done already is skipped, and what was begun goes on."""
    try:
        config = _configuration(stages, configuration, overrides, directory)
        state = _run(config)
    except ConfigError as error:
        state = _failed(InvalidConfig(error.errors))
    except StageInterrupted as error:
        return _interrupted(error, config)
    except PipelineError as error:
        state = _failed(error)
    _wait_for_server()
    return state


def winning(configuration: list[str], overrides: list[str]) -> list[str]:
    """Both lists of words; those of `configuration` that `overrides` says anew are left out.

    Hydra takes the last of several values of a key, but of an option that is put somewhere (`+GROUP@KEY=OPTION`) only
    one.
    """
    again = {_key(word) for word in overrides}
    return [*(word for word in configuration if _key(word) not in again), *overrides]


def _key(word: str) -> str:
    return word.partition("=")[0].lstrip("+")


def _configuration(
    stages: list[str], configuration: list[str], overrides: list[str], directory: str | None
) -> RunConfig:
    """The configuration of the parameters. Raises PipelineError where they cannot be used."""
    if directory is not None:
        try:
            os.chdir(directory)
        except OSError as error:
            fix = "mount that disk there, or set the parameter `directory`; all machines of the pool share runs_dir"
            raise MissingInput(f"{directory} cannot be entered on this machine: {error.strerror}", fix) from None
    words = winning(configuration, overrides)
    require_one_job(words)
    if chosen := [word for word in words if word.lstrip("+").startswith(_CHOOSES)]:
        raise InvalidConfig([f"{word}: the stages of a deployment are its parameter `stages`" for word in chosen])
    if not stages:
        raise InvalidConfig(["stages: no stage is named; name some, or all"])
    if (_flow_run().run_count or 1) > 1:  # a later attempt goes on with what the first has begun again
        words = [word for word in words if _key(word) != "force"]
    selected = f"+stage={stages[0]}" if len(stages) == 1 else f"+stage=[{','.join(stages)}]"
    typed = [selected, *words]
    remember_typed("run", typed)
    rewritten = spelling.rewrite([*typed, "orchestrator=prefect"])
    remember_overrides(spelling.rewrite(typed))
    config, tree = compose.compose_with_tree(rewritten)
    if "all" not in stages:  # an experiment in `configuration` selects stages, too
        config = dataclasses.replace(config, selected=dict.fromkeys(stages, True))
    for line in ignored(spelling.rewrite(overrides), tree, config):
        get_run_logger().warning("note: %s", line)
    return config


def _run(config: RunConfig) -> State:
    """Carries out the stages, when no other driver holds the run any more."""
    logger, is_told = get_run_logger(), False
    while True:
        try:
            plan = run_stages(config, standard_console(), True)
            return Completed(message=f"{len(plan.steps)} stages")
        except RunLocked as error:
            if _flow_run().auto_scheduled:
                return Completed(name="Skipped", message=f"by its schedule, when {error}")
            if not is_told:
                logger.warning("waits: %s", error)
            is_told = True
        time.sleep(LOCK_WAIT_S)
        if _is_cancelled():
            return Cancelled(message="cancelled while it waited for another driver")


def _wait_for_server() -> None:
    """Waits a while for a server that has gone away meanwhile: without its last state a flow run counts as running."""
    deadline = time.monotonic() + SERVER_WAIT_S
    while time.monotonic() < deadline:
        try:
            state_of_flow_run(_flow_run().id)
            return
        except ObjectNotFound:
            return
        except UNREACHABLE:
            time.sleep(LOCK_WAIT_S)


def _interrupted(error: StageInterrupted, config: RunConfig) -> State:
    """What becomes of a flow run that was stopped: Cancel ends it; of another stop a later attempt makes up.

    A worker that is stopped, because its machine is taken away, stops its runs. Another worker of the pool then goes on
    with them.
    """
    if _is_cancelled():
        _end_in(state_of(error))
    flow_run = _flow_run()
    attempts = flow_run.run_count or 1
    waits = config.retry.waits()
    if attempts > len(waits):
        return Crashed(message=f"{error}; nobody has cancelled it: its worker was stopped")
    wait = max(waits[attempts - 1], HANDOVER_S)
    get_run_logger().warning("%s; nobody has cancelled it, so another worker goes on in %.0f s", error, wait)
    when = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=wait)
    return _end_in(AwaitingRetry(scheduled_time=when, message=str(error)))


def _end_in(state: State) -> NoReturn:
    """Ends the flow run in a state that Prefect would take for a failure of the process, with a traceback."""
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(_flow_run().id, state, force=True)
    raise Abort(f"ended as {state.name}")


def _failed(error: PipelineError) -> State:
    print_error(standard_console(), error)
    logger = get_run_logger()
    logger.error("%s", error)
    if error.fix:
        logger.error("fix: %s", error.fix)
    return state_of(error)


def _flow_run():
    context = FlowRunContext.get()
    assert context is not None and context.flow_run is not None  # called by the flow only
    return context.flow_run


def _is_cancelled() -> bool:
    """Whether somebody has cancelled this flow run, as far as the server can be asked."""
    try:
        return is_cancel(state_of_flow_run(_flow_run().id))
    except UNREACHABLE:
        return False
