"""The driver's part of the schema, and RunConfig: all that a run is told.

What stages are told is in `stages.config`. How Hydra gets the defaults is in `defaults.py`, how a composed tree becomes
a RunConfig in `resolve.py`, and what must hold between its parts in `rules.py`.
"""

import dataclasses
from pathlib import Path
from typing import Annotated, Any, Literal

from pipeline.configuration import graph
from stages.config import (
    Bool,
    Checked,
    CollectConfig,
    DataConfig,
    DeepSpeedConfig,
    EvaluateConfig,
    Float,
    GrpoConfig,
    HealthConfig,
    Int,
    JudgeConfig,
    KeysOf,
    ModelConfig,
    PrepareConfig,
    PretrainConfig,
    RewardModelsConfig,
    RolloutConfig,
    SandboxConfig,
    SftConfig,
    SuiteConfig,
    config_class,
    from_dict,
    setting,
    to_dict,
)


@config_class
class LauncherConfig(Checked):
    """How workers are started. Never part of a fingerprint."""

    name: Literal["local", "slurm"] = setting(
        "local", "local: torchrun on this machine; slurm: one torchrun a node by srun, inside an allocation"
    )
    num_processes: Int = setting(2, "ranks on each node: one a GPU, or two single-threaded ones on a small CPU", gt=0)
    num_nodes: Int = setting(1, "nodes (slurm)", gt=0)
    threads_per_process: Int = setting(1, "OMP_NUM_THREADS of a rank; 1 is the robust choice on a shared CPU", gt=0)
    rendezvous_port: Int = setting(29400, "port of the first node (slurm)", gt=0, lt=65536)
    grace_s: Float = setting(
        120.0, "seconds that a stage may take to write its checkpoint after the first Ctrl-C or SIGTERM", gt=0
    )
    stall_after_s: Float = setting(
        600.0, "status and the live view report a stage that has not moved for so many seconds", gt=0
    )
    collective_timeout_s: Float = setting(
        1800.0,
        "seconds that a rank waits for the others before it fails and says for whom; longer than the slowest rank "
        "may lag behind",
        gt=0,
    )
    min_free_gib: Float = setting(1.0, "a stage is not started with less free disk than this, GiB", ge=0)
    environment: dict[str, str] = setting({}, "more environment variables for the workers")

    def mistakes(self):
        return (
            ["num_nodes needs name=slurm: choose launcher=slurm"] if self.num_nodes > 1 and self.name != "slurm" else []
        )


@config_class
class TrackerConfig(Checked):
    name: Literal["none", "tensorboard"] = setting(
        "none", "tensorboard: metrics.jsonl is also written as event files under runs/<run>/tensorboard"
    )


@config_class
class SweepConfig(Checked):
    """What a sweep compares. Empty: evaluate's pass@1 of the last model where `evaluate` runs, else the last stage's
    mean reward.
    """

    stage: str | None = setting(None, "stage whose number is compared; for results.json: the model's stage")
    set: str | None = setting(
        None, "evaluation set, e.g. tiny_math; empty: a metric of the stage's manifest or metrics.jsonl"
    )
    metric: str | None = setting(None, "name of the number, e.g. pass@1 or reward/mean")
    direction: Literal["maximize", "minimize"] = setting("maximize", "how the leaderboard is sorted")


@config_class
class StagesConfig(Checked):
    base: PretrainConfig = setting(PretrainConfig, "the recipe's own base model")
    r1_zero: GrpoConfig = setting(GrpoConfig, "R1-Zero: RL from the base")
    cold_start_data: CollectConfig = setting(CollectConfig, "cold-start samples from R1-Zero")
    cold_start: SftConfig = setting(SftConfig, "R1 stage 1 (Dev1)")
    reasoning_rl: GrpoConfig = setting(GrpoConfig, "R1 stage 2 (Dev2)")
    rejection_data: CollectConfig = setting(CollectConfig, "rejection sampling from stage 2, and general data")
    rejection_sft: SftConfig = setting(SftConfig, "R1 stage 3 (Dev3)")
    reward_models: RewardModelsConfig = setting(RewardModelsConfig, "helpful and safety reward models")
    preference_rl: GrpoConfig = setting(GrpoConfig, "R1 stage 4 (R1)")
    student_base: PretrainConfig = setting(PretrainConfig, "the recipe's own student")
    distill: SftConfig = setting(SftConfig, "SFT of a student on the rejection data")
    student_rl: GrpoConfig = setting(
        GrpoConfig, "RL of a student's base instead, where student.rl is set [V2 Table 16]"
    )
    evaluate: EvaluateConfig = setting(EvaluateConfig, "every model on the held-out sets")


@config_class
class CostConfig(Checked):
    """What the ledger counts with (`status --cost`, report). Never part of a fingerprint."""

    price_per_hour: Float = setting(
        0.0,
        "USD for an hour of one rank: of a GPU where it has one, else of a processor; "
        "2 for an H800 in the paper [V2 Table 7]",
        ge=0,
    )


