"""From overrides to a RunConfig: every override is checked on its own, then Hydra composes, then the whole is checked.

All mistakes of the three steps are reported at once. Behind this module there is no OmegaConf.
"""

import sys
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from pipeline.configuration import learning_rates
from pipeline.configuration.defaults import default_tree
from pipeline.configuration.library_errors import OF_HYDRA, of_composition, of_resolution
from pipeline.configuration.overrides import check_overrides, is_swept
from pipeline.configuration.resolve import from_tree
from pipeline.configuration.schema import RunConfig
from pipeline.errors import InvalidConfig
from pipeline.paths import CONF_DIR, REPOSITORY
from stages.config import ConfigError

__all__ = ["compose_config", "compose_tree", "compose_with_tree", "from_hydra", "is_swept", "plain_tree",
           "register_schema", "sweeper_of"]  # fmt: skip


def register_schema() -> None:
    """Gives Hydra our defaults under the name `schema` (first in conf/config.yaml), our resolver and our sweeper."""
    if str(REPOSITORY) not in sys.path:  # there Hydra finds hydra_plugins; an editable installation hides it
        sys.path.append(str(REPOSITORY))
    learning_rates.register()
    ConfigStore.instance().store(name="schema", node=default_tree())


def compose_config(overrides: list[str], is_sweep: bool = False) -> RunConfig:
    """The checked configuration of these overrides. Raises InvalidConfig with every mistake.

    In a sweep the values of a swept key are checked one by one, and the configuration has the key's default.
    """
    return compose_with_tree(overrides, is_sweep)[0]


def compose_with_tree(overrides: list[str], is_sweep: bool = False) -> tuple[RunConfig, DictConfig]:
    """The checked configuration of these overrides, as `compose_config`, and what Hydra composed for it."""
    errors, good = check_overrides(overrides, is_sweep)
    plain = [override for override in good if not is_swept(override)]
    try:
        tree = compose_tree(plain)
        config = from_hydra(tree)
    except (ConfigError, InvalidConfig) as error:
        raise InvalidConfig(errors + error.errors) from None
    if errors:
        raise InvalidConfig(errors)
    return config, tree


def compose_tree(overrides: list[str]) -> DictConfig:
    """Hydra's composition of conf/ with these overrides, without Hydra's own node."""
    register_schema()
    try:
        return _composed(overrides)
    except OF_HYDRA as error:
        raise InvalidConfig(of_composition(error, overrides, _composed)) from None


def _composed(overrides: list[str]) -> DictConfig:
    with initialize_config_dir(config_dir=str(CONF_DIR), version_base="1.3", job_name="r1"):
        return compose("config", overrides=overrides)


def sweeper_of(overrides: list[str]) -> dict[str, Any]:
    """What Hydra's own node says of the sweeper, as plain data: its class, and its parameters where it has some."""
    register_schema()
    with initialize_config_dir(config_dir=str(CONF_DIR), version_base="1.3", job_name="r1"):
        node = compose("config", overrides=overrides, return_hydra_config=True).hydra.sweeper
    plain = OmegaConf.to_container(node, resolve=False)
    assert isinstance(plain, dict)
    return {str(name): value for name, value in plain.items()}


def from_hydra(cfg: DictConfig) -> RunConfig:
    """The RunConfig of a composed DictConfig. Raises ConfigError or InvalidConfig with every mistake."""
    return from_tree(plain_tree(cfg))


def plain_tree(cfg: DictConfig) -> dict[str, Any]:
    """A composed DictConfig as plain data with every interpolation resolved, without Hydra's own node."""
    try:
        rates = learning_rates.rates_of_students(cfg)
        tree = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        raise InvalidConfig([of_resolution(error, cfg)]) from None
    assert isinstance(tree, dict)
    plain = {str(name): node for name, node in tree.items() if name != "hydra"}
    learning_rates.give_students(plain, rates)
    return plain
