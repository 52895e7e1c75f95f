"""The configuration of a run: every stage's dataclass of `stages.config`, and what only the driver needs to know.

The dataclasses are the one schema. `default_tree` gives Hydra their defaults as plain data, with the shared nodes
(`data`, `judge`, `rollout`, `deepspeed`, `health`, `model`, `student`) reaching the stages by interpolation, leaf by
leaf, so that any key can be overridden for one stage.
"""

import dataclasses
import difflib
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import yaml

from pipeline.configuration import graph
from pipeline.configuration.data_sources import with_presets, without_what_data_lacks
from pipeline.configuration.graph import STAGES, is_stage
from pipeline.paths import CONF_DIR
from stages.config import (
    VLLM_CPU_HEAD_SIZES,
    Checked,
    CollectConfig,
    ConfigError,
    DataConfig,
    DeepSpeedConfig,
    EvaluateConfig,
    GrpoConfig,
    HealthConfig,
    JudgeConfig,
    ModelConfig,
    PrepareConfig,
    PretrainConfig,
    RewardModelsConfig,
    RolloutConfig,
    SandboxConfig,
    SftConfig,
    SuiteConfig,
    from_dict,
    knob,
    to_dict,
)
from stages.data.hub import pin_advice
from stages.worlds.reasoning_gym.examples import WRITERS
from stages.worlds.reasoning_gym.families import problems as family_problems

SUITES_DIR = CONF_DIR / "eval"


@dataclass(frozen=True)
class LauncherConfig(Checked):
    """How workers are started. Never part of a fingerprint."""

    name: Literal["local", "slurm"] = knob(
        "local", "local: torchrun on this machine; slurm: one torchrun a node by srun, inside an allocation"
    )
    num_processes: int = knob(2, "ranks on each node: one a GPU, or two single-threaded ones on a small CPU", gt=0)
    num_nodes: int = knob(1, "nodes (slurm)", gt=0)
    threads_per_process: int = knob(1, "OMP_NUM_THREADS of a rank; 1 is the robust choice on a shared CPU", gt=0)
    rendezvous_port: int = knob(29400, "port of the first node (slurm)", gt=0, lt=65536)
    grace_s: float = knob(
        120.0, "seconds that a stage may take to write its checkpoint after the first Ctrl-C or SIGTERM", gt=0
    )
    stall_after_s: float = knob(
        600.0, "status and the live view report a stage that has not moved for so many seconds", gt=0
    )
    collective_timeout_s: float = knob(
        1800.0,
        "seconds that a rank waits for the others before it fails and says for whom; longer than the slowest rank "
        "may lag behind",
        gt=0,
    )
    min_free_gib: float = knob(1.0, "a stage is not started with less free disk than this, GiB", ge=0)
    environment: dict[str, str] = knob({}, "more environment variables for the workers")

    def problems(self):
        return (
            ["num_nodes needs name=slurm: choose launcher=slurm"] if self.num_nodes > 1 and self.name != "slurm" else []
        )


@dataclass(frozen=True)
class TrackerConfig(Checked):
    name: Literal["none", "tensorboard"] = knob(
        "none", "tensorboard: metrics.jsonl is also written as event files under runs/<run>/tensorboard"
    )


@dataclass(frozen=True)
class SweepConfig(Checked):
    """What a sweep compares. Empty: evaluate's pass@1 of the last model where `evaluate` runs, else the last stage's
    mean reward.
    """

    stage: str | None = knob(None, "stage whose number is compared; for results.json: the model's stage")
    set: str | None = knob(
        None, "evaluation set, e.g. tiny_math; empty: a metric of the stage's manifest or metrics.jsonl"
    )
    metric: str | None = knob(None, "name of the number, e.g. pass@1 or reward/mean")
    direction: Literal["maximize", "minimize"] = knob("maximize", "how the leaderboard is sorted")


