"""The command `run`: one job, or a sweep of jobs.

Hydra parses the overrides and calls a job for each configuration. What a job does is in `pipeline.execution.run`.
"""

from dataclasses import dataclass
from typing import Annotated

from omegaconf import DictConfig
from rich.console import Console

from pipeline.commands.declaration import Overrides, declare, exit_codes, flag
from pipeline.commands.hydra_command_line import NO_HYDRA_OPTIONS, HydraOptions, call_hydra, program_name
from pipeline.commands.run_ending import print_end
from pipeline.commands.run_sweep import run_sweep
from pipeline.configuration import compose, keys, spelling
from pipeline.configuration import overrides as overrides_module
from pipeline.configuration.ignored import ignored
from pipeline.errors import InvalidConfig, PipelineError
from pipeline.execution.objectives import objective_mistakes
from pipeline.execution.prefect import server as prefect_server
from pipeline.execution.run import run_stages
from pipeline.execution.sweep_plan import asks_for_sweep
from pipeline.planning.command_line import remember_overrides, remember_typed
from pipeline.planning.preflight import require_run_dir
from pipeline.view.console import standard_console
from pipeline.view.errors import print_error
from stages.config import ConfigError


def _groups() -> str:
    lines = [f"- {name}: {', '.join(options)}" for name, options in keys.groups().items()]
    return "\n".join(["**Groups** (choose with `group=option`)", "", *lines])


app = declare(
    "run",
    "[OPTIONS] +stage=STAGE [KEY=VALUE ...]",
    {
        "r1 run +stage=all": "the whole recipe; typed again, it continues",
        "r1 run '+stage=[r1_zero,evaluate]'": "some stages, from what the run already has",
        "r1 run +stage=all run=second seed=1": "another run, with another seed",
        "r1 run -m +stage=reasoning_rl stages.reasoning_rl.optim.lr=1e-4,3e-4": "a sweep; ends with a leaderboard",
        "r1 run +stage=all --cfg job": "the configuration, without running",
    },
    exit_codes(0, 1, 2, 3, 4, 5, 75) | {1: "unexpected error"},
    more=_groups(),
)


@app.default
def run(
    *overrides: Overrides,
    with_steps: Annotated[bool, flag("--steps")] = False,
    hydra: HydraOptions = NO_HYDRA_OPTIONS,
) -> int:
    """Run the stages that are not done yet; typed again, it continues.

    The first Ctrl-C or SIGTERM asks the running stage for a checkpoint and ends; the second ends at once. A changed key
    makes a new directory and runs again only what depends on it.

    Every key that `--cfg job` prints can be set. For one stage only: `stages.NAME.key=value`,
    `deepspeed@stages.NAME.deepspeed=zero3`, `rollout@stages.NAME.rollout=transformers`,
    `reward@stages.NAME.rewards=rule`.

    Args:
        overrides: `+stage=all`, `+stage=NAME` or `'+stage=[A,B]'`, and any key of the configuration or option of a
            group; `run=NAME` names the directory below `runs_dir`, `force=true` redoes the selected stages.
        with_steps: Print a line for each step also where several stages are made and the output is no terminal.
    """
    words = spelling.rewrite(list(overrides))
    is_sweep = hydra.multirun or asks_for_sweep(words)
    if not hydra.only_shows:
        _check(words, is_sweep, standard_console())
        options = ["-m" if word == "--multirun" else word for word in hydra.arguments()]
        remember_typed("run", [*options, *(["--steps"] if with_steps else []), *overrides])
        remember_overrides(words)
    elif hydra.shows_configuration:
        _check_shown(words, is_sweep)
    elif mistakes := overrides_module.unreadable_overrides(words):
        raise InvalidConfig(mistakes)
    console, has_steps = standard_console(), True if with_steps else None
    if is_sweep and not hydra.only_shows:
        return run_sweep(words, hydra.arguments(), console, has_steps)
    job = SingleJob(console, has_steps)
    try:
        call_hydra([*hydra.arguments(), *words], job.run, program_name("run"))
    finally:
        prefect_server.stop()
    return 0


def _check(overrides: list[str], is_sweep: bool, console: Console) -> None:
    """Raises InvalidConfig with every mistake, before Hydra stops at the first one; says which overrides do nothing.

    Raises MissingInput where the run's directory cannot be made: Hydra would make it first of all.
    """
    config, tree = compose.compose_with_tree(overrides, is_sweep)
    if not config.selection and not is_sweep:
        stages = ", ".join(option for option in keys.groups()["stage"] if option != "all")
        raise InvalidConfig(
            [f"no stage is selected: add +stage=all, +stage=NAME or '+stage=[a,b]'; stages are {stages}"]
        )
    if is_sweep and (mistakes := objective_mistakes(config)):
        raise InvalidConfig(mistakes)
    require_run_dir(config)
    for line in ignored(overrides, tree, config, is_sweep):
        console.print(f"note: {line}", highlight=False, markup=False, soft_wrap=True)


def _check_shown(overrides: list[str], is_sweep: bool) -> None:
    """Raises InvalidConfig for what cannot be composed, where the configuration is only shown, right or not."""
    mistakes, good = overrides_module.check_overrides(overrides, is_sweep)
    if mistakes:
        raise InvalidConfig(mistakes)
    compose.compose_tree([word for word in good if not compose.is_swept(word)])


@dataclass
class SingleJob:
    """Runs the one job that Hydra asks for."""

    console: Console
    has_steps: bool | None = None

    def run(self, hydra_config: DictConfig) -> None:
        """Runs the job. Raises SystemExit where it has failed: Hydra would turn our errors into its own."""
        try:
            plan = run_stages(compose.from_hydra(hydra_config), self.console, self.has_steps)
        except ConfigError as error:
            raise self._end(InvalidConfig(error.errors)) from None
        except PipelineError as error:
            raise self._end(error) from None
        print_end(plan, self.console)

    def _end(self, error: PipelineError) -> SystemExit:
        print_error(self.console, error)
        return SystemExit(error.exit_code)
