"""Hydra's own command line, called with arguments of ours.

The compose API makes one configuration, but has neither sweeps nor `--cfg`, `--info` and tab completion. Whatever has
them lies in `hydra._internal`, but for `hydra.main`, which takes its arguments from `sys.argv` and in no other way. So
this module, and no other, calls `hydra.main` and puts the arguments into `sys.argv` for the time of the call.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Literal

import hydra
from cyclopts import Group, Parameter
from omegaconf import DictConfig

from pipeline.commands.declaration import flag, option
from pipeline.configuration.compose import register_schema
from pipeline.paths import CONF_DIR

HYDRA = Group("Options of Hydra", sort_key=3)
SHOWS_ONLY = ("cfg", "info", "hydra_help", "shell_completion")  # with these, nothing runs

Topic = Literal["all", "config", "defaults", "defaults-tree", "plugins", "searchpath"]


@Parameter(name="*")
@dataclass(frozen=True)
class HydraOptions:
    """The options that `run` hands to Hydra. A field is named after the option: `config_dir` is `--config-dir`."""

    multirun: Annotated[bool, flag("--multirun", "-m", group=HYDRA)] = False
    """Sweep: run a job for each combination of the comma-separated values."""
    cfg: Annotated[Literal["job", "hydra", "all"] | None, option("--cfg", "-c", value="WHAT", group=HYDRA)] = None
    """Print the composed configuration and run nothing."""
    package: Annotated[str | None, option("--package", "-p", value="KEY", group=HYDRA)] = None
    """With `--cfg`: print only this part."""
    resolve: Annotated[bool, flag("--resolve", group=HYDRA)] = False
    """With `--cfg`: resolve interpolations."""
    info: Annotated[list[Topic] | None, option("--info", "-i", value="TOPIC", group=HYDRA, may_stand_alone=True)] = None
    """Print where the configuration comes from and run nothing; without a topic, all of it."""
    config_dir: Annotated[str | None, option("--config-dir", "-cd", value="DIRECTORY", group=HYDRA)] = None
    """A further directory with config groups."""
    config_name: Annotated[str | None, option("--config-name", "-cn", value="NAME", group=HYDRA)] = None
    """The composition to begin with, instead of conf/config.yaml."""
    config_path: Annotated[str | None, option("--config-path", "-cp", value="DIRECTORY", group=HYDRA)] = None
    """The directory of all groups, instead of conf/."""
    experimental_rerun: Annotated[str | None, option("--experimental-rerun", value="FILE", group=HYDRA)] = None
    """Run the job of a pickled configuration."""
    run: Annotated[bool, flag("--run", "-r", group=HYDRA)] = False
    """Run one job, which is what happens anyway."""
    hydra_help: Annotated[bool, flag("--hydra-help", group=HYDRA)] = False
    """Print Hydra's own help."""
    shell_completion: Annotated[bool, flag("--shell-completion", "-sc", group=HYDRA)] = False
    """Print the script for tab completion: `r1 -sc install=bash`."""

    @property
    def only_shows(self) -> bool:
        """Whether Hydra prints something instead of running jobs."""
        return any(getattr(self, name) not in (None, False) for name in SHOWS_ONLY)

    @property
    def shows_configuration(self) -> bool:
        """Whether the configuration of conf/ is shown, for which the overrides must fit."""
        is_other = self.config_dir or self.config_name or self.config_path
        return bool(self.cfg or self.info) and not is_other

    def arguments(self) -> list[str]:
        """The options as words for Hydra's own parser."""
        words: list[str] = []
        for field in fields(self):
            value = getattr(self, field.name)
            name = f"--{field.name.replace('_', '-')}"
            if value is True:
                words.append(name)
            elif isinstance(value, list):  # the topic of --info
                words.append(f"{name}={value[0] if value else 'all'}")
            elif value:
                words.append(f"{name}={value}")
        return words


NO_HYDRA_OPTIONS = HydraOptions()


def call_hydra(arguments: list[str], job: Callable[[DictConfig], object], program: str | None = None) -> None:
    """Lets Hydra parse these arguments and call `job` for each configuration that they describe.

    Hydra keeps what the job returns for its sweeper and gives nothing back. It ends the process where its own parser
    finds a mistake.

    Args:
        arguments: Hydra's options first, then overrides.
        job: what is done with a composed configuration; a sweeper gets what it returns.
        program: what Hydra calls the program in its messages; by default what it was started as.
    """

    def task(config: DictConfig) -> object:  # Hydra asks a function where it stands
        return job(config)

    register_schema()
    with _command_line([program or sys.argv[0], *arguments]):
        hydra.main(config_path=str(CONF_DIR), config_name="config", version_base="1.3")(task)()


@contextmanager
def _command_line(words: list[str]) -> Iterator[None]:
    before = sys.argv
    sys.argv = words
    try:
        yield
    finally:
        sys.argv = before


def program_name(command: str) -> str:
    """What a user has typed to get here: `r1 run`, or `python -m pipeline run`."""
    program = Path(sys.argv[0])
    return f"python -m pipeline {command}" if program.name == "__main__.py" else f"{program.name} {command}"
