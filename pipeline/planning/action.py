"""What to do about one stage, and why: skip it where it is done, resume it where it was begun, else run it."""

import dataclasses
from pathlib import Path
from typing import Any

from pipeline.configuration.graph import Node
from pipeline.configuration.schema import RunConfig
from pipeline.errors import MessageAndFix
from pipeline.planning.command_line import own_command
from pipeline.planning.fingerprint import content_changes, data_files, differences, general_prompts
from stages.config import VERSIONS, counts, fields_of, output_fields
from stages.contract.description import StageDescription
from stages.contract.error_report import ErrorReport
from stages.contract.inputs import StageInput, find_inputs
from stages.contract.manifest import verify

SKIP, REUSE, RESUME, RUN = "skip", "reuse", "resume", "run"


def choose_action(
    node: Node,
    directory: Path,
    config: RunConfig,
    stage_config: Any,
    inputs: dict[str, StageInput],
    is_selected: bool,
) -> tuple[str, str, list[MessageAndFix]]:
    """(action, reason, errors) for a stage directory, as it lies on the disk.

    Args:
        node: The stage in the graph.
        directory: runs/<run>/<stage>/<short fingerprint>; it may not be there.
        config: The configuration of the run.
        stage_config: That of the stage; None for the report.
        inputs: What the stage is made from, by role.
        is_selected: Whether the user asked for the stage: only then does force=true redo it.
    """
    is_forced = config.force and is_selected
    verdict = verify(directory)
    if verdict.is_there and not is_forced:
        if not verdict.problems:
            return SKIP, "done, files verified", []
        fix = f"redo the stage (the damaged directory is kept aside): {own_command(config, node.name)} force=true"
        return RUN, "damaged", [(f"{node.name}: {problem}", fix) for problem in verdict.problems]
    if is_forced and directory.exists():
        return RUN, "force=true", []
    if (directory / StageDescription.FILE_NAME).exists():
        return RESUME, _resume_reason(directory), []
    return RUN, _run_reason(node, config, stage_config, inputs), []


def _resume_reason(directory: Path) -> str:
    """How the last attempt ended, and where the next one begins."""
    checkpoints = checkpoint_steps(directory)
    error = ErrorReport.find(directory)
    why = f"failed ({error.kind})" if error is not None else "interrupted"
    if not checkpoints:
        return f"{why} before its first checkpoint"
    return f"{why}, continues from step {checkpoints[-1]}"


def checkpoint_steps(directory: Path) -> list[int]:
    """The steps of the checkpoints in a stage directory that are whole, in order."""
    whole = [path for path in (directory / "state").glob("step_*") if (path / "manifest.json").exists()]
    return sorted(int(path.name.split("_")[1]) for path in whole)


def _run_reason(node: Node, config: RunConfig, stage_config: Any, inputs: dict[str, StageInput]) -> str:
    """Why the directory is not there yet: what has changed since the stage's latest one."""
    latest = config.run_dir / node.name / "latest"
    before = StageDescription.find(latest)
    if before is None:
        return "not made yet"
    changes = []
    files = data_files(stage_config) if stage_config is not None else {}
    if stage_config is not None:
        changed = differences(output_part(before.config, stage_config), output_fields(stage_config))
        paths = {f"{key}.path" for key in files}  # a data file counts by its content
        changes += [line for line in changed if line.split()[0] not in paths]
    changes += content_changes(before.data_files, files)
    if before.seed != config.seed:
        changes.append(f"seed {before.seed} -> {config.seed}")
    if before.version != VERSIONS[node.kind]:
        changes.append(f"code version {before.version} -> {VERSIONS[node.kind]}")
    old_inputs = find_inputs(latest) or {}
    for role, source in inputs.items():
        if role not in old_inputs:
            changes.append(f"{role} added")
        elif old_inputs[role].fingerprint != source.fingerprint:
            changes.append(f"{source.stage or 'the model from outside'} changed")
    changes += [f"{role} removed" for role in old_inputs if role not in inputs]
    if not changes and latest.is_dir():
        changes = [f"{name} changed" for name in general_prompts(stage_config)]
    return "; ".join(changes) if changes else "its directory is gone"


def output_part(old: Any, config: Any) -> Any:
    """The fields of a stored configuration that decide the output, by the dataclass of today.

    A key that the dataclass does not have any more is kept: it was removed, and that is a change.
    """
    if isinstance(old, dict) and dataclasses.is_dataclass(config):
        fields = fields_of(type(config))
        return {
            name: output_part(value, getattr(config, name, None))
            for name, value in old.items()
            if name not in fields or counts(fields[name], value)
        }
    if isinstance(old, dict) and isinstance(config, dict):
        return {key: output_part(value, config.get(key)) for key, value in old.items()}
    return old
