"""The stages as data: what each is, what it reads, and which of them a configuration has.

The order of `NODES` is an order of execution: every input stands above its consumer.
"""
from dataclasses import dataclass, field, replace

from pipeline.data_sources import serves_reward_models


@dataclass(frozen=True)
class Node:
    """One stage. `inputs` maps a role to the stage that fills it; `optional` roles are used where there is something to use."""
    name: str
    kind: str
    inputs: dict[str, str] = field(default_factory=dict)
    makes: str = "model"  # model, data, results, report
    optional: bool = False  # inputs are whatever is selected or already made, not all of them


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
    Node("student_base", "pretrain"),
    Node("distill", "sft", {"policy": "student_base", "data": "rejection_data"}),
    Node("evaluate", "evaluate", makes="results", optional=True),
    Node("report", "report", makes="report", optional=True),
)
STAGES: tuple[str, ...] = tuple(node.name for node in NODES)


@dataclass(frozen=True)
class Graph:
    """The stages of one configuration. `outside` maps a stage to the model directory that stands in for it."""
    nodes: dict[str, Node]
    outside: dict[str, str]
    left_out: dict[str, str]  # stage -> why


def build(config) -> Graph:
    """The graph of a RunConfig: models from outside replace their stage; stages that have nothing to do are left out."""
    outside = {stage: path for stage, path in (("base", config.model.path), ("student_base", config.student.path)) if path}
    left_out = {stage: f"the model comes from {path}" for stage, path in outside.items()}
    if not serves_reward_models(config.data):
        what = "reasoning-gym" if config.data.name == "reasoning_gym" else "your own data"
        left_out["reward_models"] = f"{what} has no general prompts to build preferences from"
    if config.data.name == "file":
        if config.model.path and not config.student.path:
            why = "the recipe's own student knows only the tiny world: give a model for it with student.path=DIRECTORY"
            left_out |= {"student_base": why, "distill": why}
    nodes = {node.name: node for node in NODES if node.name not in left_out}
    for name, node in nodes.items():
        if node.optional:
            sources = [other for other in (*outside, *nodes) if other != name and _is_source(node, other, nodes, outside, config)]
            nodes[name] = replace(node, inputs={other: other for other in STAGES if other in sources})
        else:
            nodes[name] = replace(node, inputs={role: stage for role, stage in node.inputs.items() if stage in nodes or stage in outside})
    return Graph(nodes, outside, left_out)


def _is_source(node: Node, other: str, nodes: dict[str, Node], outside: dict[str, str], config) -> bool:
    """Whether `other` is an input of the gathering stage `node` (evaluate: every model; report: everything)."""
    if other == "report":
        return False
    if node.name == "report":
        return other in nodes
    makes_model = other in outside or nodes[other].makes == "model"
    used = other != "student_base" or "distill" in nodes
    return makes_model and used and (not config.stages.evaluate.models or other in config.stages.evaluate.models)


def upstream(graph: Graph, names) -> list[str]:
    """`names` and everything they are made from, in order of execution."""
    wanted, frontier = set(), list(names)
    while frontier:
        name = frontier.pop()
        if name not in wanted and name in graph.nodes:
            wanted.add(name)
            frontier += graph.nodes[name].inputs.values()
    return [stage for stage in STAGES if stage in wanted]
