"""From what Hydra hands to the sweeper to a study that runs."""

import copy
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, open_dict, read_write

from pipeline.configuration import compose
from pipeline.configuration.overrides import is_swept
from pipeline.configuration.schema import RunConfig
from pipeline.errors import InvalidConfig, PipelineError
from pipeline.execution.sweep import choose_objective, direction_of
from pipeline.execution.sweeping.study import JOURNAL, StudyOptions, StudySweep, search_of
from pipeline.view.console import standard_console
from pipeline.view.errors import print_error
from stages.config import ConfigError


def without_choices(words: list[str]) -> list[str]:
    """The overrides that all jobs share."""
    return [word for word in words if not is_swept(word)]


def run_or_exit(told: dict[str, Any], words: list[str], hydra_config: DictConfig, launcher: Any) -> bool:
    """`run_study`; of an error it prints what people need and ends the command, where Hydra would print a traceback."""
    try:
        return run_study(told, words, hydra_config, launcher)
    except ConfigError as error:
        wrong: PipelineError = InvalidConfig(error.errors)
    except PipelineError as error:
        wrong = error
    print_error(standard_console(), wrong)
    raise SystemExit(wrong.exit_code)


def _without_hydra(hydra_config: DictConfig) -> RunConfig:
    config = copy.deepcopy(hydra_config)
    with read_write(config), open_dict(config):
        del config["hydra"]
    return compose.from_hydra(config)


def run_study(told: dict[str, Any], words: list[str], hydra_config: DictConfig, launcher: Any) -> bool:
    """Runs the study of a sweep.

    Args:
        told: the keys of hydra.sweeper.
        words: the overrides of the command, swept ones among them.
        hydra_config: what Hydra composes of the words that all jobs share.
        launcher: Hydra's launcher, which runs jobs.

    Returns:
        Whether every trial was run.
    """
    sweep_dir = Path(hydra_config.hydra.sweep.dir)
    sweep_dir.mkdir(parents=True, exist_ok=True)
    config = _without_hydra(hydra_config)
    direction = told["direction"] or direction_of(config, choose_objective(config).metric)
    if told["direction"] and config.sweep.direction not in (None, told["direction"]):
        raise InvalidConfig(
            [f"hydra.sweeper.direction={told['direction']}, but sweep.direction={config.sweep.direction}: set one"]
        )
    options = StudyOptions(
        sampler=told["sampler"] or {"_target_": "optuna.samplers.TPESampler"},
        pruner=told["pruner"] or {"_target_": "optuna.pruners.NopPruner"},
        storage=told["storage"] or str(sweep_dir / JOURNAL),
        name=told["study_name"] or sweep_dir.name,
        direction=direction,
        n_trials=told["n_trials"],
        n_jobs=told["n_jobs"],
        seed=config.seed,
    )
    return StudySweep(search_of(words, told["params"] or {}), options, sweep_dir, launcher.launch).run()
