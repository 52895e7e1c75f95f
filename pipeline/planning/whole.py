"""Whether the current stages of a run are of one piece, and the commands that mend it where they are not.

They are where each was made from the current directory of every input, with the configuration of the run's last
command. A variant of one stage breaks that: what comes after it was made from another one.
"""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from pipeline.configuration.graph import is_stage, stage_order
from pipeline.configuration.resolve import from_tree
from pipeline.configuration.schema import RunConfig
from pipeline.planning.action import output_part
from pipeline.planning.command_line import PROGRAM, run_words, selection
from pipeline.planning.fingerprint import differences, short_fingerprint
from stages.config import ConfigError, output_fields
from stages.contract.description import StageDescription
from stages.contract.files import find_json
from stages.contract.inputs import find_inputs
from stages.contract.manifest import Manifest

COMMAND_FILE = "command.json"  # {"overrides": words of the command that ran last without a sweep, without its stages}
NOT_REPEATED = ("stage=", "selected.", "force=", "run=", "runs_dir=", "recipe=", "hydra", "-")
MAX_CHANGES = 3  # keys that a line names


@dataclass(frozen=True)
class Flaw:
    """A stage that does not belong to the others: what is wrong, and the commands of which any one mends it."""

    stage: str
    message: str
    mends: tuple[str, ...]


def current_directories(run_dir: Path) -> dict[str, Path]:
    """The current directory of each stage, in order of execution: where its `latest` points."""
    names = [path.name for path in run_dir.iterdir() if is_stage(path.name) and (path / "latest").is_dir()]
    return {name: (run_dir / name / "latest").resolve() for name in sorted(names, key=stage_order)}


def ancestors_of(stage: str, directories: Mapping[str, Path]) -> set[str]:
    """The stage, and all that it was made from, by name."""
    found: set[str] = set()
    waiting = [stage]
    while waiting:
        name = waiting.pop()
        if name not in found and name in directories:
            found.add(name)
            waiting += [source.stage for source in (find_inputs(directories[name]) or {}).values() if source.stage]
    return found


def flaws(run_dir: Path, directories: Mapping[str, Path] | None = None) -> list[Flaw]:
    """Every stage that is not of one piece with the others.

    Args:
        run_dir: the run's directory.
        directories: the directory of each stage that is looked at; None for the current ones.
    """
    directories = current_directories(run_dir) if directories is None else directories
    tree, config = configuration_tree(run_dir), configuration_of(run_dir)
    found = []
    for stage, directory in directories.items():
        reasons = _other_inputs(stage, directory, directories)
        if config is not None and not reasons and (changes := other_keys(stage, directory, config)):
            reasons = [f"{stage} was made with another configuration than the last command's: {changes}"]
        if reasons:
            found.append(Flaw(stage, "; ".join(reasons), _mends(run_dir, tree, directory)))
    return found


def configuration_of(run_dir: Path) -> RunConfig | None:
    """The configuration of a run's last command; None where it is not there or was written by another version."""
    tree = configuration_tree(run_dir)
    try:
        return from_tree(tree) if tree else None
    except (ConfigError, KeyError, TypeError):
        return None


