"""The command `use`: makes a variant of a stage the current one."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import yaml
from cyclopts import Parameter

from pipeline.commands.chosen_models import no_such_stage
from pipeline.commands.declaration import ARGUMENTS, Overrides, declare, exit_codes
from pipeline.commands.run_directory import find_run
from pipeline.commands.stage_state import SHORT_FINGERPRINT
from pipeline.commands.wholeness import print_flaws
from pipeline.configuration import compose, spelling
from pipeline.configuration.graph import is_stage
from pipeline.configuration.schema import RunConfig
from pipeline.errors import InvalidConfig, MissingInput
from pipeline.execution.lock import RunLock
from pipeline.planning.whole import COMMAND_FILE, NOT_REPEATED, configuration_tree, other_keys, overrides_of
from pipeline.view.console import standard_console
from stages.config import to_dict
from stages.config.quoting import hydra_quoted
from stages.contract.description import StageDescription
from stages.contract.files import link, write_atomic, write_json
from stages.contract.inputs import find_inputs

OF_THE_COMMAND = ("selected.", "force=", "run=", "runs_dir=", "hydra", "-")  # words that no configuration keeps

app = declare(
    "use",
    "STAGE FINGERPRINT [run=NAME] [runs_dir=DIRECTORY]",
    {
        "r1 use r1_zero 3c4d5e6f": "shows that variant of the run that was worked on last; `r1 status` lists them",
        "r1 use reasoning_rl 9f run=second": "the first digits are enough",
    },
    exit_codes(0, 2, 3, 5),
)


@app.default
def use(
    stage: Annotated[str, Parameter(name="STAGE", group=ARGUMENTS)],
    fingerprint: Annotated[str, Parameter(name="FINGERPRINT", group=ARGUMENTS)],
    *overrides: Overrides,
) -> int:
    """Make a variant of a stage the current one, with all that it was made from.

    Status, report, chat and publish show what is current. What comes after the stage stays as it is; where it was made
    from another variant, the command says so and prints what makes it anew.

    Args:
        stage: The stage.
        fingerprint: The first digits of the variant's fingerprint.
        overrides: `run=NAME` and `runs_dir=DIRECTORY`; by default the run that was worked on last.
    """
    if not is_stage(stage):
        raise InvalidConfig([no_such_stage(stage)])
    run_dir, console = find_run(overrides, "use"), standard_console()
    with RunLock(run_dir):
        chosen = _variant(run_dir, stage, fingerprint)
        if (run_dir / stage / "latest").resolve() == chosen:
            console.print(f"{stage} is {chosen.name} already", highlight=False)
        for name, directory in chain_of(run_dir, chosen).items():
            before = (run_dir / name / "latest").resolve()
            if before != directory:
                link(run_dir / name / "latest", directory.name)
                console.print(f"{name} is now {directory.name}, it was {before.name}", highlight=False)
        note_configuration(run_dir, stage)
    print_flaws(run_dir, console)
    return 0


def _variant(run_dir: Path, stage: str, digits: str) -> Path:
    """The directory of a stage whose fingerprint begins so."""
    there = sorted(path for path in (run_dir / stage).glob("*") if SHORT_FINGERPRINT.fullmatch(path.name))
    found = [path for path in there if path.name.startswith(digits[:8].lower())]
    if len(found) == 1:
        return found[0].resolve()
    what = f"{len(found)} variants of {stage} begin with {digits}" if found else f"{stage} has no variant {digits}"
    names = ", ".join(path.name for path in found or there) or "none"
    raise MissingInput(f"{what} in the run {run_dir.name}; there are: {names}", "r1 status lists them")


def chain_of(run_dir: Path, directory: Path) -> dict[str, Path]:
    """The directory and those that it was made from, as far as they are in the run, by stage."""
    found = {directory.parent.name: directory}
    waiting = [directory]
    while waiting:
        for source in (find_inputs(waiting.pop()) or {}).values():
            path = run_dir / (source.stage or "") / source.fingerprint[:8]
            if source.stage and source.stage not in found and path.is_dir():
                found[source.stage] = path.resolve()
                waiting.append(path)
    return found


def note_configuration(run_dir: Path, stage: str) -> None:
    """Makes the run's configuration and command those that the current directory of a stage, and its inputs, have."""
    directory, before = (run_dir / stage / "latest").resolve(), configuration_tree(run_dir)
    overrides = overrides_of(directory)
    config = _composed(run_dir, stage, overrides) if overrides is not None else None
    if config is not None:
        tree = to_dict(config) | {"selected": before.get("selected") or {}}
    else:  # conf/ has changed since, or it was made without the driver
        tree = _with_stages_as_made(before, chain_of(run_dir, directory))
    write_atomic(run_dir / "config.yaml", yaml.safe_dump(tree, sort_keys=False, allow_unicode=True).encode())
    if overrides is not None:
        kept = [word for word in overrides if not word.lstrip("+").startswith(NOT_REPEATED)]
        recipe = [word for word in overrides if word.startswith("recipe=")]
        write_json(run_dir / COMMAND_FILE, {"overrides": [*recipe, *kept]})


def _composed(run_dir: Path, stage: str, overrides: Sequence[str]) -> RunConfig | None:
    """The configuration of the command that made a stage; None where it does not give that stage and its inputs."""
    words = [word for word in overrides if not word.lstrip("+").startswith(("stage=", *OF_THE_COMMAND))]
    place = [f"run={hydra_quoted(run_dir.name)}", f"runs_dir={hydra_quoted(str(run_dir.parent))}"]
    try:
        config = compose.compose_config(spelling.rewrite([*words, *place]))
    except InvalidConfig:
        return None
    chain = chain_of(run_dir, (run_dir / stage / "latest").resolve())
    return None if any(other_keys(name, made, config) for name, made in chain.items()) else config


def _with_stages_as_made(tree: dict[str, Any], chain: Mapping[str, Path]) -> dict[str, Any]:
    """A configuration with the seed and the stages that these directories were made with."""
    for name, made in chain.items():
        description = StageDescription.find(made)
        if description is None:
            continue
        tree["seed"] = description.seed
        if name in (tree.get("stages") or {}) and description.config:
            tree["stages"][name] = description.config
    return tree
