"""What every trained stage has, and the supervised ones: pretraining, SFT, reward models."""

from typing import Literal

from stages.config.choices import Packing
from stages.config.data import EXAMPLES, SYSTEM, DataConfig, TracesConfig, prompting_mistakes
from stages.config.engines import DeepSpeedConfig, ModelConfig, OptimConfig, RolloutConfig
from stages.config.fields import Bool, Checked, Float, Int, config_class, setting
from stages.config.graders import JudgeConfig
from stages.config.lora import LoraConfig

PACKING = (
    "Whether sequences stand one after the other in a row, without padding and with variable-length attention. auto: "
    "where the model allows it, on a GPU in bf16 only."
)
DROPOUT = (
    "Whether the dropout that the model's configuration names acts in training: of attention, embeddings and hidden "
    "layers, LayerDrop, jitter of routers. The paper names none [ours]."
)
MICRO_BATCH_TOKENS = "Most tokens, padding included, of one forward pass of one process."


@config_class
class HealthConfig(Checked):
    """When a training stage raises an alarm (stages/training/health.py).

    An alarm is shown by `status` and in the report, and stops the stage if it is asked to.
    """

    on_alarm: Literal["warn", "stop", "rollback"] = setting(
        "warn",
        "warn: go on, but never from numbers that are not finite; stop: the stage fails before its next checkpoint; "
        "rollback: it goes back to the last good checkpoint and leaves out the batches that led to the alarm "
        "(skipped.jsonl) [ours].",
        operational=True,
    )
    max_rollbacks: Int = setting(
        3, "Rollbacks of a stage; the next one stops it [ours].", unit="rollbacks", ge=0, operational=True
    )
    kl_limit: Float = setting(1.0, "Largest policy/kl [ours].", unit="nats a token", gt=0, operational=True)
    entropy_floor: Float = setting(
        0.005, "Smallest policy/entropy [ours].", unit="nats a token", ge=0, operational=True
    )
    truncated_limit: Float = setting(
        0.5,
        "Largest share of completions that are cut at the length limit [ours].",
        unit="share",
        gt=0,
        le=1,
        operational=True,
    )
    mismatch_kl_limit: Float = setting(
        0.05,
        "Largest policy/mismatch_kl of trainer and sampler [ours].",
        unit="nats a token",
        gt=0,
        operational=True,
    )
    max_lr_ratio: Float = setting(
        10.0,
        "Largest learning rate, as a multiple of what is usual for the size of a model from outside "
        "(stages/config/learning_rates.py); the plan refuses a larger one [ours].",
        unit="ratio",
        gt=0,
        operational=True,
    )
    flat_steps: Int = setting(
        20,
        "Steps in a row with a mean reward of 0, or without a group of different rewards, after which there is an "
        "alarm [ours].",
        unit="optimizer steps",
        gt=0,
        operational=True,
    )

    def idle(self) -> dict[str, str]:
        """Only what rolls back counts its rollbacks."""
        return {} if self.on_alarm == "rollback" else {"max_rollbacks": f"on_alarm={self.on_alarm}"}


@config_class
class StageConfig(Checked):
    """What every trained stage has."""

    save_every: Int = setting(
        5,
        "Steps between resumable checkpoints; 0: only by time.",
        unit="optimizer steps",
        ge=0,
        operational=True,
    )
    save_every_minutes: Float = setting(
        0.0,
        "Time between resumable checkpoints by the clock of rank 0, whichever comes first; 0: only by steps.",
        unit="minutes",
        ge=0,
        operational=True,
    )
    save_in_background: Bool = setting(
        True,
        "Whether checkpoints are copied to host memory and written while training goes on; not with offload_optimizer.",
        operational=True,
    )
    keep_checkpoints: Int = setting(
        2, "Resumable checkpoints that are kept.", unit="checkpoints", gt=0, operational=True
    )
    health: HealthConfig = setting(HealthConfig, "Alarms.", operational=True)

    def mistakes(self) -> list[str]:
        """There are checkpoints."""
        if self.save_every or self.save_every_minutes:
            return []
        return ["save_every and save_every_minutes are both 0: a stage that is stopped would start over; set one"]


