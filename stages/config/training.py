"""What every trained stage has, and the supervised ones: pretraining, SFT, reward models."""

from typing import Literal

from stages.config.choices import Packing, Template
from stages.config.data import DataConfig, TracesConfig
from stages.config.engines import DeepSpeedConfig, ModelConfig, OptimConfig, RolloutConfig
from stages.config.fields import Bool, Checked, Float, Int, config_class, setting
from stages.config.graders import JudgeConfig

PACKING = (
    "sequences one after the other in a row without padding, with variable-length attention; auto: "
    "where the model allows it, on a GPU in bf16 only"
)


@config_class
class HealthConfig(Checked):
    """When a training stage raises an alarm (`stages/training/health.py`): it is shown by status and in the report, and
    stops the stage if asked to.
    """

    on_alarm: Literal["warn", "stop", "rollback"] = setting(
        "warn",
        "warn: go on; stop: the stage fails before its next checkpoint; rollback: it goes back to the "
        "last good checkpoint and leaves out the batches that led there, see skipped.jsonl [ours]",
        operational=True,
    )
    max_rollbacks: Int = setting(3, "rollbacks of a stage; the next one stops it [ours]", ge=0, operational=True)
    kl_limit: Float = setting(1.0, "largest policy/kl, nats a token [ours]", gt=0, operational=True)
    entropy_floor: Float = setting(0.005, "least policy/entropy, nats a token [ours]", ge=0, operational=True)
    truncated_limit: Float = setting(
        0.5, "largest share of completions cut at the length limit [ours]", gt=0, le=1, operational=True
    )
    mismatch_kl_limit: Float = setting(
        0.05, "largest policy/mismatch_kl of trainer and sampler, nats a token [ours]", gt=0, operational=True
    )
    flat_steps: Int = setting(
        20,
        "steps in a row with a mean reward of 0, or without a group of different rewards [ours]",
        gt=0,
        operational=True,
    )


@config_class
class StageConfig(Checked):
    """What every trained stage has."""

    save_every: Int = setting(
        5, "optimizer steps between resumable checkpoints; 0 = only by time", ge=0, operational=True
    )
    save_every_minutes: Float = setting(
        0.0,
        "minutes between them, by the clock of rank 0, whichever comes first; 0 = only by steps",
        ge=0,
        operational=True,
    )
    save_in_background: Bool = setting(
        True,
        "checkpoints are copied to host memory and written while training goes on; not with offload_optimizer",
        operational=True,
    )
    keep_checkpoints: Int = setting(2, "resumable checkpoints kept", gt=0, operational=True)
    health: HealthConfig = setting(HealthConfig, "alarms", operational=True)

    def mistakes(self):
        return (
            []
            if self.save_every or self.save_every_minutes
            else ["save_every and save_every_minutes are both 0: a stage that is stopped would start over; set one"]
        )


@config_class
class PretrainConfig(StageConfig):
    """A base model from scratch on a world's corpus; only in recipes that have no base model. Not in the paper."""

    model: ModelConfig = setting(ModelConfig, "architecture")
    data: DataConfig = setting(
        DataConfig, "whose corpus: the tiny world's, or worked examples of families of reasoning-gym"
    )
    num_steps: Int = setting(1350, "optimizer steps", gt=0)
    batch_size: Int = setting(32, "documents a step", gt=0)
    fourier_scale: Float = setting(
        0.1, "scale of the Fourier features that number embeddings start from; 0 = random", ge=0
    )
    textbook_phases: list[list[Float]] = setting(
        [[0, 0.65], [250, 0.40], [500, 0.12]], "[from_step, share of textbook documents], in order"
    )
    micro_batch_tokens: Int = setting(
        2048, "tokens, padding included, of one forward pass of one process", gt=0, operational=True
    )
    optim: OptimConfig = setting(OptimConfig, "optimizer")
    deepspeed: DeepSpeedConfig = setting(DeepSpeedConfig, "DeepSpeed settings")

    def mistakes(self):
        errors = super().mistakes()
        if self.optim.name == "muon" and self.deepspeed.zero_stage > 0:
            return [
                *errors,
                "optim.name=muon needs whole matrices on every rank, deepspeed.zero_stage 0, "
                f"got {self.deepspeed.zero_stage}: "
                "choose zero0, or optim.name=adamw",
            ]
        if self.optim.name == "muon" and self.deepspeed.precision != "fp32":
            return [
                *errors,
                f"optim.name=muon steps in fp32, got deepspeed.precision {self.deepspeed.precision}: "
                "choose precision=fp32 here, or optim.name=adamw",
            ]
        return errors