@dataclass(frozen=True)
class StagesConfig(Checked):
    base: PretrainConfig = knob(PretrainConfig, "the recipe's own base model")
    r1_zero: GrpoConfig = knob(GrpoConfig, "R1-Zero: RL from the base")
    cold_start_data: CollectConfig = knob(CollectConfig, "cold-start samples from R1-Zero")
    cold_start: SftConfig = knob(SftConfig, "R1 stage 1 (Dev1)")
    reasoning_rl: GrpoConfig = knob(GrpoConfig, "R1 stage 2 (Dev2)")
    rejection_data: CollectConfig = knob(CollectConfig, "rejection sampling from stage 2, and general data")
    rejection_sft: SftConfig = knob(SftConfig, "R1 stage 3 (Dev3)")
    reward_models: RewardModelsConfig = knob(RewardModelsConfig, "helpful and safety reward models")
    preference_rl: GrpoConfig = knob(GrpoConfig, "R1 stage 4 (R1)")
    student_base: PretrainConfig = knob(PretrainConfig, "the recipe's own student")
    distill: SftConfig = knob(SftConfig, "SFT of a student on the rejection data")
    student_rl: GrpoConfig = knob(GrpoConfig, "RL of a student's base instead, where student.rl is set [V2 Table 16]")
    evaluate: EvaluateConfig = knob(EvaluateConfig, "every model on the held-out sets")


@dataclass(frozen=True)
class CostConfig(Checked):
    """What the ledger counts with (`status --cost`, report). Never part of a fingerprint."""

    price_per_hour: float = knob(
        0.0,
        "USD for an hour of one rank: of a GPU where it has one, else of a processor; "
        "2 for an H800 in the paper [V2 Table 7]",
        ge=0,
    )


@dataclass(frozen=True)
class StudentConfig(ModelConfig):
    """A model that is distilled into: its base, and how its stages differ from `stages.distill` and the others [V2
    Table 6].
    """

    distill: dict[str, Any] = knob({}, "keys of stages.distill that are different for this student", schema=SftConfig)
    base: dict[str, Any] = knob(
        {}, "keys of stages.student_base that are different for this student", schema=PretrainConfig
    )
    rl: bool = knob(
        False, "where distill is selected, also train the same base by RL (stage student_rl), to compare with"
    )


