"""What must hold between the parts of a RunConfig. Rules between the fields of one section stand in its class."""

import dataclasses
import difflib
import re
from typing import Any

from pipeline.configuration import graph
from pipeline.configuration.graph import STAGES
from pipeline.configuration.schema import RunConfig
from stages.config import SHAPE, VLLM_CPU_HEAD_SIZES, ConfigError, DataConfig, ModelConfig
from stages.worlds.reasoning_gym.examples import WRITERS
from stages.worlds.reasoning_gym.families import config_mistakes as mistakes_of_families


def mistakes_between_parts(config: RunConfig) -> list[str]:
    """Every mistake, each with its key, its value and its fix."""
    mistakes = [*_of_run_name(config), *_of_selection(config), *_of_student_names(config)]
    if not mistakes:  # the stages of students can only be told apart where their names are right
        mistakes += _of_student_changes(config)
    return [
        *mistakes,
        *_of_suites(config),
        *_of_head_sizes(config),
        *_of_lessons(config),
        *_of_data_nodes(config),
        *_of_samplers(config),
        *_of_slices(config),
    ]


def _of_run_name(config: RunConfig) -> list[str]:
    if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", config.run):
        return []
    return [f"run {config.run!r} is not a directory name: use letters, digits, '.', '_' and '-'"]


def _of_selection(config: RunConfig) -> list[str]:
    """Stages that are evaluated or selected, but that this configuration does not have."""
    names = [node.name for node in graph.nodes(config)]
    listed = ", ".join(names)
    mistakes = [
        f"stages.evaluate.models: {stage!r} is not a stage; stages are {listed}"
        for stage in config.stages.evaluate.models
        if stage not in names and stage not in STAGES
    ]
    for stage in (stage for stage, is_on in config.selected.items() if is_on):
        if stage not in STAGES and stage not in names:
            mistakes.append(f"selected.{stage}: no such stage with these students; stages are {listed}")
        elif stage == "student_rl" and not any(name.startswith(stage) for name in names):
            mistakes.append("selected.student_rl: no student asks for it; add student.rl=true")
    return mistakes


def _of_student_names(config: RunConfig) -> list[str]:
    return [
        f"students: {name!r} is not a name of letters, digits and '_'"
        for name in config.students
        if not re.fullmatch(r"[A-Za-z0-9]\w*", name)
    ]


def _of_student_changes(config: RunConfig) -> list[str]:
    """Mistakes in what students change of the shared stages."""
    mistakes = []
    for node in graph.nodes(config):
        if node.family:
            try:
                config.stage(node.name)
            except ConfigError as error:
                mistakes += error.errors
    return mistakes


def _of_suites(config: RunConfig) -> list[str]:
    mistakes = []
    for suite in config.stages.evaluate.suites:
        if suite not in config.eval:
            close = difflib.get_close_matches(suite, config.eval, n=1)
            hint = f"; did you mean {close[0]}?" if close else ""
            known = ", ".join(config.eval)
            mistakes.append(f"stages.evaluate.suites: {suite!r} is not a suite; suites are {known}{hint}")
    return mistakes


def _of_head_sizes(config: RunConfig) -> list[str]:
    """Models of the recipe's own whose attention heads have a size that vLLM on a CPU does not have."""
    models: dict[str, ModelConfig] = {"model": config.model}
    models |= {f"students.{name}" if name else "student": student for name, student in config.all_students.items()}
    mistakes = []
    for where, model in models.items():
        size = model.hidden_size // model.num_heads
        if model.path is None and config.rollout.is_vllm and size not in VLLM_CPU_HEAD_SIZES:
            mistakes.append(
                f"{where}.num_heads {model.num_heads} gives attention heads of {size}; "
                f"vLLM on CPU has {VLLM_CPU_HEAD_SIZES}: "
                f"change {where}.hidden_size or num_heads, or use rollout=transformers"
            )
    return mistakes


def _of_samplers(config: RunConfig) -> list[str]:
    """Samplers that the ranks of a node cannot be divided into."""
    nodes = {"rollout": config.rollout}
    for field in dataclasses.fields(config.stages):
        rollout = getattr(getattr(config.stages, field.name), "rollout", None)
        if rollout is not None and rollout.tensor_parallel != config.rollout.tensor_parallel:
            nodes[f"stages.{field.name}.rollout"] = rollout
    ranks = config.launcher.num_processes
    return [
        f"{where}.tensor_parallel {rollout.tensor_parallel} does not divide launcher.num_processes {ranks}: "
        "each engine is held by so many neighbouring ranks of one node"
        for where, rollout in nodes.items()
        if ranks % rollout.tensor_parallel
    ]


