"""The driver's part of the schema, and RunConfig: all that a run is told.

What stages are told is in `stages.config`. How Hydra gets the defaults is in `defaults.py`, how a composed tree becomes
a RunConfig in `resolve.py`, and what must hold between its parts in `rules.py`.
"""

import dataclasses
from pathlib import Path
from typing import Annotated, Any, Literal

from pipeline.configuration import graph
from pipeline.configuration.orchestration import PrefectConfig, RetryConfig
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
    LoraConfig,
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
from stages.config.mistakes import hint


@config_class
class LauncherConfig(Checked):
    """How workers are started. It is never part of a fingerprint."""

    name: Literal["local", "slurm", "torchrun"] = setting(
        "local",
        "local: torchrun on this machine; slurm: one torchrun on each node by srun, inside an allocation; torchrun: "
        "one here and one on each machine where `r1 join` runs.",
    )
    device: Literal["any", "gpu"] = setting(
        "any",
        "any: GPUs where there are some, else the CPU; gpu: a machine without one is refused (launcher=gpu).",
    )
    num_processes: Int = setting(
        2, "Ranks on each node: one for each GPU, or two single-threaded ones on a small CPU.", unit="ranks", gt=0
    )
    num_nodes: Int = setting(1, "Machines (name=slurm or torchrun).", unit="nodes", gt=0)
    threads_per_process: Int = setting(
        1, "OMP_NUM_THREADS of a rank; 1 is the robust choice on a shared CPU.", unit="threads", gt=0
    )
    rendezvous_port: Int = setting(
        29400,
        "Port of the first node, where ranks find each other (name=slurm or torchrun).",
        unit="none",
        gt=0,
        lt=65536,
    )
    address: str | None = setting(
        None,
        "Address by which other machines reach this one (name=torchrun); null: its host name. `r1 join --address` has "
        "the same for the others.",
    )
    join_timeout_s: Float = setting(
        900.0,
        "Time that a stage's launch waits for all machines (name=torchrun).",
        unit="seconds",
        gt=0,
    )
    lost_after_s: Float = setting(
        60.0,
        "Time after which a machine that gives no sign of life is taken for lost, and the launch is ended "
        "(name=torchrun). A shared disk may show a file some seconds late.",
        unit="seconds",
        gt=0,
    )
    grace_s: Float = setting(
        120.0,
        "Time that a stage may take to write its checkpoint after the first Ctrl-C or SIGTERM.",
        unit="seconds",
        gt=0,
    )
    stall_after_s: Float = setting(
        600.0,
        "Time after which `status` and the live view report a stage that has not moved.",
        unit="seconds",
        gt=0,
    )
    collective_timeout_s: Float = setting(
        1800.0,
        "Time that a rank waits for the others before it fails and says for whom. It must be longer than the slowest "
        "rank may lag behind.",
        unit="seconds",
        gt=0,
    )
    gpu_memory_gib: Float | None = setting(
        None,
        "Memory of each GPU, with which the plan decides what fits; about 79 of a card that is sold with 80 GB. Where "
        "this machine's GPUs have less, that counts. null: what they have; where they are elsewhere, nothing is "
        "refused.",
        unit="GiB",
        gt=0,
    )
    host_memory_gib: Float | None = setting(
        None,
        "Memory of each machine, with which the plan decides what fits. Where this machine has less (name=local), that "
        "counts. null: what it has; of other machines nothing is known, and nothing is refused.",
        unit="GiB",
        gt=0,
    )
    min_free_gib: Float = setting(1.0, "Free disk below which no stage is started.", unit="GiB", ge=0)
    environment: dict[str, str] = setting({}, "More environment variables for the workers, by name.")

    def mistakes(self) -> list[str]:
        """One machine has one node."""
        if self.num_nodes > 1 and self.name == "local":
            return ["num_nodes needs several machines: choose launcher=slurm or launcher=torchrun"]
        return []

    def idle(self) -> dict[str, str]:
        """Machines that find each other are those of slurm and torchrun."""
        shared = () if self.name in ("slurm", "torchrun") else ("num_nodes", "rendezvous_port")
        own = () if self.name == "torchrun" else ("address", "join_timeout_s", "lost_after_s")
        return dict.fromkeys((*shared, *own), f"name={self.name}")


