"""Which run a command is about that reads the disk and composes no configuration."""

from collections.abc import Sequence
from pathlib import Path

from pipeline.configuration.schema import RunConfig
from pipeline.errors import InvalidConfig, MissingInput
from pipeline.planning.command_line import run_words
from stages.config.quoting import override, unquoted

KEYS = ("run", "runs_dir")


def find_run(overrides: Sequence[str], command: str) -> Path:
    """The directory of the run that `run=` and `runs_dir=` name; by default the one that was worked on last.

    Args:
        overrides: the command's words, `key=value`.
        command: the command's name, for messages.

    Raises:
        InvalidConfig: another key was given.
        MissingInput: there is no such run, or none at all.
    """
    given = {key: unquoted(value) for key, _, value in (text.partition("=") for text in overrides)}
    unknown = [key for key in given if key not in KEYS]
    if unknown:
        raise InvalidConfig(
            [f"{key}: {command} reads the disk; it knows run=NAME and runs_dir=DIRECTORY" for key in unknown]
        )
    runs = Path(given.get("runs_dir") or RunConfig().runs_dir).expanduser().resolve()
    known = sorted((path.parent for path in runs.glob("*/config.yaml")), key=_written)
    if "run" in given:
        if runs / given["run"] not in known:
            there_are = f"; there are {', '.join(path.name for path in known)}" if known else ""
            raise MissingInput(
                f"there is no run {given['run']} in {runs}{there_are}",
                f"python -m pipeline run +stage=all {run_words(runs / given['run'])}",
            )
        return runs / given["run"]
    if not known:
        elsewhere = f" {override('runs_dir', str(runs))}" if given.get("runs_dir") else ""
        raise MissingInput(f"there is no run in {runs} yet", f"python -m pipeline run +stage=all{elsewhere}")
    return known[-1]


def _written(run_dir: Path) -> float:
    return (run_dir / "config.yaml").stat().st_mtime
