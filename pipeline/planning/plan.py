"""The plan of a run: for every stage its fingerprint, its action (skip, reuse, resume, run) and the reason.

Reads the disk and changes nothing. The fingerprints follow from the configuration alone, so the whole plan is known
before anything runs.
"""

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.configuration.graph import Graph, Node, build, unread_models, upstream
from pipeline.configuration.notes import file_notes, notes
from pipeline.configuration.schema import RunConfig
from pipeline.errors import MessageAndFix, MissingInput, PipelineError
from pipeline.planning import estimate, models, preflight
from pipeline.planning.action import RESUME, REUSE, RUN, SKIP, choose_action
from pipeline.planning.command_line import command
from pipeline.planning.devices import check_devices, device_notes
from pipeline.planning.elsewhere import find_made
from pipeline.planning.evaluated import find_earlier, is_measured
from pipeline.planning.fingerprint import data_files, general_prompts, short_fingerprint, stage_fingerprint
from pipeline.planning.fitting import check_memory, memory_notes
from pipeline.planning.judges import check_judges
from pipeline.planning.learning_rates import check_rates, rate_notes
from pipeline.planning.lora import check_lora
from pipeline.planning.memory import Needed, needed
from pipeline.planning.model_fit import check_models
from pipeline.planning.rows import check_data
from pipeline.planning.servers import check_servers
from pipeline.planning.unevaluated import nothing_to_evaluate, unevaluated_notes
from stages.config import to_dict
from stages.contract.earlier import Parts
from stages.contract.inputs import StageInput

MAKE_MODELS = ("pretrain", "sft", "grpo", "reward_models")  # kinds of stages


@dataclass(frozen=True)
class Step:
    """One stage of the plan."""

    stage: str
    kind: str
    action: str  # skip, reuse, resume or run
    reason: str
    fingerprint: str
    dir: Path
    config: Any  # the stage's configuration; None for the report
    inputs: dict[str, StageInput]  # what goes to inputs.json
    data_files: dict[str, str] = field(default_factory=dict)  # key of a data source -> hash of its content
    num_processes: int = 1  # on all nodes
    memory: Needed | None = None  # estimated; None: not known yet
    disk_gib: float = 0.0  # estimated, at its peak
    seconds: float | None = 0.0  # estimated; None: not known yet
    is_selected: bool = True
    was_there: bool = False  # whether its directory was there when it was planned
    errors: list[MessageAndFix] = field(default_factory=list)
    earlier: Parts = field(default_factory=dict)  # of an evaluation: what another one has measured
    source: Path | None = None  # of a stage that is reused: the directory of another run that holds it

    @property
    def memory_gib(self) -> float | None:
        """GiB of a machine's memory, of all its ranks; None: not known yet."""
        return None if self.memory is None else round(self.memory.host_gib, 2)

    @property
    def gpu_memory_gib(self) -> float | None:
        """GiB of each GPU; None on a CPU, and where it is not known yet."""
        return round(self.memory.gpu_gib, 2) if self.memory is not None and self.memory.gpu else None

    @property
    def is_done(self) -> bool:
        """Whether there is nothing to do."""
        return self.action == SKIP

    @property
    def is_made(self) -> bool:
        """Whether somebody has made it: it is done, or only to be taken over from another run."""
        return self.action in (SKIP, REUSE)


@dataclass(frozen=True)
class Plan:
    """What a run will do."""

    config: RunConfig
    graph: Graph
    steps: list[Step]  # selected stages, in order of execution
    upstream: list[Step]  # stages that are not selected but are inputs of selected ones
    left_out: dict[str, str]  # selected stages that the graph does not have -> why
    notes: list[str]
    errors: list[MessageAndFix]
    is_aside: bool = False  # a job of a sweep, or an evaluation on the side: `latest` stays where it is

    @property
    def is_done(self) -> bool:
        """Whether every selected stage is done, and nothing is wrong."""
        return not self.errors and all(step.is_done for step in self.steps)

    def raise_errors(self) -> None:
        """Raises MissingInput with all errors of the plan, if it has any."""
        if self.errors:
            raise MissingInput(
                "\n".join(message for message, _ in self.errors),
                "\n".join(dict.fromkeys(fix for _, fix in self.errors if fix)),
            )


