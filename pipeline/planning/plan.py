"""The plan: for every stage its fingerprint, its action (skip, resume, run) and the reason. Reads the disk, changes
nothing.

The fingerprints follow from the configuration alone, so the whole plan is known before anything runs.
"""

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.configuration.graph import Graph, Node, build, upstream
from pipeline.configuration.notes import notes
from pipeline.configuration.schema import RunConfig
from pipeline.errors import MissingInput, PipelineError
from pipeline.planning import estimate, models, preflight
from pipeline.planning.fingerprint import data_files, differences, stage_fingerprint
from pipeline.planning.judges import check_judges
from stages.config import VERSIONS, fields_of, is_operational, output_fields, to_dict
from stages.contract.description import StageDescription
from stages.contract.error_report import ErrorReport
from stages.contract.inputs import StageInput, find_inputs
from stages.contract.manifest import verify

SKIP, RESUME, RUN = "skip", "resume", "run"


@dataclass(frozen=True)
class Step:
    """One stage of the plan. `inputs` is what goes to inputs.json; `errors` are (message, fix) pairs."""

    stage: str
    kind: str
    action: str
    reason: str
    fingerprint: str
    dir: Path
    config: Any
    inputs: dict[str, StageInput]
    data_files: dict[str, str] = field(default_factory=dict)
    num_processes: int = 1
    memory_gib: float = 0.0
    seconds: float = 0.0
    is_selected: bool = True
    errors: list[tuple[str, str]] = field(default_factory=list)

    @property
    def is_done(self) -> bool:
        return self.action == SKIP


@dataclass(frozen=True)
class Plan:
    config: RunConfig
    graph: Graph
    steps: list[Step]  # selected stages, in order of execution
    upstream: list[Step]  # stages that are not selected but are inputs of selected ones
    left_out: dict[str, str]  # selected stages that the graph does not have -> why
    notes: list[str]
    errors: list[tuple[str, str]]

    @property
    def is_done(self) -> bool:
        return not self.errors and all(step.is_done for step in self.steps)

    def raise_errors(self) -> None:
        if self.errors:
            raise MissingInput(
                "\n".join(message for message, _ in self.errors),
                "\n".join(dict.fromkeys(fix for _, fix in self.errors if fix)),
            )


def make_plan(config: RunConfig) -> Plan:
    """Plans the selected stages of a configuration; nothing is written."""
    graph = build(config)
    selected = config.selection
    errors: list[tuple[str, str]] = []
    outside = _outside_models(graph, config, selected, errors)
    known: dict[str, Step] = {}
    for name, node in graph.nodes.items():
        known[name] = _step(node, config, known, outside, selected)
    needed = upstream(graph, [name for name in selected if name in graph.nodes and not graph.nodes[name].optional])
    steps = [known[name] for name in selected if name in graph.nodes]
    for step in steps:
        errors += _missing_inputs(step, graph, known, selected, config) + step.errors
    errors += (
        preflight.check_data(config, steps)
        + preflight.check_suites(steps)
        + preflight.check_disk(config, steps)
        + preflight.check_tracker(config)
    )
    errors += check_judges(config, steps) + preflight.check_sandbox(config, steps)
    others = [known[name] for name in needed if name not in selected]
    for step in others:
        errors += [error for error in step.errors if error not in errors]
    left_out = {name: graph.left_out[name] for name in selected if name in graph.left_out}
    return Plan(
        config,
        graph,
        steps,
        others,
        left_out,
        notes(config) + template_notes(steps, known),
        list(dict.fromkeys(errors)),
    )


def _outside_models(
    graph: Graph, config: RunConfig, selected: list[str], errors: list[tuple[str, str]]
) -> dict[str, StageInput]:
    """inputs.json entries of the models that come from outside; a directory that cannot be used is an error."""
    used = {stage for name in selected if name in graph.nodes for stage in graph.nodes[name].inputs.values()}
    entries = {}
    for stage, path in graph.outside.items():
        try:
            entries[stage] = models.outside_input(path, config.model_of(stage).revision)
        except PipelineError as error:
            if stage in used:
                errors.append((str(error), error.fix))
            entries[stage] = StageInput(path=path, model_dir=path, fingerprint="unknown")
    return entries