def _of_slices(config: RunConfig) -> list[str]:
    """Groups of ranks, which hold rows or a copy of the parameters together, that the ranks cannot be divided into."""
    nodes = {"deepspeed": config.deepspeed}
    for field in dataclasses.fields(config.stages):
        deepspeed = getattr(getattr(config.stages, field.name), "deepspeed", None)
        if deepspeed is not None and deepspeed != config.deepspeed:
            nodes[f"stages.{field.name}.deepspeed"] = deepspeed
    launcher, mistakes = config.launcher, []
    ranks = launcher.num_processes * launcher.num_nodes
    for where, deepspeed in nodes.items():
        if ranks % deepspeed.sequence_parallel:
            mistakes.append(
                f"{where}.sequence_parallel {deepspeed.sequence_parallel} does not divide the {ranks} ranks "
                "(launcher.num_processes x num_nodes), of which so many neighbours hold each row together"
            )
        if launcher.num_processes % deepspeed.hpz_partition_size:
            mistakes.append(
                f"{where}.hpz_partition_size {deepspeed.hpz_partition_size} does not divide launcher.num_processes "
                f"{launcher.num_processes}: so many ranks of one machine keep the second copy"
            )
    return mistakes


def _of_lessons(config: RunConfig) -> list[str]:
    untaught = tasks_without_examples(config.data)
    if config.model.path is not None or not untaught:
        return []
    return [
        f"model.path is empty, but the recipe's own base learns from worked examples, and {', '.join(untaught)} "
        "in data.tasks have none: give a base with model.path=DIRECTORY, or see recipe=reasoning_gym_cpu"
    ]


def _of_data_nodes(config: RunConfig) -> list[str]:
    mistakes = []
    for where, data in data_nodes(config):
        if data.name == "file" and not data.all_sources:
            mistakes.append(
                f"{where}.path is empty: name a file or directory with {where}.path=FILE, "
                f"or sources with {where}.sources.NAME.path=FILE"
            )
        if data.name != "file" and data.all_sources:
            choice = "data=file" if where == "data" else f"+data@{where}=file"
            mistakes.append(f"{where}.path is set but {where}.name is {data.name}: add {choice}")
    return mistakes


def data_nodes(config: RunConfig) -> list[tuple[str, DataConfig]]:
    """The shared data node, and those of the stages that differ from it, each with its key."""
    nodes = [("data", config.data)]
    for field in dataclasses.fields(config.stages):
        data = getattr(getattr(config.stages, field.name), "data", None)
        if data is not None and data != config.data:
            nodes.append((f"stages.{field.name}.data", data))
    return nodes


def tasks_without_examples(data: DataConfig) -> list[str]:
    """The families of reasoning-gym in `tasks` without worked examples, which a base of ours cannot learn."""
    if data.name != "reasoning_gym" or mistakes_of_families(data.tasks, data.task_weights, data.task_configs):
        return []
    return [task for task in data.tasks if task not in WRITERS]


def family_mistakes(tree: dict[str, Any]) -> list[str]:
    """What is wrong with the families of reasoning-gym that the composed tree names, in any of its data nodes."""
    nodes = {"data": tree.get("data")}
    for name, stage in (tree.get("stages") or {}).items():
        if isinstance(stage, dict):
            nodes[f"stages.{name}.data"] = stage.get("data")
    mistakes = []
    for key, node in nodes.items():
        if not isinstance(node, dict) or node.get("name") != "reasoning_gym":
            continue
        tasks, weights, configs = (
            node.get("tasks") or [],
            node.get("task_weights") or [],
            node.get("task_configs") or {},
        )
        if isinstance(tasks, list) and isinstance(weights, list) and isinstance(configs, dict):
            mistakes += [f"{key}.{mistake}" for mistake in mistakes_of_families(tasks, weights, configs)]
    return mistakes


def undefined_students(tree: dict[str, Any]) -> list[str]:
    """Students that are given keys without that anything says which model they are: mostly a slip in a name.

    A student is defined by an option (`student@students.NAME=tiny`), by a path, or by a shape of its own.
    """
    students = tree.get("students")
    if not isinstance(students, dict):
        return []
    defines = {"path", *SHAPE}
    is_defined = {
        str(name): not isinstance(node, dict) or not node or bool(defines & set(node))
        for name, node in students.items()
    }
    known = [name for name, defined in is_defined.items() if defined]
    mistakes = []
    for name in (name for name, defined in is_defined.items() if not defined):
        close = difflib.get_close_matches(name, known, n=1)
        hint = f"; did you mean students.{close[0]}?" if close else ""
        there = f"students are {', '.join(known)}" if known else "there is only `student`, whose keys are student.KEY"
        mistakes.append(
            f"students.{name}: no such student; {there}{hint or '.'} A new one is defined by its model: "
            f"students.{name}.path=DIRECTORY, or student@students.{name}=OPTION"
        )
    return mistakes
