"""From what Hydra hands to the sweeper to a study that runs."""

from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from pipeline.configuration import compose
from pipeline.configuration.overrides import is_swept
from pipeline.errors import InvalidConfig
from pipeline.execution.sweep import choose_objective, direction_of
from pipeline.execution.sweeping.study import JOURNAL, StudyOptions, StudySweep, search_of


def run_study(told: dict[str, Any], words: list[str], hydra_config: DictConfig, launcher: Any) -> bool:
    """Runs the study of a sweep.

    Args:
        told: the keys of hydra.sweeper.
        words: the overrides of the command, swept ones among them.
        hydra_config: Hydra's own configuration, with the directory of the sweep.
        launcher: Hydra's launcher, which runs jobs.

    Returns:
        Whether every trial was run.
    """
    sweep_dir = Path(hydra_config.hydra.sweep.dir)
    sweep_dir.mkdir(parents=True, exist_ok=True)
    config = compose.compose_config([word for word in words if not is_swept(word)])
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