def _step(
    node: Node, config: RunConfig, known: dict[str, Step], outside: dict[str, StageInput], selected: list[str]
) -> Step:
    stage_config, is_selected = config.stage(node.name), node.name in selected
    inputs: dict[str, StageInput] = {}
    errors: list[tuple[str, str]] = []
    directories = getattr(stage_config, "directories", [])
    if directories:
        inputs, errors = models.outside_inputs(directories) if is_selected else ({}, [])
    for role, source in node.inputs.items() if not directories else ():
        entry = outside.get(source) or _entry(known[source])
        if node.optional and source in known and not (source in selected or known[source].is_done):
            continue  # evaluate and report take what is there or will be
        inputs[role] = entry
    templates = (
        {role: template for role, entry in inputs.items() if (template := _template(entry, known))}
        if node.kind == "evaluate"
        else {}
    )
    inputs = {role: dataclasses.replace(source, template=templates.get(role)) for role, source in inputs.items()}
    files = data_files(stage_config) if stage_config is not None else {}
    fingerprints = {role: source.fingerprint for role, source in inputs.items()} | {
        f"template of {role}": name for role, name in templates.items()
    }
    fingerprint = stage_fingerprint(
        node.kind, stage_config if stage_config is not None else {}, fingerprints, files, config.seed
    )
    directory = config.run_dir / node.name / fingerprint[:8]
    action, reason, found = _action(node, directory, config, stage_config, inputs, fingerprint, known, is_selected)
    return Step(
        node.name,
        node.kind,
        action,
        reason,
        fingerprint,
        directory,
        stage_config,
        inputs,
        files,
        1 if node.kind == "report" else config.launcher.num_processes * config.launcher.num_nodes,
        estimate.memory_gib(node, stage_config, config),
        0.0 if action == SKIP else estimate.seconds(node, stage_config, config),
        is_selected,
        errors + found,
    )


def _entry(step: Step) -> StageInput:
    makes_model = step.kind in ("pretrain", "sft", "grpo", "reward_models")
    return StageInput(
        stage=step.stage,
        fingerprint=step.fingerprint,
        path=str(step.dir),
        model_dir=str(step.dir / "model") if makes_model else None,
    )


def _template(source: StageInput, known: dict[str, Step]) -> str | None:
    """The template that a model was trained with, where a stage of ours made it: what it is evaluated with."""
    step = known.get(source.stage) if source.stage else None
    if step is not None:
        return models.trained_template(step.kind, to_dict(step.config))
    return models.template_of_directory(Path(source.model_dir)) if source.model_dir else None


def template_notes(steps: list[Step], known: dict[str, Step]) -> list[str]:
    """Stages that put another template before a fine-tuned model than it was trained with: possible, and rarely meant."""
    lines = []
    for step in steps:
        mine = getattr(getattr(step.config, "data", None), "template", None)
        for entry in step.inputs.values() if mine and step.kind != "evaluate" else ():
            source = known.get(entry.stage) if entry.stage else None
            theirs = _template(entry, known) if source is not None and source.kind != "pretrain" else None
            if theirs not in (None, mine):
                lines.append(
                    f"{step.stage} puts its prompts into the template {mine}, but {source.stage} was trained with "
                    f"{theirs}: "
                    f"stages.{step.stage}.data.template={theirs} goes on with that"
                )
    return lines


def _action(
    node: Node,
    directory: Path,
    config: RunConfig,
    stage_config: Any,
    inputs: dict[str, StageInput],
    fingerprint: str,
    known: dict[str, Step],
    is_selected: bool,
) -> tuple[str, str, list[tuple[str, str]]]:
    verdict = verify(directory)
    if verdict.is_there:
        if verdict.problems and not (config.force and is_selected):
            fix = f"redo the stage (the damaged directory is kept aside): {command(config, node.name)} force=true"
            return RUN, "damaged", [(f"{node.name}: {problem}", fix) for problem in verdict.problems]
        if not (config.force and is_selected):
            return SKIP, "done, files verified", []
    if config.force and is_selected and directory.exists():
        return RUN, "force=true", []
    if (directory / "config.json").exists():
        return RESUME, _resume_reason(directory), []
    return RUN, _run_reason(node, config, stage_config, inputs, known), []