@dataclass(frozen=True)
class RunConfig(Checked):
    """All that a run is told."""

    run: str = knob("tiny", "name of the run, a directory under runs_dir")
    runs_dir: str = knob("runs", "where runs are kept")
    recipe: str = knob("tiny", "name of the recipe")
    seed: int = knob(0, "seed of every random draw", ge=0)
    force: bool = knob(False, "redo the selected stages; what they made before is kept aside as <fp8>.old-N")
    orchestrator: Literal["prefect", "none"] = knob(
        "prefect", "prefect: a flow with a task run per stage; none: the same stages in a plain loop"
    )
    selected: dict[str, bool] = knob({}, "stages to run; set by +stage=NAME")
    model: ModelConfig = knob(ModelConfig, "the base model")
    student: StudentConfig = knob(StudentConfig, "the model that is distilled into")
    students: dict[str, StudentConfig] = knob(
        {}, "several students by name, in the place of `student`: each has its own stages, distill_NAME and so on"
    )
    data: DataConfig = knob(DataConfig, "prompts of all stages")
    sandbox: SandboxConfig = knob(SandboxConfig, "programs of all stages")
    judge: JudgeConfig = knob(JudgeConfig, "who judges and refines, in all stages that ask for it")
    prepare: PrepareConfig = knob(PrepareConfig, "what `data prepare` drops and writes; no stage reads it")
    rollout: RolloutConfig = knob(RolloutConfig, "sampling of all stages")
    deepspeed: DeepSpeedConfig = knob(DeepSpeedConfig, "DeepSpeed settings of all stages")
    health: HealthConfig = knob(HealthConfig, "alarms of all stages")
    launcher: LauncherConfig = knob(LauncherConfig, "how workers are started")
    cost: CostConfig = knob(CostConfig, "prices of the cost ledger")
    tracker: TrackerConfig = knob(TrackerConfig, "where metrics go besides metrics.jsonl")
    sweep: SweepConfig = knob(SweepConfig, "what a sweep compares")
    eval: dict[str, SuiteConfig] = knob(
        {}, "evaluation suites, one a file of conf/eval/; stages.evaluate.suites (or eval=[...]) chooses some"
    )
    stages: StagesConfig = knob(StagesConfig, "the stages")

    def problems(self):
        errors = []
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", self.run):
            errors.append(f"run {self.run!r} is not a directory name: use letters, digits, '.', '_' and '-'")
        names = [node.name for node in graph.nodes(self)]
        for stage in self.stages.evaluate.models:
            if stage not in names and stage not in STAGES:
                errors.append(f"stages.evaluate.models: {stage!r} is not a stage; stages are {', '.join(names)}")
        for stage, is_on in self.selected.items():
            if is_on and stage not in STAGES and stage not in names:
                errors.append(f"selected.{stage}: no such stage with these students; stages are {', '.join(names)}")
            elif is_on and stage == "student_rl" and not any(name.startswith(stage) for name in names):
                errors.append("selected.student_rl: no student asks for it; add student.rl=true")
        students = {f"students.{name}" if name else "student": student for name, student in self.all_students.items()}
        errors += [
            f"students: {name!r} is not a name of letters, digits and '_'"
            for name in self.students
            if not re.fullmatch(r"[A-Za-z0-9]\w*", name)
        ]
        for node in graph.nodes(self) if not errors else []:
            if node.family:
                errors += self._mistakes_of_student(node)
        for suite in self.stages.evaluate.suites:
            if suite not in self.eval:
                close = difflib.get_close_matches(suite, self.eval, n=1)
                errors.append(
                    f"stages.evaluate.suites: {suite!r} is not a suite; suites are "
                    f"{', '.join(self.eval)}{f'; did you mean {close[0]}?' if close else ''}"
                )
        for where, model in (("model", self.model), *students.items()):
            size = model.hidden_size // model.num_heads
            if model.path is None and self.rollout.engine == "vllm" and size not in VLLM_CPU_HEAD_SIZES:
                errors.append(
                    f"{where}.num_heads {model.num_heads} gives attention heads of {size}; "
                    f"vLLM on CPU has {VLLM_CPU_HEAD_SIZES}: "
                    f"change {where}.hidden_size or num_heads, or use rollout=transformers"
                )
        untaught = tasks_without_examples(self.data)
        if self.model.path is None and untaught:
            errors.append(
                "model.path is empty, but the recipe's own base learns from worked examples, "
                f"and {', '.join(untaught)} "
                "in data.tasks have none: give a base with model.path=DIRECTORY, or see recipe=reasoning_gym_cpu"
            )
        for where, data in data_nodes(self):
            if data.name == "file" and not data.all_sources:
                errors.append(
                    f"{where}.path is empty: name a file or directory with {where}.path=FILE, "
                    f"or sources with {where}.sources.NAME.path=FILE"
                )
            if data.name != "file" and data.all_sources:
                errors.append(
                    f"{where}.path is set but {where}.name is {data.name}: add "
                    f"{'data=file' if where == 'data' else f'+data@{where}=file'}"
                )
        return errors

    @property
    def run_dir(self) -> Path:
        return Path(self.runs_dir).expanduser().resolve() / self.run

    @property
    def selection(self) -> list[str]:
        """Selected stages in order of execution; a student's stage by its own name or with those of all students
        (+stage=distill).
        """

        def is_on(family: str, student: str) -> bool:
            return bool(self.selected.get(family) or self.selected.get(f"{family}_{student}"))

        return [
            node.name
            for node in graph.nodes(self)
            if is_on(node.family or node.name, node.student)
            or (node.family == "student_rl" and is_on("distill", node.student))
        ]

    @property
    def all_students(self) -> dict[str, StudentConfig]:
        """The students by name; one without a name where `students` is empty."""
        return self.students or {"": self.student}

    def stage(self, name: str) -> Any:
        """The configuration of a stage, None for one without (report). A student's is the shared one with what the
        student changes.
        """
        node = next(node for node in graph.nodes(self) if node.name == name)
        shared = getattr(self.stages, node.family or name, None)
        if not node.family:
            return shared
        student = self.all_students[node.student]
        key, changes = {"distill": ("distill", student.distill), "student_base": ("base", student.base)}.get(
            node.family, ("", {})
        )
        if node.family == "student_base" and node.student:
            changes = {
                "model": {spec.name: getattr(student, spec.name) for spec in dataclasses.fields(ModelConfig)}
            } | changes
        return (
            from_dict(
                type(shared),
                _merged(to_dict(shared), changes),
                f"{f'students.{node.student}' if node.student else 'student'}.{key}",
            )
            if changes
            else shared
        )

    def _mistakes_of_student(self, node) -> list[str]:
        try:
            self.stage(node.name)
        except ConfigError as error:
            return error.errors
        return []

    def model_of(self, stage: str) -> ModelConfig:
        """The base model that a stage's models descend from."""
        node = next(node for node in graph.nodes(self) if node.name == stage)
        return self.all_students[node.student] if node.family else self.model