def make_plan(config: RunConfig) -> Plan:
    """Plans the selected stages of a configuration. Writes nothing; what is wrong stands in the plan's errors."""
    graph = build(config)
    selected = config.selection
    outside, errors = _outside_models(graph, config, selected)
    known: dict[str, Step] = {}
    for name, node in graph.nodes.items():
        known[name] = _step(node, config, known, outside, selected)
    steps = [known[name] for name in selected if name in graph.nodes]
    for step in steps:
        errors += _missing_inputs(step, graph, known, selected, config) + step.errors
    errors += preflight.check_run_dir(config)
    errors += check_data(config, steps)
    errors += check_devices(config)
    errors += check_models(config, steps)
    errors += check_memory(config, steps)
    errors += preflight.check_suites(steps)
    errors += preflight.check_disk(config, steps)
    errors += preflight.check_trackers(config)
    errors += preflight.check_notify(config)
    errors += check_judges(config, steps)
    errors += check_servers(config, steps)
    errors += check_rates(config, steps)
    errors += check_lora(config, steps)
    errors += preflight.check_sandbox(config, steps)
    needed = upstream(graph, [step.stage for step in steps if not graph.nodes[step.stage].optional])
    others = [known[name] for name in needed if name not in selected]
    for step in others:
        errors += step.errors
    return Plan(
        config=config,
        graph=graph,
        steps=steps,
        upstream=others,
        left_out={name: graph.left_out[name] for name in selected if name in graph.left_out},
        notes=[
            *notes(config),
            *file_notes(config),
            *template_notes(steps, known),
            *rate_notes(config, steps),
            *_unread_notes(graph, steps),
            *unevaluated_notes(steps, graph.nodes, known),
            *device_notes(config),
            *memory_notes(config, steps),
        ],
        errors=list(dict.fromkeys(errors)),
    )


def _outside_models(
    graph: Graph, config: RunConfig, selected: list[str]
) -> tuple[dict[str, StageInput], list[MessageAndFix]]:
    """({stage: its stand-in}, errors) of the models that come from outside of the run.

    A directory that cannot be used is an error only where a selected stage needs it: an evaluation of model
    directories needs none of the recipe's.
    """
    reading = [
        name for name in selected if name in graph.nodes and not getattr(config.stage(name), "directories", None)
    ]
    used = {stage for name in reading for stage in graph.nodes[name].inputs.values()}
    inputs: dict[str, StageInput] = {}
    errors: list[MessageAndFix] = []
    for stage, path in graph.outside.items():
        try:
            inputs[stage] = models.outside_input(path, config.model_of(stage).revision)
        except PipelineError as error:
            if stage in used:
                errors.append((str(error), error.fix))
            inputs[stage] = StageInput(path=path, model_dir=path, fingerprint="unknown")
    return inputs, errors


def _step(
    node: Node, config: RunConfig, known: dict[str, Step], outside: dict[str, StageInput], selected: list[str]
) -> Step:
    """The plan of one stage; those that it is made from are in `known` or `outside` already."""
    stage_config, is_selected = config.stage(node.name), node.name in selected
    inputs, errors = _inputs(node, stage_config, known, outside, selected)
    files = data_files(stage_config) if stage_config is not None else {}
    fingerprints = {role: source.fingerprint for role, source in inputs.items()}
    fingerprints |= {f"template of {role}": source.template for role, source in inputs.items() if source.template}
    fingerprints |= general_prompts(stage_config)
    fingerprint = stage_fingerprint(
        node.kind, stage_config if stage_config is not None else {}, fingerprints, files, config.seed
    )
    directory = config.run_dir / node.name / short_fingerprint(fingerprint)
    read = dataclasses.replace(node, inputs=dict.fromkeys(inputs, "")) if node.optional else node
    action, reason, damages = choose_action(node, directory, config, stage_config, inputs, is_selected)
    is_to_be_made = action in (RUN, RESUME) and not damages and not (config.force and is_selected)
    made = find_made(config, node.name, node.kind, fingerprint) if is_to_be_made else None
    if made is not None:
        action, reason = REUSE, f"reused from run {made.parents[1].name}, verified"
    earlier: Parts = {}
    if node.kind == "evaluate" and is_to_be_made and made is None and is_selected:
        earlier = find_earlier(config, stage_config, inputs, files, directory)
        left = [name for name in inputs if not is_measured(earlier, name, stage_config)]
        if len(left) < len(inputs):
            reason += f"; {len(inputs) - len(left)} of {len(inputs)} models were evaluated before"
            read = dataclasses.replace(node, inputs=dict.fromkeys(left, ""))
    return Step(
        stage=node.name,
        kind=node.kind,
        action=action,
        reason=reason,
        fingerprint=fingerprint,
        dir=directory,
        config=stage_config,
        inputs=inputs,
        data_files=files,
        num_processes=1 if node.kind == "report" else config.launcher.num_processes * config.launcher.num_nodes,
        memory=needed(node, stage_config, config),
        disk_gib=estimate.disk_gib(node.name, stage_config, config),
        seconds=0.0 if action in (SKIP, REUSE) else estimate.seconds(read, stage_config, config),
        is_selected=is_selected,
        was_there=directory.exists(),
        errors=errors + damages,
        earlier=earlier,
        source=made,
    )