def _resume_reason(directory: Path) -> str:
    checkpoints = sorted(
        path.name for path in (directory / "state").glob("step_*") if (path / "manifest.json").exists()
    )
    error = ErrorReport.find(directory)
    why = f"failed ({error.kind})" if error is not None else "interrupted"
    return (
        f"{why}, continues from step {int(checkpoints[-1].split('_')[1])}"
        if checkpoints
        else f"{why} before its first checkpoint"
    )


def _run_reason(
    node: Node, config: RunConfig, stage_config: Any, inputs: dict[str, StageInput], known: dict[str, Step]
) -> str:
    """Why this directory is not there yet: what changed since the stage's latest one."""
    latest = config.run_dir / node.name / "latest"
    before = StageDescription.find(latest)
    if before is None:
        return "not made yet"
    changes = []
    if stage_config is not None:
        changes += [
            line
            for line in differences(_output_part(before.config, stage_config), output_fields(stage_config))
            if line.split()[0] not in {f"{key}.path" for key in data_files(stage_config)}
        ]
    if before.data_files != (data_files(stage_config) if stage_config is not None else {}):
        changes.append("content of the data file")
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
    return "; ".join(changes) if changes else "its directory is gone"


def _output_part(old: Any, config: Any) -> Any:
    """The output fields of a stored plain config, by the dataclass of today. A key that is not there today is kept: it
    was removed.
    """
    if isinstance(old, dict) and dataclasses.is_dataclass(config):
        operational = {name for name, field in fields_of(type(config)).items() if is_operational(field)}
        return {
            name: _output_part(value, getattr(config, name, None))
            for name, value in old.items()
            if name not in operational
        }
    if isinstance(old, dict) and isinstance(config, dict):
        return {key: _output_part(value, config.get(key)) for key, value in old.items()}
    return old


def _missing_inputs(
    step: Step, graph: Graph, known: dict[str, Step], selected: list[str], config: RunConfig
) -> list[tuple[str, str]]:
    """Inputs of a stage that is going to run which are neither done nor selected."""
    if step.is_done:
        return []
    if graph.nodes[step.stage].optional:
        if step.inputs or step.stage == "report":
            return []
        return [
            (f"{step.stage} has nothing to work on: the run {config.run} has no finished model", command(config, "all"))
        ]
    missing = [
        source
        for source in graph.nodes[step.stage].inputs.values()
        if source in known and source not in selected and not known[source].is_done
    ]
    errors = []
    for source in missing:
        chain = [name for name in upstream(graph, [source]) if not known[name].is_done]
        names = chain[0] if len(chain) == 1 else f"[{','.join(chain)}]"
        errors.append(
            (
                f"{step.stage} needs {source}, which the run {config.run} has not finished with this configuration "
                f"({known[source].reason})",
                f"make it: {command(config, names)}",
            )
        )
    return errors


def command(config: RunConfig, stage: str) -> str:
    """The command line that runs these stages of this configuration."""
    words = [f"run={config.run}"] if config.run != config.recipe else []
    words += [f"recipe={config.recipe}"] if config.recipe != "tiny" else []
    selection = f"'+stage={stage}'" if stage.startswith("[") else f"+stage={stage}"
    return " ".join(["python -m pipeline run", selection, *words, *_COMMAND_LINE])


_COMMAND_LINE: list[str] = []


def remember_overrides(overrides: list[str]) -> None:
    """Keeps this command's own overrides, so that the commands it prints carry them."""
    import shlex

    _COMMAND_LINE[:] = [
        shlex.quote(text)
        for text in overrides
        if not text.lstrip("+").startswith(("stage=", "selected.", "force=", "run=", "recipe=", "hydra"))
    ]