@config_class
class TrackerConfig(Checked):
    """Where metrics go, live, besides metrics.jsonl. It is never part of a fingerprint."""

    name: Literal["none", "tensorboard", "wandb", "trackio", "mlflow"] = setting(
        "none",
        "Where metrics, completions, alarms and the report are sent while stages run. tracker=[wandb,tensorboard] "
        "chooses several. tensorboard: event files under runs/<run>/tensorboard.",
    )
    use: dict[str, Bool] = setting({}, "Trackers that are on, by name; tracker=NAME and tracker=[A,B] set it.")
    project: str = setting("r1-recipe", "Project (wandb, trackio) or experiment (mlflow) that holds the runs.")
    group: str | None = setting(None, "What the runs of one recipe are grouped by; null: <run>-<recipe>.")
    entity: str | None = setting(None, "User or team of wandb; null: the one that the key belongs to.")
    uri: str | None = setting(
        None,
        "Tracking URI of mlflow, such as http://HOST:5000 or sqlite:////PATH/mlflow.db; null: MLFLOW_TRACKING_URI, "
        "else <runs_dir>/mlflow/mlflow.db.",
    )
    completions: Int = setting(
        8, "Sampled completions that a step sends as a table, of those in samples.jsonl.", unit="completions", ge=0
    )
    timeout_s: Float = setting(
        60.0,
        "Time after which a tracker that does not answer is reported and, at the end of the run, not waited for. "
        "Stages never wait for it.",
        unit="seconds",
        gt=0,
    )

    @property
    def names(self) -> list[str]:
        """The trackers that are on."""
        chosen = [name for name, is_on in self.use.items() if is_on]
        return list(dict.fromkeys([*chosen, self.name] if self.name != "none" else []))

    def mistakes(self) -> list[str]:
        """Only trackers that there are."""
        known = ("tensorboard", "wandb", "trackio", "mlflow")
        listed = ", ".join(known)
        return [f"use.{name}: no such tracker; trackers are {listed}" for name in self.use if name not in known]


@config_class
class NotifyConfig(Checked):
    """Who is told of the end of a run, of a failure and of alarms. It is never part of a fingerprint."""

    command: str | None = setting(
        None, "Command for the shell; it finds R1_EVENT, R1_RUN, R1_STAGE, R1_TITLE and R1_MESSAGE in its environment."
    )
    webhook: str | None = setting(
        None, "Address to which JSON is posted, in a form that Slack, Mattermost and Discord show as a message."
    )
    desktop: Bool = setting(False, "Show a notification on this desktop.")
    on: list[str] = setting(
        ["end", "alarm", "failure"],
        "What is told: end (the command is done; of a sweep all its jobs), alarm, failure.",
    )

    def mistakes(self) -> list[str]:
        """Only events that there are, and an address."""
        known = ("end", "alarm", "failure")
        found = [
            f"on: {event!r} is none of {', '.join(known)}{hint(event, known)}"
            for event in self.on
            if event not in known
        ]
        if self.webhook is not None and not self.webhook.startswith(("http://", "https://")):
            found.append("webhook: an address begins with http:// or https://")
        return found


@config_class
class SweepConfig(Checked):
    """What a sweep compares.

    Where nothing is set: pass@1 of the last model where `evaluate` runs, else the mean reward of the last stage.
    """

    stage: str | None = setting(
        None, "Stage whose number is compared; for a number of results.json, the stage that made the model."
    )
    set: str | None = setting(
        None, "Evaluation set, e.g. tiny_math; null: the number is a metric of the stage's manifest or metrics.jsonl."
    )
    metric: str | None = setting(None, "Name of the number, e.g. pass@1 or reward/mean.")
    direction: Literal["maximize", "minimize"] | None = setting(
        None,
        "Which numbers stand first in the leaderboard; null: the lowest loss, the highest reward or accuracy. Of other "
        "metrics a sweep has to be told.",
    )
    watch: str | None = setting(
        None,
        "Metric of metrics.jsonl by which a pruner ends bad jobs early (hydra/sweeper/pruner); null: the compared one, "
        "or, where an evaluation is compared, the stage's mean reward or loss.",
    )


@config_class
class StagesConfig(Checked):
    """The stages; what each has in common with others it takes from the shared sections at the top."""

    base: PretrainConfig = setting(PretrainConfig, "The recipe's own base model.")
    r1_zero: GrpoConfig = setting(GrpoConfig, "R1-Zero: RL from the base [N].")
    cold_start_data: CollectConfig = setting(CollectConfig, "Cold-start samples from R1-Zero [V2 B.3.2].")
    cold_start: SftConfig = setting(SftConfig, "First stage of R1 (Dev1): SFT on the cold-start data [N].")
    reasoning_rl: GrpoConfig = setting(GrpoConfig, "Second stage of R1 (Dev2): RL on reasoning [N].")
    rejection_data: CollectConfig = setting(
        CollectConfig, "Rejection sampling from the second stage, and general data [V2 B.3.3]."
    )
    rejection_sft: SftConfig = setting(SftConfig, "Third stage of R1 (Dev3): SFT on the rejection data [N].")
    reward_models: RewardModelsConfig = setting(RewardModelsConfig, "Helpful and safety reward models [N].")
    preference_rl: GrpoConfig = setting(GrpoConfig, "Fourth stage of R1 (R1): RL with preference rewards [N].")
    student_base: PretrainConfig = setting(PretrainConfig, "The recipe's own student.")
    distill: SftConfig = setting(SftConfig, "SFT of a student on the rejection data [V2 B.4.3].")
    student_rl: GrpoConfig = setting(
        GrpoConfig, "RL of a student's base instead, where student.rl is set [V2 Table 16]."
    )
    evaluate: EvaluateConfig = setting(EvaluateConfig, "Every model on the held-out sets [V2 D.1].")


