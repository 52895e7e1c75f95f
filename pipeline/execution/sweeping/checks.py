"""What is wrong with a sweep, before its first job: no library, no direction, a key that changes nothing."""

import importlib.util
import math
import os
from collections.abc import Sequence

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override

from pipeline.configuration import compose
from pipeline.configuration.overrides import is_swept
from pipeline.configuration.schema import RunConfig
from pipeline.errors import InvalidConfig, MissingInput
from pipeline.execution.sweep import choose_objective, direction_of
from pipeline.planning.plan import make_plan
from stages.config import ConfigError

LIBRARIES = {  # word -> (module, how to install it)
    "hydra/sweeper=optuna": ("optuna", "pip install 'optuna>=5,<6'"),
    "hydra/launcher=joblib": ("hydra_plugins.hydra_joblib_launcher", "pip install 'hydra-joblib-launcher>=1.2,<2'"),
    "hydra/launcher=submitit_local": (
        "hydra_plugins.hydra_submitit_launcher",
        "pip install 'hydra-submitit-launcher>=1.2,<2'",
    ),
    "hydra/launcher=submitit_slurm": (
        "hydra_plugins.hydra_submitit_launcher",
        "pip install 'hydra-submitit-launcher>=1.2,<2'",
    ),
}


def check_sweep(config: RunConfig, words: Sequence[str]) -> None:
    """Checks a sweep.

    Args:
        config: the configuration without the swept values.
        words: the overrides of the command.

    Raises:
        MissingInput: the library of the sweeper or of the launcher is not installed.
        InvalidConfig: the sweep cannot tell good from bad, or its jobs are all the same.
    """
    check_libraries(words)
    if mistakes := sweep_mistakes(config, words):
        raise InvalidConfig(mistakes)


def sweep_mistakes(config: RunConfig, words: Sequence[str]) -> list[str]:
    """Why a sweep cannot tell good jobs from bad ones, or why its jobs are all the same."""
    mistakes = []
    is_parallel = any(word.startswith("hydra/launcher=") and not word.endswith("=basic") for word in words)
    if config.force and is_parallel:
        mistakes.append(
            "force=true in a sweep whose jobs run side by side would redo the stages that they share under each other: "
            "leave it out, or redo them without -m first"
        )
    if config.selection:
        try:
            direction_of(config, choose_objective(config).metric)
        except InvalidConfig as error:
            mistakes += error.errors
    return [*mistakes, *_without_effect(words)]


def check_libraries(words: Sequence[str]) -> None:
    """Raises MissingInput where a sweeper or a launcher has no library: Hydra would only list what there is."""
    for word in words:
        module, install = LIBRARIES.get(word, ("hydra", ""))
        if not _is_there(module):
            raise MissingInput(f"{word} needs a library that is not installed", f"{install}, or leave out {word}")


def with_bounded_processes(words: Sequence[str]) -> list[str]:
    """The overrides, with no more processes of joblib than there are jobs at once: idle ones would outlive a kill."""
    if "hydra/launcher=joblib" not in words:
        return list(words)
    told = {word.partition("=")[0]: word.partition("=")[2] for word in words}
    if "hydra/sweeper" in told and told["hydra/sweeper"] != "basic":
        num_jobs = int(told.get("hydra.sweeper.n_jobs", "1"))
    else:
        parsed = OverridesParser.create().parse_overrides(list(words))
        num_jobs = math.prod(len(list(one.sweep_iterator())) for one in parsed if one.is_discrete_sweep())
    wanted = int(told.get("hydra.launcher.n_jobs", "-1"))
    if num_jobs == 1 and "hydra/sweeper" not in told:
        return list(words)  # the values come from a file of conf/sweep
    chosen = num_jobs if wanted < 1 and num_jobs <= (os.cpu_count() or 1) else min(wanted, num_jobs)
    return [
        *(word for word in words if not word.startswith("hydra.launcher.n_jobs=")),
        f"hydra.launcher.n_jobs={chosen}",
    ]


def _is_there(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def _without_effect(words: Sequence[str]) -> list[str]:
    """A mistake for each swept key that changes no stage: its jobs would be one and the same."""
    parsed = OverridesParser.create().parse_overrides(list(words))
    plain = [word for word in words if not is_swept(word)]
    swept = [(override, _two_values(override)) for override in parsed if override.is_sweep_override()]
    first = [values[0] for _, values in swept if values]
    mistakes = []
    for override, values in swept:
        if len(values) < 2:
            continue
        others = [word for word in first if word != values[0]]
        try:
            made = [make_plan(compose.compose_config([*plain, *others, value])) for value in values]
        except (ConfigError, InvalidConfig):
            continue  # the job itself says so
        fingerprints = [{step.stage: (step.fingerprint, str(step.dir)) for step in plan.steps} for plan in made]
        if fingerprints[0] and fingerprints[0] == fingerprints[1]:
            mistakes.append(
                f"{override.get_key_element()}: all jobs would be the same: no stage that they make "
                f"({', '.join(fingerprints[0])}) depends on it"
            )
    return mistakes


def _two_values(override: Override) -> list[str]:
    """Two of the values of a swept key, as overrides; none of an interval, which always has an effect or a range."""
    key = override.get_key_element()
    if not override.is_discrete_sweep():
        value = override.value()
        start, end = getattr(value, "start", None), getattr(value, "end", None)
        return [f"{key}={start}", f"{key}={end}"]
    return [f"{key}={value}" for value in list(override.sweep_string_iterator())[:2]]