def configuration_tree(run_dir: Path) -> dict[str, Any]:
    """What stands in a run's config.yaml; nothing where the file is missing or damaged."""
    try:
        tree = yaml.safe_load((run_dir / "config.yaml").read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    return tree if isinstance(tree, dict) else {}


def _other_inputs(stage: str, directory: Path, directories: Mapping[str, Path]) -> list[str]:
    """Why the inputs of a stage are not the current ones; one line, which names all of them."""
    others = []
    for source in (find_inputs(directory) or {}).values():
        current = directories.get(source.stage or "")
        if current is None or not source.fingerprint or current.name == short_fingerprint(source.fingerprint):
            continue
        before = current.parent / short_fingerprint(source.fingerprint)
        changes = changed_keys(before, current)
        others.append(
            f"{source.stage}@{before.name}, not from the one shown, {source.stage}@{current.name}"
            + (f" ({changes})" if changes else "")
        )
    return [f"{stage} was made from {'; from '.join(others)}"] if others else []


def other_keys(stage: str, directory: Path, config: RunConfig) -> str:
    """The keys in which a finished stage differs from the run's configuration; "" where it does not."""
    description = StageDescription.find(directory)
    if description is None or stage == "report" or Manifest.find(directory) is None:
        return ""
    try:
        wanted = config.stage(stage)
    except (ConfigError, StopIteration):  # a student that the configuration does not have
        return ""
    changes = differences(output_part(description.config, wanted), output_fields(wanted))
    paths = {f"{key}.path" for key in description.data_files}  # a data file counts by its content
    changes = [line for line in changes if line.split()[0] not in paths]
    if description.seed != config.seed:
        changes.append(f"seed {description.seed} -> {config.seed}")
    return _few(changes)


def changed_keys(before: Path, after: Path) -> str:
    """The keys in which two directories of a stage differ, old and new value each; "" where none is known."""
    old, new = StageDescription.find(before), StageDescription.find(after)
    if old is None or new is None:
        return ""
    changes = differences(old.config, new.config)
    if old.seed != new.seed:
        changes.append(f"seed {old.seed} -> {new.seed}")
    sources, others = find_inputs(after) or {}, find_inputs(before) or {}
    for role in dict.fromkeys((*others, *sources)):
        if role not in others or role not in sources:
            changes.append(f"{role} {'added' if role in sources else 'removed'}")
        elif others[role].fingerprint != sources[role].fingerprint:
            changes.append(f"another {sources[role].stage or role}")
    return _few(changes)


def _few(changes: list[str]) -> str:
    more = f"; and {len(changes) - MAX_CHANGES} more keys" if len(changes) > MAX_CHANGES else ""
    return "; ".join(changes[:MAX_CHANGES]) + more


def _mends(run_dir: Path, tree: dict[str, Any], directory: Path) -> tuple[str, ...]:
    """The last command for all stages, which makes the others anew; and the one that shows what this was made from."""
    last, own, recipe = last_overrides(run_dir), overrides_of(directory), tree.get("recipe")
    commands = [] if last is None else [command_of_run(run_dir, recipe, last)]
    if own is not None:
        commands.append(command_of_run(run_dir, None, own))
    return tuple(dict.fromkeys(commands)) or (command_of_run(run_dir, recipe, []),)


def _recipe_in(overrides: Sequence[str]) -> str:
    return next((word.partition("=")[2] for word in overrides if word.startswith("recipe=")), "tiny")


def command_of_run(run_dir: Path, recipe: str | None, overrides: Sequence[str], stages: str = "all") -> str:
    """The command line that runs stages of a run with these overrides, wherever the run lies now.

    Args:
        run_dir: the run's directory.
        recipe: its recipe; None: the one that the overrides name.
        overrides: words of a configuration; what names stages or the run is left out.
        stages: a name, "all", or "[a,b]".
    """
    recipe = _recipe_in(overrides) if recipe is None else recipe
    words = [f"recipe={recipe}"] if recipe != "tiny" else []
    kept = [shlex.quote(word) for word in overrides if not word.lstrip("+").startswith(NOT_REPEATED)]
    return " ".join([f"{PROGRAM} run", selection(stages), run_words(run_dir), *words, *kept])


def command_again(run_dir: Path, stages: str) -> str:
    """The command line that runs stages of a run as it was last run."""
    recipe = configuration_tree(run_dir).get("recipe")
    return command_of_run(run_dir, recipe, last_overrides(run_dir) or [], stages)


def last_overrides(run_dir: Path) -> list[str] | None:
    """The overrides of the command that ran last without a sweep; None where that is not known.

    A run that was made before commands were noted has them in its last stage.
    """
    noted = find_json(run_dir / COMMAND_FILE)
    words = noted.get("overrides") if isinstance(noted, dict) else None
    if isinstance(words, list):
        return [str(word) for word in words]
    for directory in reversed(current_directories(run_dir).values()):
        if (found := overrides_of(directory)) is not None:
            return [word for word in found if not word.lstrip("+").startswith(("stage=", "selected.", "force="))]
    return None


def overrides_of(directory: Path) -> list[str] | None:
    """The overrides that a stage directory was made with; None where that is not known."""
    description = StageDescription.find(directory)
    if description is None or not description.command:
        return None
    words = shlex.split(description.command)
    return words[words.index("run") + 1 :] if "run" in words else None