def _inputs(
    node: Node, stage_config: Any, known: dict[str, Step], outside: dict[str, StageInput], selected: list[str]
) -> tuple[dict[str, StageInput], list[MessageAndFix]]:
    """({role: input}, errors) of a stage. An evaluation of model directories has those and nothing else."""
    directories = getattr(stage_config, "directories", [])
    if directories:
        if node.name not in selected:
            return {}, []
        inputs, errors = models.outside_inputs(directories)
    else:
        inputs, errors = {}, []
        for role, source in node.inputs.items():
            if node.optional and source in known and not (source in selected or known[source].is_done):
                continue  # evaluate and report take what is there or will be
            inputs[role] = outside.get(source) or _as_input(known[source])
    if node.kind == "evaluate":  # each model is asked in the template that it was trained with
        inputs = {
            role: dataclasses.replace(source, template=_template(source, known) or None)
            for role, source in inputs.items()
        }
    return inputs, errors


def _as_input(step: Step) -> StageInput:
    """What the stages that are made from this one need to know of it."""
    return StageInput(
        stage=step.stage,
        fingerprint=step.fingerprint,
        path=str(step.dir),
        model_dir=str(step.dir / "model") if step.kind in MAKE_MODELS else None,
    )


def _template(source: StageInput, known: dict[str, Step]) -> str | None:
    """The prompt template that a model was trained with; None where no stage of ours made it."""
    step = known.get(source.stage) if source.stage else None
    if step is not None:
        return models.trained_template(step.kind, to_dict(step.config))
    return models.template_of_directory(Path(source.model_dir)) if source.model_dir else None


def _unread_notes(graph: Graph, steps: list[Step]) -> list[str]:
    """A line for each stage that is going to run although nothing else is made from it."""
    unread = set(unread_models(graph))
    return [
        f"nothing else is made from {step.stage} in this run: it is trained to be evaluated only; name the stages that "
        "you want ('+stage=[A,B]') to leave it out"
        for step in steps
        if step.stage in unread and not step.is_made
    ]


def template_notes(steps: list[Step], known: dict[str, Step]) -> list[str]:
    """A line for each stage that puts another template before a fine-tuned model than it was trained with.

    That is possible, and rarely meant.
    """
    lines = []
    for step in steps:
        data = getattr(step.config, "data", None)
        if data is None or step.kind in ("evaluate", "pretrain"):
            continue
        own = models.Prompting(data.template, data.system, data.examples)
        for entry in step.inputs.values():
            source = known.get(entry.stage) if entry.stage else None
            if source is None or source.kind == "pretrain":
                continue
            trained_with = models.trained_prompting(source.kind, to_dict(source.config))
            if trained_with in (None, own):
                continue
            as_trained = trained_with.template if trained_with.is_by_name else "chat"
            if own != models.Prompting(as_trained):
                lines.append(
                    f"{step.stage} puts its prompts into the template {own}, but {source.stage} was trained with "
                    f"{trained_with}: stages.{step.stage}.data.template={as_trained} goes on with that"
                )
    return lines


def _missing_inputs(
    step: Step, graph: Graph, known: dict[str, Step], selected: list[str], config: RunConfig
) -> list[MessageAndFix]:
    """An error for each input of a stage that is going to run which is neither done nor selected."""
    if step.is_made:
        return []
    if graph.nodes[step.stage].optional:
        if step.inputs or step.stage == "report" or getattr(step.config, "directories", []):
            return []  # of directories that are not there, the plan says which
        none = (
            f"{step.stage} has nothing to work on: the run {config.run} has no finished model",
            command(config, "all"),
        )
        return nothing_to_evaluate(step, graph.nodes[step.stage], known, config.run) or [none]
    missing = [
        source
        for source in graph.nodes[step.stage].inputs.values()
        if source in known and source not in selected and not known[source].is_made
    ]
    errors = []
    for source in missing:
        needed = {name for name in upstream(graph, [source]) if not known[name].is_made} | set(selected)
        stages = [name for name in graph.nodes if name in needed]
        names = "all" if len(stages) == len(graph.nodes) else f"[{','.join(stages)}]"
        errors.append(
            (
                f"{step.stage} needs {source}, which the run {config.run} has not finished with this configuration "
                f"({known[source].reason})",
                f"make it too: {command(config, names)}",
            )
        )
    return errors