def _merged(tree: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """`tree` with the values of `changes`, mapping by mapping."""
    return tree | {
        key: _merged(tree[key], value) if isinstance(value, dict) and isinstance(tree.get(key), dict) else value
        for key, value in changes.items()
    }


SHARED_NODES = (
    "data",
    "sandbox",
    "judge",
    "rollout",
    "deepspeed",
    "health",
)  # top-level nodes that every stage that has the node follows


def data_nodes(config: RunConfig) -> list[tuple[str, DataConfig]]:
    """The shared data node and those of the stages that differ from it, each with its key."""
    nodes = [("data", config.data)]
    for spec in dataclasses.fields(config.stages):
        data = getattr(getattr(config.stages, spec.name), "data", None)
        if data is not None and data != config.data:
            nodes.append((f"stages.{spec.name}.data", data))
    return nodes


@cache
def suite_files() -> dict[str, dict[str, Any]]:
    """The files of conf/eval/: what each suite chooses."""
    return {path.stem: yaml.safe_load(path.read_text(encoding="utf-8")) for path in sorted(SUITES_DIR.glob("*.yaml"))}


def default_tree() -> dict[str, Any]:
    """The defaults of RunConfig as plain data for Hydra; shared leaves of a stage are interpolations of the shared
    node.
    """
    tree = to_dict(RunConfig())
    tree["selected"] = dict.fromkeys(STAGES, False)
    tree["eval"] = {name: to_dict(SuiteConfig()) | choices for name, choices in suite_files().items()}
    tree["stages"]["evaluate"]["precision"] = "${deepspeed.precision}"
    for name, stage in tree["stages"].items():
        for shared in SHARED_NODES:
            if shared in stage:
                stage[shared] = {key: f"${{{shared}.{key}}}" for key in stage[shared]}
        if "model" in stage:
            source = "student" if name == "student_base" else "model"
            stage["model"] = {key: f"${{{source}.{key}}}" for key in stage["model"]}
        if "template" in stage:
            stage["template"] = "${data.template}"
    return tree


def from_tree(tree: dict[str, Any]) -> RunConfig:
    """Checks composed plain data and makes paths absolute. Raises ConfigError with every mistake."""
    errors = [f"selected.{name}: unknown stage" for name in tree.get("selected", {}) if not is_stage(name)]
    errors += _said_once(family_mistakes(tree))
    tree, mistakes = with_presets(tree)
    errors += mistakes
    try:
        config = from_dict(RunConfig, tree)
    except ConfigError as error:
        raise ConfigError(errors + _said_once(error.errors)) from None
    if errors:
        raise ConfigError(errors)
    return _with_suites(_without_idle_judges(_without_general_data(_with_absolute_paths(config))))


def family_mistakes(tree: dict[str, Any]) -> list[str]:
    """What is wrong with the families of reasoning-gym that the composed tree names, in any of its data nodes."""
    nodes = {"data": tree.get("data")} | {
        f"stages.{name}.data": stage.get("data")
        for name, stage in (tree.get("stages") or {}).items()
        if isinstance(stage, dict)
    }
    mistakes = []
    for key, node in nodes.items():
        if not isinstance(node, dict) or node.get("name") != "reasoning_gym":
            continue
        tasks, weights, configs = (
            node.get(name) or empty for name, empty in (("tasks", []), ("task_weights", []), ("task_configs", {}))
        )
        if isinstance(tasks, list) and isinstance(weights, list) and isinstance(configs, dict):
            mistakes += [f"{key}.{line}" for line in family_problems(tasks, weights, configs)]
    return mistakes


def tasks_without_examples(data: DataConfig) -> list[str]:
    """The families of reasoning-gym among `tasks` that a base of our own cannot be taught: there are no worked examples
    of them.
    """
    if data.name != "reasoning_gym" or family_problems(data.tasks, data.task_weights, data.task_configs):
        return []
    return [task for task in data.tasks if task not in WRITERS]


def _said_once(errors: list[str]) -> list[str]:
    """Without what stages repeat of a shared node: data.tasks says the same as stages.r1_zero.data.tasks."""
    return [error for error in errors if not (error.startswith("stages.") and error.split(".", 2)[2] in errors)]


def _with_suites(config: RunConfig) -> RunConfig:
    """Gives the evaluate stage the settings of its suites, with absolute paths; the others are none of its business."""

    def absolute(path: str | None) -> str | None:
        return str(Path(path).expanduser().resolve()) if path else path

    settings = {
        name: dataclasses.replace(
            config.eval[name], path=absolute(config.eval[name].path), standings=absolute(config.eval[name].standings)
        )
        for name in config.stages.evaluate.suites
    }
    directories = [
        absolute(path) if Path(path).expanduser().exists() else path for path in config.stages.evaluate.directories
    ]
    evaluate = dataclasses.replace(config.stages.evaluate, settings=settings, directories=directories)
    return dataclasses.replace(config, stages=dataclasses.replace(config.stages, evaluate=evaluate))


def _with_absolute_paths(config: RunConfig) -> RunConfig:
    def absolute(node):
        path = getattr(node, "path", None)
        changes = (
            {"sources": {name: absolute(source) for name, source in node.sources.items()}}
            if getattr(node, "sources", None)
            else {}
        )
        if path is not None and Path(path).expanduser().exists():
            changes["path"] = str(Path(path).expanduser().resolve())
        return dataclasses.replace(node, **changes) if changes else node

    stages = {}
    for spec in dataclasses.fields(config.stages):
        stage = getattr(config.stages, spec.name)
        nodes = {name: absolute(getattr(stage, name)) for name in ("data", "model", "traces") if hasattr(stage, name)}
        if hasattr(stage, "judge"):
            nodes["judge"] = _with_absolute_model(stage.judge)
        stages[spec.name] = dataclasses.replace(stage, **nodes)
    prepare = dataclasses.replace(
        config.prepare, against={name: absolute(source) for name, source in config.prepare.against.items()}
    )
    return dataclasses.replace(
        config,
        prepare=prepare,
        model=absolute(config.model),
        student=absolute(config.student),
        data=absolute(config.data),
        students={name: absolute(student) for name, student in config.students.items()},
        stages=StagesConfig(**stages),
    )


def _with_absolute_model(judge: JudgeConfig) -> JudgeConfig:
    if judge.backend != "vllm" or not Path(judge.model).expanduser().exists():
        return judge
    return dataclasses.replace(judge, model=str(Path(judge.model).expanduser().resolve()))


def _without_general_data(config: RunConfig) -> RunConfig:
    """What needs general and safety prompts is switched off where your own data has none."""
    stages = {
        spec.name: without_what_data_lacks(getattr(config.stages, spec.name))
        for spec in dataclasses.fields(config.stages)
    }
    return dataclasses.replace(config, stages=StagesConfig(**stages))


def uses_judge(stage, by_column: bool = True) -> bool:
    """Whether anything in this stage asks the judge; `by_column`: also where rows name their verifiers themselves, so
    that some may name it.
    """
    if isinstance(stage, RewardModelsConfig):
        return not (stage.data.has("preferences") and stage.data.has("labels"))
    if isinstance(stage, CollectConfig) and (
        stage.refine == "judge" or (stage.num_general and stage.general == "judge")
    ):
        return True
    sources = stage.data.all_sources.values() if getattr(stage, "data", None) else ()
    return any(source.verifier == "judge" or (by_column and source.verifier_column) for source in sources)


def _without_idle_judges(config: RunConfig) -> RunConfig:
    """A judge that a stage never asks is no part of that stage: another one does not make it anew."""
    changes = {
        spec.name: dataclasses.replace(stage, judge=JudgeConfig())
        for spec in dataclasses.fields(config.stages)
        if hasattr(stage := getattr(config.stages, spec.name), "judge") and not uses_judge(stage)
    }
    return dataclasses.replace(config, stages=dataclasses.replace(config.stages, **changes))


def notes(config: RunConfig) -> list[str]:
    """What the configuration implies and a reader of the plan should know."""
    lines = []
    if config.data.name == "reasoning_gym":
        lines.append(
            f"data from reasoning-gym ({', '.join(config.data.tasks)}): no general or safety prompts, "
            "so preference rewards are off"
        )
    if config.data.name == "file":
        where = ", ".join(str(source.path) for source in config.data.all_sources.values())
        if not config.data.has_general_prompts:
            lines.append(
                f"data from {where}: no general or safety prompts, so their shares and counts are 0 and preference "
                "rewards are off"
            )
        lines += [
            advice
            for name, source in config.data.all_sources.items()
            if (advice := pin_advice(source, f"data.sources.{name}" if config.data.sources else "data"))
        ]
        if not config.model.path:
            lines.append(
                "the recipe's own base knows only the words of the tiny world: other data needs model.path=DIRECTORY"
            )
    return lines
