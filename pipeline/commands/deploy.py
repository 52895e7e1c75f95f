"""The command `deploy`: makes the stages of a run deployments of a Prefect server."""

import json
import os
from typing import Annotated

from pipeline.commands.declaration import Overrides, declare, exit_codes, flag, option
from pipeline.configuration import compose, spelling
from pipeline.configuration.ignored import ignored
from pipeline.errors import InvalidConfig, MissingInput
from pipeline.execution.prefect import server
from pipeline.execution.sweep_plan import require_one_job
from pipeline.planning.preflight import require_run_dir
from pipeline.view.console import standard_console

app = declare(
    "deploy",
    "[OPTIONS] [+stage=STAGE] [KEY=VALUE ...]",
    {
        "r1 deploy recipe=one_gpu model.path=models/base run=big": "each stage, and the recipe as a whole",
        "r1 deploy +stage=r1_zero --pool gpus": "one stage, on a work pool that is there",
        "r1 deploy --cron '0 2 * * *' --timezone Europe/Berlin": "the recipe every night at two",
        "r1 deploy --pool cluster --variable image=registry/r1:gpu": "on a Kubernetes pool",
    },
    exit_codes(0, 2, 3),
    more="`PREFECT_API_URL` names the server. A worker of the pool carries the runs out: "
    "`prefect worker start --pool r1`.",
)


@app.default
def deploy(
    *overrides: Overrides,
    pool: Annotated[str | None, option("--pool", value="NAME")] = None,
    queue: Annotated[str | None, option("--queue", value="NAME")] = None,
    cron: Annotated[str | None, option("--cron", value="EXPRESSION")] = None,
    timezone: Annotated[str | None, option("--timezone", value="ZONE")] = None,
    no_schedule: Annotated[bool, flag("--no-schedule")] = False,
    variable: Annotated[list[str] | None, option("--variable", value="KEY=VALUE")] = None,
    replace: Annotated[bool, flag("--replace")] = False,
) -> int:
    """Make the stages of a run deployments of a Prefect server.

    Each selected stage becomes the deployment `r1/RUN.STAGE`, and all of them together `r1/RUN.recipe`. They are
    started in Prefect's page, by `prefect deployment run` or by a schedule. Typed again, the command updates them.

    Args:
        overrides: The stages and the configuration, as for `run`; without `+stage=` the whole recipe. `retry.times`
            is 3 where it is not given.
        pool: The work pool; by default `r1`, a pool of processes, which is made where it is not there.
        queue: A queue of the pool.
        cron: When it runs by itself: all stages where several are selected, else the one.
        timezone: The time zone of `--cron`; by default UTC.
        no_schedule: Take the schedule away. Otherwise a schedule that is there is kept.
        variable: A job variable of the pool, for example `image=NAME`; may be given several times.
        replace: Take deployments over that another run with this name has, in another `runs_dir`.
    """
    variables = _variables(variable or [])
    _check(cron, timezone, no_schedule)
    words = spelling.with_stages(spelling.rewrite(list(overrides)))
    require_one_job(words)
    config, tree = compose.compose_with_tree(words)
    if not config.selection:
        raise InvalidConfig(["no stage is selected: add +stage=all, +stage=NAME or '+stage=[a,b]'"])
    console = standard_console()
    notes = ignored(words, tree, config)
    if config.force:
        notes.append("force=true is for one flow run: type it into its parameter `overrides`; it is not kept here")
    for line in notes:
        console.print(f"note: {line}", highlight=False, markup=False, soft_wrap=True)
    require_run_dir(config)
    _require_server()
    server.prepare_environment(config.run_dir.parent)
    from pipeline.execution.prefect import deploy as prefect  # Prefect takes seconds to load

    place = prefect.Place(pool, queue, variables)
    schedule = prefect.Schedule(cron, timezone, no_schedule)
    pool_name, made = prefect.deploy(config, words, place, schedule, replace)
    for one in made:
        verb = "made" if one.is_new else "updated"
        timed = f", runs at {one.schedule}" if one.schedule else ""
        console.print(f"{verb} {one.name}{timed}  {one.page}", highlight=False, markup=False, soft_wrap=True)
    for line in (
        f"start a worker on each machine, with this PREFECT_API_URL: prefect worker start --pool {pool_name}",
        f"run one in the page, or: prefect deployment run '{made[-1].name}'",
    ):
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    return 0


def _variables(words: list[str]) -> dict[str, object]:
    """Job variables by name; a value that is JSON is read as such."""
    variables: dict[str, object] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not key or not equals:
            raise InvalidConfig([f"--variable {word}: expected KEY=VALUE"])
        try:
            variables[key] = json.loads(value)
        except ValueError:
            variables[key] = value
    return variables


def _check(cron: str | None, timezone: str | None, no_schedule: bool) -> None:
    mistakes = []
    if timezone is not None and cron is None:
        mistakes.append("--timezone: it is that of --cron, which is missing")
    if no_schedule and cron is not None:
        mistakes.append("--cron and --no-schedule: leave one of them out")
    if mistakes:
        raise InvalidConfig(mistakes)


def _require_server() -> None:
    """Raises MissingInput where no server is named, or none answers: the embedded one ends with each command."""
    if not os.environ.get("PREFECT_API_URL"):
        raise MissingInput(
            "no Prefect server is named: deployments need one that stays",
            "prefect server start --background; export PREFECT_API_URL=http://127.0.0.1:4200/api\n"
            "or run without one: r1 run +stage=all",
        )
    server.require_own_server()