@config_class
class PretrainConfig(StageConfig):
    """A base model from scratch on a world's corpus, in recipes that are given no base model. Not in the paper."""

    model: ModelConfig = setting(ModelConfig, "Architecture.")
    data: DataConfig = setting(
        DataConfig, "Whose corpus: the tiny world's, or worked examples of families of reasoning-gym."
    )
    num_steps: Int = setting(1350, "Length of the stage [ours].", unit="optimizer steps", gt=0)
    batch_size: Int = setting(32, "Documents of an optimizer step [ours].", unit="documents", gt=0)
    fourier_scale: Float = setting(
        0.1,
        "Scale of the Fourier features that the embeddings of numbers start from; 0: they start at random [ours].",
        unit="none",
        ge=0,
    )
    textbook_phases: list[list[Float]] = setting(
        [[0, 0.65], [250, 0.40], [500, 0.12]],
        "Share of textbook documents from a step on: [from_step, share] in order [ours].",
        unit="[optimizer step, share]",
    )
    micro_batch_tokens: Int = setting(2048, MICRO_BATCH_TOKENS, unit="tokens", gt=0, operational=True)
    optim: OptimConfig = setting(OptimConfig, "Optimizer.")
    deepspeed: DeepSpeedConfig = setting(DeepSpeedConfig, "DeepSpeed.")

    def mistakes(self) -> list[str]:
        """Muon steps on whole matrices in fp32."""
        errors = super().mistakes()
        if self.optim.name != "muon":
            return errors
        if self.deepspeed.zero_stage > 0:
            return [
                *errors,
                "optim.name=muon needs whole matrices on every rank, deepspeed.zero_stage 0, "
                f"got {self.deepspeed.zero_stage}: choose zero0, or optim.name=adamw",
            ]
        if self.deepspeed.precision != "fp32":
            return [
                *errors,
                f"optim.name=muon steps in fp32, got deepspeed.precision {self.deepspeed.precision}: "
                "choose precision=fp32 here, or optim.name=adamw",
            ]
        return errors


@config_class
class SftConfig(StageConfig):
    """Supervised fine-tuning on prompt-completion pairs: cold start, rejection SFT and distillation.

    The loss is on the completion only.
    """

    traces: TracesConfig = setting(
        TracesConfig, "Your own prompts and completions to train on. Without a path: what the data stage made."
    )
    template: str = setting(
        "plain",
        "How prompts are put before this model, whatever template its teacher was sampled with; see data.template.",
    )
    system: str = setting("", SYSTEM)
    examples: str | None = setting(None, EXAMPLES)
    num_epochs: Float = setting(2.0, "Passes over the data: 2 to 3 [V2 B.4.2].", unit="epochs", gt=0)
    max_steps: Int = setting(0, "Most steps; 0: num_epochs decides [ours].", unit="optimizer steps", ge=0)
    batch_size: Int = setting(
        128,
        "Samples of an optimizer step: 128 for SFT [V2 B.4.2], 64 for distillation [V2 B.4.3].",
        unit="samples",
        gt=0,
    )
    max_tokens: Int = setting(
        32768, "Context length. Longer samples are dropped and counted [V2 B.4.2].", unit="tokens", gt=0
    )
    micro_batch_tokens: Int = setting(32768, MICRO_BATCH_TOKENS, unit="tokens", gt=0, operational=True)
    packing: Packing = setting("auto", PACKING, operational=True)
    dropout: Bool = setting(False, DROPOUT)
    optim: OptimConfig = setting(OptimConfig, "Optimizer: cosine from 5e-5 to 5e-6 [V2 B.4.2].")
    deepspeed: DeepSpeedConfig = setting(DeepSpeedConfig, "DeepSpeed.")
    lora: LoraConfig = setting(LoraConfig, "Adapters in the place of all weights.", added_later=True)

    def mistakes(self) -> list[str]:
        """The template is one, and examples are there; the optimizer suits what is trained."""
        return [
            *super().mistakes(),
            *prompting_mistakes(self.template, self.examples),
            *optimizer_mistakes(self.optim, self.lora),
            *layout_mistakes(self.packing, self.deepspeed),
            *tiles_mistakes(self.deepspeed, self.lora),
        ]