@config_class
class CostConfig(Checked):
    """What the ledger counts with (`status --cost`, report). It is never part of a fingerprint."""

    price_per_hour: Float = setting(
        0.0,
        "Price of an hour of one rank: of a GPU where it has one, else of a processor; 2 for an H800 [V2 Table 7].",
        unit="USD an hour",
        ge=0,
    )


@config_class
class StudentConfig(ModelConfig):
    """A model that is distilled into [V2 Table 6]: its base, and how its stages differ from those in `stages`."""

    distill: Annotated[dict[str, Any], KeysOf(SftConfig)] = setting(
        {}, "Keys of stages.distill that are different for this student."
    )
    base: Annotated[dict[str, Any], KeysOf(PretrainConfig)] = setting(
        {}, "Keys of stages.student_base that are different for this student."
    )
    rl: Bool = setting(
        False, "Where distill is selected, also train the same base by RL (stage student_rl), to compare with."
    )


@config_class
class RunConfig(Checked):
    """All that a run is told."""

    run: str = setting("tiny", "Name of the run, a directory under runs_dir.")
    runs_dir: str = setting("runs", "Directory where runs are kept.")
    recipe: str = setting("tiny", "Name of the recipe, a file of conf/recipe/.")
    seed: Int = setting(0, "Seed of every random draw.", unit="none", ge=0)
    force: Bool = setting(
        False,
        "Redo the selected stages. What they made before is kept aside as <short fingerprint>.old-N.",
    )
    force_memory: Bool = setting(
        False,
        "Start stages that need more memory than there is by the plan's arithmetic: what the plan refuses is then a "
        "note.",
    )
    reuse: Bool = setting(
        True,
        "Take stages over that another run below runs_dir has made with the same fingerprint; false: make them again.",
    )
    orchestrator: Literal["prefect", "none"] = setting(
        "prefect", "prefect: a flow with a task run for each stage; none: the same stages in a plain loop."
    )
    prefect: PrefectConfig = setting(PrefectConfig, "What Prefect's page shows.")
    retry: RetryConfig = setting(RetryConfig, "Trying again when a machine or a server was lost.")
    selected: dict[str, Bool] = setting({}, "Stages that are run, by name; +stage=NAME sets it.")
    model: ModelConfig = setting(ModelConfig, "The base model.")
    student: StudentConfig = setting(StudentConfig, "The model that is distilled into.")
    students: dict[str, StudentConfig] = setting(
        {}, "Several students by name, in the place of `student`. Each has stages of its own: distill_NAME and so on."
    )
    data: DataConfig = setting(DataConfig, "Prompts of all stages.")
    sandbox: SandboxConfig = setting(SandboxConfig, "Where the programs of all stages are run.")
    judge: JudgeConfig = setting(JudgeConfig, "Who judges and refines, in all stages that ask for it.")
    prepare: PrepareConfig = setting(PrepareConfig, "What `data prepare` drops and writes. No stage reads it.")
    rollout: RolloutConfig = setting(RolloutConfig, "Sampling of all stages.")
    deepspeed: DeepSpeedConfig = setting(DeepSpeedConfig, "DeepSpeed of all stages.")
    lora: LoraConfig = setting(LoraConfig, "Adapters of all stages that train, but pretraining.", added_later=True)
    health: HealthConfig = setting(HealthConfig, "Alarms of all stages.")
    launcher: LauncherConfig = setting(LauncherConfig, "How workers are started.")
    cost: CostConfig = setting(CostConfig, "Prices of the cost ledger.")
    tracker: TrackerConfig = setting(TrackerConfig, "Where metrics go besides metrics.jsonl.")
    notify: NotifyConfig = setting(NotifyConfig, "Who is told of the end, of a failure and of alarms.")
    sweep: SweepConfig = setting(SweepConfig, "What a sweep compares.")
    eval: dict[str, SuiteConfig] = setting(
        {},
        "Evaluation suites by name, one for each file of conf/eval/; stages.evaluate.suites (or eval=[...]) chooses.",
    )
    stages: StagesConfig = setting(StagesConfig, "The stages.")

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
