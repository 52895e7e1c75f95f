"""The command lines that plans, errors and reports tell people to type."""

import shlex
from pathlib import Path

from pipeline.configuration.schema import RunConfig
from stages.config.quoting import override

# words of a command line that `command` writes itself, or that are for one time only
_NOT_KEPT = ("stage=", "selected.", "force=", "run=", "recipe=", "hydra")
_OVERRIDES: list[str] = []


def command(config: RunConfig, stages: str) -> str:
    """The command line that runs these stages of this configuration: a name, "all", or "[a,b]"."""
    words = [override("run", config.run)] if config.run != config.recipe else []
    words += [f"recipe={config.recipe}"] if config.recipe != "tiny" else []
    selection = f"'+stage={stages}'" if stages.startswith("[") else f"+stage={stages}"
    return " ".join(["python -m pipeline run", selection, *words, *_OVERRIDES])


def run_words(run_dir: Path) -> str:
    """The words that name a run on a command line: `run=NAME`, and `runs_dir=DIRECTORY` where that is not the default.

    Args:
        run_dir: the run's directory, absolute.
    """
    words = [override("run", run_dir.name)]
    if run_dir.parent != Path(RunConfig().runs_dir).resolve():
        words.append(override("runs_dir", str(run_dir.parent)))
    return " ".join(words)


def remember_overrides(overrides: list[str]) -> None:
    """Keeps the overrides that this process was called with, so that the commands it prints carry them."""
    _OVERRIDES[:] = [shlex.quote(text) for text in overrides if not text.lstrip("+").startswith(_NOT_KEPT)]