@config_class
class RewardModelsConfig(StageConfig):
    """Two reward models with a scalar head [N]: helpful and safety.

    The helpful model learns from pairs and reads the summary only; the safety model learns from single labels and reads
    the whole completion.
    """

    num_prompts: Int = setting(
        1000, "Helpfulness prompts that are sampled for pairs: 66,000 pairs in the paper [N].", unit="prompts", gt=0
    )
    samples_per_prompt: Int = setting(8, "Completions of each of them [ours].", unit="completions", gt=1)
    pairs_per_prompt: Int = setting(3, "Most pairs of one prompt [ours].", unit="pairs", gt=0)
    judged_per_prompt: Int = setting(
        12,
        "Most pairs of one prompt that are judged. Those that balance the lengths best are kept [ours].",
        unit="pairs",
        gt=0,
    )
    max_length_bias: Float = setting(
        0.1,
        "Largest difference between the mean lengths of chosen and rejected summaries, over the mean length. Pairs "
        "that lean most are left out: comparable lengths [N], how is [ours]; 10: any.",
        unit="share",
        gt=0,
    )
    judgments: Int = setting(
        4, "Judgments of a pair, in random positions, that are averaged [N].", unit="judgments", gt=0
    )
    min_gap: Float = setting(
        1.0, "Pairs are kept where the averaged gap is larger [N].", unit="points of the judge", ge=0
    )
    num_safety_prompts: Int = setting(
        1000,
        "Safety prompts that are sampled for single labels: 106,000 in the paper [N].",
        unit="prompts",
        gt=0,
    )
    safety_samples_per_prompt: Int = setting(4, "Completions of each of them [ours].", unit="completions", gt=0)
    safety_temperature: Float = setting(1.0, "Sampling temperature of the safety data [ours].", unit="none", gt=0)
    holdout_fraction: Float = setting(
        0.15, "Share of the prompts that is kept for measuring the accuracy [ours].", unit="share", gt=0, lt=1
    )
    max_completion_tokens: Int = setting(8192, "Longest completion in training [N].", unit="tokens", gt=0)
    batch_size: Int = setting(
        256, "Pairs, or labelled completions, of an optimizer step [N].", unit="pairs or completions", gt=0
    )
    num_steps: Int = setting(0, "Steps of the helpful model; 0: one epoch [N].", unit="optimizer steps", ge=0)
    safety_steps: Int = setting(0, "Steps of the safety model; 0: one epoch [N].", unit="optimizer steps", ge=0)
    reward_l2: Float = setting(
        0.0,
        "Weight of the squared reward in the pairwise loss, which keeps the scale in bounds [ours].",
        unit="weight",
        ge=0,
    )
    micro_batch_tokens: Int = setting(32768, MICRO_BATCH_TOKENS, unit="tokens", gt=0, operational=True)
    dropout: Bool = setting(False, DROPOUT)
    data: DataConfig = setting(DataConfig, "Prompts.")
    judge: JudgeConfig = setting(JudgeConfig, "Who judges where no rule can.")
    rollout: RolloutConfig = setting(RolloutConfig, "Sampling.")
    optim: OptimConfig = setting(OptimConfig, "Optimizer: learning rate 6e-6 [N].")
    deepspeed: DeepSpeedConfig = setting(DeepSpeedConfig, "DeepSpeed.")
    lora: LoraConfig = setting(LoraConfig, "Adapters in the place of all weights.", added_later=True)

    def mistakes(self) -> list[str]:
        """The optimizer suits what is trained."""
        return [
            *super().mistakes(),
            *optimizer_mistakes(self.optim, self.lora),
            *tiles_mistakes(self.deepspeed, self.lora),
        ]


def layout_mistakes(packing: str, deepspeed: DeepSpeedConfig) -> list[str]:
    """What is wrong where ranks hold rows together and these are padded."""
    if packing != "off" or deepspeed.sequence_parallel == 1:
        return []
    return ["packing=off pads rows, and deepspeed.sequence_parallel cuts packed ones: leave packing=auto, or use "
            "deepspeed.sequence_parallel=1"]  # fmt: skip


def tiles_mistakes(deepspeed: DeepSpeedConfig, lora: LoraConfig) -> list[str]:
    """What is wrong where feed-forward layers are computed twice, with other dropout the second time."""
    if deepspeed.mlp_tiles == 1 or not (lora.is_on and lora.dropout):
        return []
    return ["deepspeed.mlp_tiles computes each part again in the backward pass, where lora.dropout would leave out "
            "other inputs: use lora.dropout=0, or deepspeed.mlp_tiles=1"]  # fmt: skip


def optimizer_mistakes(optim: OptimConfig, lora: LoraConfig) -> list[str]:
    """What is wrong where Muon steps on whole matrices and only adapters are trained."""
    if optim.name != "muon" or not lora.is_on:
        return []
    return ["optim.name=muon steps on whole matrices, and lora trains factors of them: choose optim.name=adamw"]
