"""The command lines that plans, errors and reports tell people to type."""

import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.configuration.schema import RunConfig
from stages.config.quoting import override

PROGRAM = "python -m pipeline"
# words of a command line that `own_command` writes itself, or that are for one time only
_NOT_KEPT = ("stage=", "selected.", "force=", "run=", "recipe=", "hydra")
_SELECTION = ("stage=", "selected.", "force=")  # what a printed command says anew


@dataclass
class _CommandLine:
    """What this process was started with, as far as the commands that it prints depend on it."""

    overrides: list[str] = field(default_factory=list)  # of the configuration at work; in a sweep, of the job
    typed: list[str] | None = None  # the words behind the program, the command first


_NOW = _CommandLine()


def own_command(config: RunConfig, stages: str) -> str:
    """The command line that runs these stages of this one configuration, which may be a job of a sweep.

    Args:
        config: the configuration.
        stages: a name, "all", or "[a,b]".
    """
    kept = [text for text in _NOW.overrides if not text.lstrip("+").startswith(_NOT_KEPT)]
    return written_command(config, stages, kept)


def written_command(config: RunConfig, stages: str, overrides: Sequence[str]) -> str:
    """The command line that runs these stages of a run with these further overrides."""
    words = [override("run", config.run)] if config.run != config.recipe else []
    words += [f"recipe={config.recipe}"] if config.recipe != "tiny" else []
    return " ".join([f"{PROGRAM} run", selection(stages), *words, *map(shlex.quote, overrides)])


def selection(stages: str) -> str:
    """The word that selects stages, as it is typed into a shell."""
    return shlex.quote(f"+stage={stages}")


def command(config: RunConfig, stages: str) -> str:
    """The command line as it was typed, but for the stages: with `-m`, and all overrides.

    Where nobody typed `run` or `plan`, it is that of the configuration.
    """
    if not _NOW.typed or _NOW.typed[0] not in ("run", "plan"):
        return own_command(config, stages)
    words = [word for word in _NOW.typed[1:] if not word.lstrip("+").startswith(_SELECTION)]
    options = [word for word in words if word.startswith("-")]
    return " ".join(
        [
            f"{_program()} run",
            *options,
            selection(stages),
            *(shlex.quote(word) for word in words if word not in options),
        ]
    )


def resume_command(config: RunConfig, stages: str) -> str:
    """The command line that goes on with what was begun: the one that was typed, with all its stages.

    `force=true` is left out: it would begin again.
    """
    if not _NOW.typed:
        return own_command(config, stages)
    return f"{_program()} {shlex.join(word for word in _NOW.typed if not word.lstrip('+').startswith('force='))}"


def run_words(run_dir: Path) -> str:
    """The words that name a run on a command line: `run=NAME`, and `runs_dir=DIRECTORY` where that is not the default.

    Args:
        run_dir: the run's directory, absolute.
    """
    words = [override("run", run_dir.name)]
    if run_dir.parent != Path(RunConfig().runs_dir).resolve():
        words.append(override("runs_dir", str(run_dir.parent)))
    return " ".join(words)


def use_command(run_dir: Path, stage: str, short: str) -> str:
    """The command line that makes a directory of a stage, by its short fingerprint, the current one."""
    return f"{PROGRAM} use {stage} {short} {run_words(run_dir)}"


def remember_overrides(overrides: Sequence[str]) -> None:
    """Keeps the overrides of the configuration at work, so that the commands that this process prints carry them."""
    _NOW.overrides = list(overrides)


def remembered_overrides() -> list[str]:
    """The overrides of the configuration at work, without the stages and what is for one time only."""
    return [text for text in _NOW.overrides if not text.lstrip("+").startswith((*_SELECTION, "hydra"))]


def remember_typed(name: str, words: Sequence[str]) -> None:
    """Keeps what was typed: the name of the command and the words behind it, options too; no name forgets it."""
    _NOW.typed = [name, *words] if name else None


def _program() -> str:
    """What a user has typed to get here: `r1`, or `python -m pipeline`."""
    name = Path(sys.argv[0].split(" ")[0]).name  # Hydra is told the command too
    return "r1" if name == "r1" else PROGRAM
