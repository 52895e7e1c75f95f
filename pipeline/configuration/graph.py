"""The stages as data: what each is, what it reads, and which of them a configuration has.

The order of `NODES` is an order of execution: every input stands above its consumer. The stages of a student stand in
it once; a configuration with several `students` has them once for each, as `student_base_NAME` and `distill_NAME`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from pipeline.configuration.data_sources import serves_reward_models

if TYPE_CHECKING:  # a RunConfig knows its graph
    from pipeline.configuration.schema import RunConfig, StudentConfig


@dataclass(frozen=True)
class Node:
    """One stage.

    Attributes:
        name: name of the stage.
        kind: kind of the stage, a key of stages.config.KINDS, or report.
        inputs: role -> the stage that fills it.
        makes: model, data, reward_models, results or report.
        optional: its inputs are whatever is selected or already made, not all of them.
        family: of a student's stage, its name in NODES.
        student: of a student's stage, the student's name; empty for the one student without a name.
    """

    name: str
    kind: str
    inputs: dict[str, str] = field(default_factory=dict)
    makes: str = "model"
    optional: bool = False
    family: str = ""
    student: str = ""


NODES: tuple[Node, ...] = (
    Node("base", "pretrain"),
    Node("r1_zero", "grpo", {"policy": "base"}),
    Node("cold_start_data", "collect", {"policy": "r1_zero"}, makes="data"),
    Node("cold_start", "sft", {"policy": "base", "data": "cold_start_data"}),
    Node("reasoning_rl", "grpo", {"policy": "cold_start"}),
    Node("rejection_data", "collect", {"policy": "reasoning_rl"}, makes="data"),
    Node("rejection_sft", "sft", {"policy": "base", "data": "rejection_data"}),
    Node("reward_models", "reward_models", {"policy": "rejection_sft"}, makes="reward_models"),
    Node("preference_rl", "grpo", {"policy": "rejection_sft", "reward_models": "reward_models"}),
    Node("student_base", "pretrain", family="student_base"),
    Node("distill", "sft", {"policy": "student_base", "data": "rejection_data"}, family="distill"),
    Node("student_rl", "grpo", {"policy": "student_base"}, family="student_rl"),
    Node("evaluate", "evaluate", makes="results", optional=True),
    Node("report", "report", makes="report", optional=True),
)

# What can be selected; a student's stage stands for those of all students.
STAGES: tuple[str, ...] = tuple(node.name for node in NODES)

# The stages that each student has for itself.
FAMILIES: tuple[str, ...] = tuple(node.name for node in NODES if node.family)
_OF_STUDENT = re.compile(rf"({'|'.join(FAMILIES)})_([A-Za-z0-9]\w*)")


def family_of(name: str) -> str:
    """distill_small -> distill; any other name, known or not, is its own family."""
    found = None if name in STAGES else _OF_STUDENT.fullmatch(name)
    return found[1] if found else name


def is_stage(name: str) -> bool:
    """Whether a stage of some configuration has this name."""
    return family_of(name) in STAGES


def stage_order(name: str) -> tuple[int, str]:
    """Sorting key of the stage names of any configuration: the order of execution, then the name."""
    return STAGES.index(family_of(name)), name


def nodes(config: RunConfig) -> list[Node]:
    """The stages of a RunConfig in order of execution.

    RL of a student's base is one of them where the student asks for it.
    """
    of_students = [node for name, student in config.all_students.items() for node in _of_student(name, student)]
    gathering = [node for node in NODES if node.optional]
    return [node for node in NODES if not node.family and not node.optional] + of_students + gathering


def _of_student(name: str, student: StudentConfig) -> list[Node]:
    """The stages of one student, which read each other and those of everybody."""
    suffix = f"_{name}" if name else ""
    made = []
    for node in NODES:
        if node.family and (node.family != "student_rl" or student.rl):
            inputs = {role: source + (suffix if source in FAMILIES else "") for role, source in node.inputs.items()}
            made.append(replace(node, name=node.name + suffix, inputs=inputs, student=name))
    return made


@dataclass(frozen=True)
class Graph:
    """The stages of one configuration.

    Attributes:
        nodes: the stages that there are, by name, in order of execution.
        outside: stage -> the model directory that stands in for it.
        left_out: stage -> why it is not there.
    """

    nodes: dict[str, Node]
    outside: dict[str, str]
    left_out: dict[str, str]


def build(config: RunConfig) -> Graph:
    """The graph of a RunConfig.

    Models from outside replace their stage, and stages that have nothing to do are left out.
    """
    everything = nodes(config)
    bases = {"base": config.model} | {
        node.name: config.all_students[node.student] for node in everything if node.family == "student_base"
    }
    outside = {stage: model.path for stage, model in bases.items() if model.path}
    left_out = {stage: f"the model comes from {path}" for stage, path in outside.items()}
    left_out |= _without_data(config, everything)
    found = {node.name: node for node in everything if node.name not in left_out}
    for name, node in found.items():
        if not node.optional:
            reads = _without_traces(node, config)
            inputs = {role: stage for role, stage in reads.items() if stage in found or stage in outside}
            found[name] = replace(node, inputs=inputs)
    unread = _unread_data(config, everything, found)
    left_out |= unread
    found = {name: node for name, node in found.items() if name not in unread}
    for name, node in found.items():  # what gathers comes last: it looks at the inputs of the others
        if node.optional:
            others = [
                other.name
                for other in everything
                if other.name != name
                and (other.name in found or other.name in outside)
                and _is_source(node, other.name, found, outside, config)
            ]
            found[name] = replace(node, inputs={other: other for other in others})
    return Graph(found, outside, left_out)


def _without_data(config: RunConfig, everything: list[Node]) -> dict[str, str]:
    """The stages that the data of this configuration leaves nothing to do, each with the reason."""
    left_out = {}
    if not serves_reward_models(config.data):
        what = "reasoning-gym" if config.data.name == "reasoning_gym" else "your own data"
        left_out["reward_models"] = f"{what} has no general prompts to build preferences from"
    if config.data.name != "tiny_world" and config.model.path:
        for node in everything:
            if node.family and not config.all_students[node.student].path:
                where = f"students.{node.student}" if node.student else "student"
                left_out[node.name] = (
                    "the recipe's own student knows only the recipe's own world: give a model for it with "
                    f"{where}.path=DIRECTORY"
                )
    return left_out


def _unread_data(config: RunConfig, everything: list[Node], found: dict[str, Node]) -> dict[str, str]:
    """The stages whose data nobody reads, because its readers are given files of traces, each with the reason.

    One that is selected without its readers is wanted for itself, and stays.
    """
    left_out = {}
    for name, node in found.items():
        if node.makes != "data" or any(name in other.inputs.values() for other in found.values()):
            continue
        readers = [reader.name for reader in everything if name in reader.inputs.values() and reader.name in found]
        if set(readers) & set(config.selection):
            keys = ", ".join(f"stages.{reader}.traces.path" for reader in readers)
            left_out[name] = f"nobody reads its data: {keys} gives other rows"
    return left_out


def unread_models(graph: Graph) -> list[str]:
    """The stages from whose model others are made in the whole recipe, but none in this graph: only evaluated."""
    return [
        name
        for name, node in graph.nodes.items()
        if node.makes == "model"
        and any(name in other.inputs.values() for other in NODES)
        and not any(name in other.inputs.values() for other in graph.nodes.values() if not other.optional)
    ]


def _without_traces(node: Node, config: RunConfig) -> Mapping[str, str]:
    """The inputs of a stage. One that is given a file of traces reads no other stage's data."""
    if node.kind != "sft" or not config.stage(node.name).traces.path:
        return node.inputs
    return {role: source for role, source in node.inputs.items() if role != "data"}


def _is_source(node: Node, other: str, found: dict[str, Node], outside: dict[str, str], config: RunConfig) -> bool:
    """Whether `other` is an input of the gathering stage `node` (evaluate: every model; report: everything)."""
    if other == "report":
        return False
    if node.name == "report":
        return other in found
    makes_model = other in outside or found[other].makes == "model"
    used = family_of(other) != "student_base" or any(
        other in reader.inputs.values() for reader in found.values() if reader.family
    )
    wanted = config.stages.evaluate.models
    return makes_model and used and (not wanted or other in wanted or family_of(other) in wanted)


def upstream(graph: Graph, names: Iterable[str]) -> list[str]:
    """`names` and everything that they are made from, in order of execution."""
    wanted: set[str] = set()
    frontier = list(names)
    while frontier:
        name = frontier.pop()
        if name not in wanted and name in graph.nodes:
            wanted.add(name)
            frontier += graph.nodes[name].inputs.values()
    return [stage for stage in graph.nodes if stage in wanted]
