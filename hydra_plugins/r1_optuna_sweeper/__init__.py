"""hydra/sweeper=optuna, where Hydra looks for plugins. What it does is in pipeline.execution.sweeping.

Hydra imports this module in every command, so it imports nothing heavy.
"""

from dataclasses import dataclass, field
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

SAMPLERS = {"tpe": "TPESampler", "random": "RandomSampler", "grid": "GridSampler", "qmc": "QMCSampler"}
PRUNERS = {"none": "NopPruner", "median": "MedianPruner", "halving": "SuccessiveHalvingPruner"}


@dataclass
class OptunaSweeperConf:
    """The keys of hydra.sweeper, as those of Hydra's own plugin for Optuna."""

    defaults: list[Any] = field(default_factory=lambda: [{"sampler": "tpe"}, {"pruner": "none"}])
    _target_: str = "hydra_plugins.r1_optuna_sweeper.OptunaSweeper"
    sampler: Any = None
    pruner: Any = None
    storage: str | None = None  # null: a journal file in the directory of the sweep
    study_name: str | None = None
    direction: str | None = None  # null: sweep.direction
    n_trials: int = 20
    n_jobs: int = 1
    params: dict[str, Any] | None = None


class OptunaSweeper(Sweeper):
    """Chooses the values of jobs by Optuna."""

    def __init__(
        self,
        sampler: Any,
        pruner: Any,
        storage: str | None,
        study_name: str | None,
        direction: str | None,
        n_trials: int,
        n_jobs: int,
        params: Any,
    ):
        self.told = {
            "sampler": sampler,
            "pruner": pruner,
            "storage": storage,
            "study_name": study_name,
            "direction": direction,
            "n_trials": n_trials,
            "n_jobs": n_jobs,
            "params": params,
        }

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Makes the launcher."""
        from hydra.core.plugins import Plugins

        self.config = config
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> Any:
        """Runs the sweep."""
        from pipeline.execution.sweeping.optuna_sweep import run_study

        assert self.launcher is not None
        plain = {name: OmegaConf.to_container(value) if OmegaConf.is_config(value) else value
                 for name, value in self.told.items()}  # fmt: skip
        return run_study(plain, arguments, self.config, self.launcher)


def _register() -> None:
    store = ConfigStore.instance()
    store.store(group="hydra/sweeper", name="optuna", node=OptunaSweeperConf, provider="r1")
    for name, target in SAMPLERS.items():
        node = {"_target_": f"optuna.samplers.{target}"}
        store.store(group="hydra/sweeper/sampler", name=name, node=node, provider="r1")
    for name, target in PRUNERS.items():
        node = {"_target_": f"optuna.pruners.{target}"}
        store.store(group="hydra/sweeper/pruner", name=name, node=node, provider="r1")


_register()
