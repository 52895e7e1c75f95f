"""hydra/sweeper=optuna, where Hydra looks for plugins. What it does is in pipeline.execution.sweeping.

Hydra imports this module in every command, so it imports nothing heavy.
"""

from dataclasses import dataclass, field
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import MISSING, DictConfig, OmegaConf

# option -> (class of Optuna, its keys with their defaults); a seed of null is that of the run
SAMPLERS: dict[str, tuple[str, dict[str, Any]]] = {
    "tpe": ("TPESampler", {"seed": None, "n_startup_trials": 10, "multivariate": False}),
    "random": ("RandomSampler", {"seed": None}),
    "qmc": ("QMCSampler", {"seed": None, "scramble": False}),
}
PRUNERS: dict[str, tuple[str, dict[str, Any]]] = {
    "none": ("NopPruner", {}),
    "median": ("MedianPruner", {"n_startup_trials": 5, "n_warmup_steps": 0, "interval_steps": 1}),
    "halving": ("SuccessiveHalvingPruner", {"min_resource": "auto", "reduction_factor": 4}),
    "hyperband": ("HyperbandPruner", {"min_resource": 1, "max_resource": "auto", "reduction_factor": 3}),
}


@dataclass
class OptunaSweeperConf:
    """The keys of hydra.sweeper, as those of Hydra's own plugin for Optuna."""

    defaults: list[Any] = field(default_factory=lambda: [{"sampler": "tpe"}, {"pruner": "none"}])
    _target_: str = "hydra_plugins.r1_optuna_sweeper.OptunaSweeper"
    _recursive_: bool = False  # samplers are made where their seeds are known
    sampler: Any = MISSING
    pruner: Any = MISSING
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

        self.config, self.hydra_context = config, hydra_context
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> Any:
        """Runs the sweep."""
        from pipeline.execution.sweeping.optuna_sweep import run_or_exit, without_choices

        assert self.launcher is not None
        plain = {name: OmegaConf.to_container(value) if OmegaConf.is_config(value) else value
                 for name, value in self.told.items()}  # fmt: skip
        assert self.hydra_context is not None
        shared = self.hydra_context.config_loader.load_sweep_config(self.config, without_choices(arguments))
        return run_or_exit(plain, arguments, shared, self.launcher)


def _register() -> None:
    store = ConfigStore.instance()
    store.store(group="hydra/sweeper", name="optuna", node=OptunaSweeperConf, provider="r1")
    for kind, options in (("sampler", SAMPLERS), ("pruner", PRUNERS)):
        for name, (target, arguments) in options.items():
            node = {"_target_": f"optuna.{kind}s.{target}", **arguments}
            store.store(group=f"hydra/sweeper/{kind}", name=name, node=node, provider="r1")


_register()