@config_class
class StudentConfig(ModelConfig):
    """A model that is distilled into: its base, and how its stages differ from `stages.distill` and the others [V2
    Table 6].
    """

    distill: Annotated[dict[str, Any], KeysOf(SftConfig)] = setting(
        {}, "keys of stages.distill that are different for this student"
    )
    base: Annotated[dict[str, Any], KeysOf(PretrainConfig)] = setting(
        {}, "keys of stages.student_base that are different for this student"
    )
    rl: Bool = setting(
        False, "where distill is selected, also train the same base by RL (stage student_rl), to compare with"
    )


@config_class
class RunConfig(Checked):
    """All that a run is told."""

    run: str = setting("tiny", "name of the run, a directory under runs_dir")
    runs_dir: str = setting("runs", "where runs are kept")
    recipe: str = setting("tiny", "name of the recipe")
    seed: Int = setting(0, "seed of every random draw", ge=0)
    force: Bool = setting(False, "redo the selected stages; what they made before is kept aside as <fp8>.old-N")
    orchestrator: Literal["prefect", "none"] = setting(
        "prefect", "prefect: a flow with a task run per stage; none: the same stages in a plain loop"
    )
    selected: dict[str, Bool] = setting({}, "stages to run; set by +stage=NAME")
    model: ModelConfig = setting(ModelConfig, "the base model")
    student: StudentConfig = setting(StudentConfig, "the model that is distilled into")
    students: dict[str, StudentConfig] = setting(
        {}, "several students by name, in the place of `student`: each has its own stages, distill_NAME and so on"
    )
    data: DataConfig = setting(DataConfig, "prompts of all stages")
    sandbox: SandboxConfig = setting(SandboxConfig, "programs of all stages")
    judge: JudgeConfig = setting(JudgeConfig, "who judges and refines, in all stages that ask for it")
    prepare: PrepareConfig = setting(PrepareConfig, "what `data prepare` drops and writes; no stage reads it")
    rollout: RolloutConfig = setting(RolloutConfig, "sampling of all stages")
    deepspeed: DeepSpeedConfig = setting(DeepSpeedConfig, "DeepSpeed settings of all stages")
    health: HealthConfig = setting(HealthConfig, "alarms of all stages")
    launcher: LauncherConfig = setting(LauncherConfig, "how workers are started")
    cost: CostConfig = setting(CostConfig, "prices of the cost ledger")
    tracker: TrackerConfig = setting(TrackerConfig, "where metrics go besides metrics.jsonl")
    sweep: SweepConfig = setting(SweepConfig, "what a sweep compares")
    eval: dict[str, SuiteConfig] = setting(
        {}, "evaluation suites, one a file of conf/eval/; stages.evaluate.suites (or eval=[...]) chooses some"
    )
    stages: StagesConfig = setting(StagesConfig, "the stages")

    @property
    def run_dir(self) -> Path:
        """The run's own directory, absolute."""
        return Path(self.runs_dir).expanduser().resolve() / self.run

    @property
    def all_students(self) -> dict[str, StudentConfig]:
        """The students by name; one without a name where `students` is empty."""
        return self.students or {"": self.student}

    @property
    def selection(self) -> list[str]:
        """The selected stages in order of execution.

        A student's stage is selected by its own name, or together with those of all students (+stage=distill). RL of a
        student's base goes with its distillation.
        """

        def is_on(family: str, student: str) -> bool:
            return bool(self.selected.get(family) or self.selected.get(f"{family}_{student}"))

        return [
            node.name
            for node in graph.nodes(self)
            if is_on(node.family or node.name, node.student)
            or (node.family == "student_rl" and is_on("distill", node.student))
        ]

    def node(self, stage: str) -> graph.Node:
        """The node of a stage in the graph of this configuration."""
        return next(node for node in graph.nodes(self) if node.name == stage)

    def stage(self, name: str) -> Any:
        """The configuration of a stage: the shared one, for a student's stage with what the student changes.

        None for a stage that has no configuration (report). Raises ConfigError where a student's changes are mistaken.
        """
        node = self.node(name)
        shared = getattr(self.stages, node.family or name, None)
        if not node.family:
            return shared
        student = self.all_students[node.student]
        key = {"distill": "distill", "student_base": "base"}.get(node.family)
        changes = getattr(student, key) if key else {}
        if node.family == "student_base" and node.student:
            model = {field.name: getattr(student, field.name) for field in dataclasses.fields(ModelConfig)}
            changes = {"model": model} | changes
        if not changes:
            return shared
        where = f"students.{node.student}" if node.student else "student"
        return from_dict(type(shared), _merged(to_dict(shared), changes), f"{where}.{key}")

    def model_of(self, stage: str) -> ModelConfig:
        """The base model that a stage's models descend from."""
        node = self.node(stage)
        return self.all_students[node.student] if node.family else self.model


def _merged(tree: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """`tree` with the values of `changes`, mapping by mapping."""
    merged = dict(tree)
    for key, value in changes.items():
        is_section = isinstance(value, dict) and isinstance(tree.get(key), dict)
        merged[key] = _merged(tree[key], value) if is_section else value
    return merged
