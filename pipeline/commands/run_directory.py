"""Which run a command is about that reads the disk and composes no configuration."""

import sys
from collections.abc import Sequence
from pathlib import Path

from pipeline.configuration.graph import is_stage
from pipeline.configuration.schema import RunConfig
from pipeline.errors import InvalidConfig, MissingInput
from pipeline.planning.command_line import run_words
from stages.config.quoting import override, unquoted

KEYS = ("run", "runs_dir")
CONFIG = "config.yaml"


def runs_place(overrides: Sequence[str], command: str, keys: Sequence[str] = KEYS) -> Path:
    """The directory of runs that `runs_dir=` names.

    Args:
        overrides: the command's words, `key=value`.
        command: the command's name, for messages.
        keys: the keys that it knows.

    Raises:
        InvalidConfig: another key was given.
    """
    known = " and ".join({"run": "run=NAME", "runs_dir": "runs_dir=DIRECTORY"}[key] for key in keys)
    unknown = [key for key in (text.partition("=")[0] for text in overrides) if key not in keys]
    if unknown:
        raise InvalidConfig([f"{key}: {command} reads the disk; it knows {known}" for key in unknown])
    return Path(_value(overrides, "runs_dir") or RunConfig().runs_dir).expanduser().resolve()


def _value(overrides: Sequence[str], key: str) -> str:
    """What the last `key=` among the words gives; "" where there is none."""
    values = [unquoted(text.partition("=")[2]) for text in overrides if text.startswith(f"{key}=")]
    return values[-1] if values else ""


def runs_in(place: Path) -> list[Path]:
    """The directories of all runs below a directory, the one that was worked on last at the end.

    One that has lost its config.yaml is known by its stages.
    """
    found = {path.parent for path in place.glob(f"*/{CONFIG}")}
    found |= {path.parents[1] for path in place.glob("*/*/latest") if is_stage(path.parent.name)}
    return sorted(found, key=_written)


def run_place(overrides: Sequence[str], command: str) -> Path:
    """The directory of the run that `run=` and `runs_dir=` name, whether it is there yet or not."""
    return runs_place(overrides, command) / (_value(overrides, "run") or RunConfig().run)


def find_run(overrides: Sequence[str], command: str, is_said: bool = True) -> Path:
    """The directory of the run that `run=` and `runs_dir=` name; by default the one that was worked on last.

    Args:
        overrides: the command's words, `key=value`.
        command: the command's name, for messages.
        is_said: whether a run that nobody has named is told on standard error, away from what programs read.

    Raises:
        InvalidConfig: another key was given.
        MissingInput: there is no such run, or none at all.
    """
    runs = runs_place(overrides, command)
    known = runs_in(runs)
    if any(text.startswith("run=") for text in overrides):
        run_dir = runs / _value(overrides, "run")
        if run_dir not in known:
            there_are = f"; there are {', '.join(path.name for path in known)}" if known else ""
            raise MissingInput(
                f"there is no run {run_dir.name} in {runs}{there_are}",
                f"python -m pipeline run +stage=all {run_words(run_dir)}",
            )
        return run_dir
    if not known:
        elsewhere = f" {override('runs_dir', str(runs))}" if _value(overrides, "runs_dir") else ""
        raise MissingInput(f"there is no run in {runs} yet", f"python -m pipeline run +stage=all{elsewhere}")
    if is_said:
        print(said_run(known[-1], len(known) - 1), file=sys.stderr)
    return known[-1]


def said_run(run_dir: Path, num_others: int) -> str:
    """One line that says which run a command took that nobody has named."""
    why = f", the one worked on last; `r1 runs` lists {num_others} more" if num_others else ""
    return f"run {run_dir.name} in {run_dir.parent}{why}"


def _written(run_dir: Path) -> float:
    path = run_dir / CONFIG
    return (path if path.exists() else run_dir).stat().st_mtime
