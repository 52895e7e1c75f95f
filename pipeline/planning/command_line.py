"""The command lines that plans, errors and reports tell people to type."""

import shlex

from pipeline.configuration.schema import RunConfig

# words of a command line that `command` writes itself, or that are for one time only
_NOT_KEPT = ("stage=", "selected.", "force=", "run=", "recipe=", "hydra")
_OVERRIDES: list[str] = []


def command(config: RunConfig, stages: str) -> str:
    """The command line that runs these stages of this configuration: a name, "all", or "[a,b]"."""
    words = [f"run={config.run}"] if config.run != config.recipe else []
    words += [f"recipe={config.recipe}"] if config.recipe != "tiny" else []
    selection = f"'+stage={stages}'" if stages.startswith("[") else f"+stage={stages}"
    return " ".join(["python -m pipeline run", selection, *words, *_OVERRIDES])


def remember_overrides(overrides: list[str]) -> None:
    """Keeps the overrides that this process was called with, so that the commands it prints carry them."""
    _OVERRIDES[:] = [shlex.quote(text) for text in overrides if not text.lstrip("+").startswith(_NOT_KEPT)]