@config_class
class SftConfig(StageConfig):
    """Supervised fine-tuning on prompt-completion pairs, loss on the completion only. Cold start, rejection SFT and
    distillation.
    """

    traces: TracesConfig = setting(
        TracesConfig, "your own prompts and completions to train on; path null: the recipe's data stage"
    )
    template: Template = setting(
        "plain", "how prompts are put before this model, whatever its teacher's template was; see data.template"
    )
    num_epochs: Float = setting(2.0, "passes over the data: 2-3 [V2 B.4.2]", gt=0)
    max_steps: Int = setting(0, "most optimizer steps; 0 = num_epochs decides", ge=0)
    batch_size: Int = setting(
        128, "samples an optimizer step: 128 for SFT [V2 B.4.2], 64 for distillation [V2 B.4.3]", gt=0
    )
    max_tokens: Int = setting(32768, "context length; longer samples are dropped and counted [V2 B.4.2]", gt=0)
    micro_batch_tokens: Int = setting(
        32768, "tokens, padding included, of one forward pass of one process", gt=0, operational=True
    )
    packing: Packing = setting("auto", PACKING, operational=True)
    optim: OptimConfig = setting(OptimConfig, "optimizer: cosine 5e-5 to 5e-6 [V2 B.4.2]")
    deepspeed: DeepSpeedConfig = setting(DeepSpeedConfig, "DeepSpeed settings")


@config_class
class RewardModelsConfig(StageConfig):
    """Two reward models with a scalar head [N]: helpful (pairs, summary only) and safety (point-wise, whole
    completion).
    """

    num_prompts: Int = setting(1000, "helpfulness prompts sampled for pairs (66,000 pairs in the paper) [N]", gt=0)
    samples_per_prompt: Int = setting(8, "completions of each", gt=1)
    pairs_per_prompt: Int = setting(3, "most pairs of one prompt", gt=0)
    judged_per_prompt: Int = setting(
        12, "most pairs of one prompt that are judged; those that balance the lengths best are kept [ours]", gt=0
    )
    max_length_bias: Float = setting(
        0.1,
        "largest difference of the mean lengths of chosen and rejected summaries, as a share of the mean length: "
        "pairs that "
        "lean most are left out [N: comparable lengths; how: ours]; 10 = any",
        gt=0,
    )
    judgments: Int = setting(4, "judgments of a pair, positions random, averaged [N]", gt=0)
    min_gap: Float = setting(1.0, "pairs are kept where the averaged gap is larger [N]", ge=0)
    num_safety_prompts: Int = setting(
        1000, "safety prompts sampled for point-wise labels (106,000 in the paper) [N]", gt=0
    )
    safety_samples_per_prompt: Int = setting(4, "completions of each", gt=0)
    safety_temperature: Float = setting(1.0, "sampling temperature of the safety data [ours]", gt=0)
    holdout_fraction: Float = setting(0.15, "share of prompts kept for measuring accuracy", gt=0, lt=1)
    max_completion_tokens: Int = setting(8192, "most tokens in training [N]", gt=0)
    batch_size: Int = setting(256, "pairs, or labelled completions, an optimizer step [N]", gt=0)
    num_steps: Int = setting(0, "optimizer steps of the helpful model; 0 = one epoch [N]", ge=0)
    safety_steps: Int = setting(0, "optimizer steps of the safety model; 0 = one epoch [N]", ge=0)
    reward_l2: Float = setting(0.0, "weight of the squared reward in the pairwise loss: keeps the scale [ours]", ge=0)
    micro_batch_tokens: Int = setting(
        32768, "tokens, padding included, of one forward pass of one process", gt=0, operational=True
    )
    data: DataConfig = setting(DataConfig, "prompts")
    judge: JudgeConfig = setting(JudgeConfig, "who judges where no rule can")
    rollout: RolloutConfig = setting(RolloutConfig, "sampling")
    optim: OptimConfig = setting(OptimConfig, "optimizer: 6e-6 [N]")
    deepspeed: DeepSpeedConfig = setting(DeepSpeedConfig, "DeepSpeed settings")
