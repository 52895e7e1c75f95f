"""Reinforcement learning: r1_zero, reasoning_rl, preference_rl."""

from typing import Literal

from stages.config.choices import Advantage, Correction, Loss, Packing
from stages.config.data import DataConfig
from stages.config.engines import DeepSpeedConfig, OptimConfig, RolloutConfig
from stages.config.fields import Bool, Checked, Float, Int, config_class, setting
from stages.config.graders import JudgeConfig, SandboxConfig
from stages.config.training import PACKING, StageConfig


@config_class
class RewardConfig(Checked):
    """Weights of the reward's parts; 0 leaves a part out. The reward is their weighted sum."""

    accuracy: Float = setting(1.0, "1 where the answer matches the reference [V2 B.3.1]", ge=0)
    format: Float = setting(
        1.0,
        "1 where the completion is <think>..</think><answer>..</answer>; 'the same weight' as accuracy [N eq. 4]",
        ge=0,
    )
    language: Float = setting(0.0, "share of the chain of thought's words in the prompt's language [N eq. 7]", ge=0)
    preference: Float = setting(0.0, "helpful or safety reward model, general prompts only [N eq. 10]", ge=0)
    accuracy_needs_format: Bool = setting(False, "count a right answer only in a well-formed completion [ours]")
    overlong: Float = setting(
        0.0,
        "weight of the soft penalty, 0 to -1, in the last overlong_buffer tokens before the limit [DAPO eq. 13]",
        ge=0,
    )
    overlong_buffer: Int = setting(4096, "tokens over which it falls from 0 to -1; 4,096 in DAPO", gt=0)
    repetition: Float = setting(
        0.0, "weight of the penalty, 0 to -1: the share of repeated n-grams in the completion [ours]", ge=0
    )
    repetition_ngram: Int = setting(4, "n of these n-grams, in words, numbers, signs and CJK characters [ours]", gt=0)
    general_format: Float = setting(1.0, "weight of the format part on helpful and safety prompts [N eq. 10]", ge=0)
    general_language: Float = setting(1.0, "weight of the language part on helpful and safety prompts [N eq. 8]", ge=0)


@config_class
class MixConfig(Checked):
    """Shares of prompt domains; they are normalised. The paper mixes general prompts in only for the last steps."""

    reasoning: Float = setting(1.0, "prompts with verifiable answers", ge=0)
    helpful: Float = setting(0.0, "general prompts judged by the helpful reward model", ge=0)
    safety: Float = setting(0.0, "safety prompts judged by the safety reward model", ge=0)

    def mistakes(self):
        return (
            []
            if self.reasoning + self.helpful + self.safety > 0
            else ["reasoning, helpful and safety are all 0: give one a share"]
        )


@config_class
class HackingConfig(Checked):
    """Reward-hacking watch: held-out accuracy against learned rewards. The rule is in stages/kinds/grpo/hacking.py."""

    every: Int = setting(
        0,
        "steps between measurements, a multiple of updates_per_rollout, in the steps that have general prompts; 0: "
        "no watch [ours]",
        ge=0,
    )
    num_prompts: Int = setting(32, "held-out reasoning prompts of a measurement, always the same [ours]", gt=0)
    samples_per_prompt: Int = setting(2, "completions of each, from the same seeds every time [ours]", gt=0)
    window: Int = setting(2, "measurements that are averaged before they are compared [ours]", gt=0)
    drop: Float = setting(
        0.05, "least fall of the accuracy that counts, however small its standard error [ours]", ge=0, le=1
    )
    on_hacking: Literal["warn", "stop", "end_phase"] = setting(
        "warn",
        "warn: go on; stop: the stage fails before its next checkpoint; end_phase: the remaining "
        "steps have reasoning prompts and rule rewards only [ours]",
    )


@config_class
class GrpoConfig(StageConfig):
    """Group relative policy optimisation [N eq. 1-3]; one step is one policy update [N Fig. 1]. r1_zero, reasoning_rl,
    preference_rl.
    """

    num_steps: Int = setting(
        10400, "optimizer steps: 10,400 for R1-Zero, 1,700 for the last stage [N]; stage 2 not published", gt=0
    )
    prompts_per_step: Int = setting(32, "unique prompts an optimizer step [N]", gt=0)
    group_size: Int = setting(16, "completions of one prompt, G [N]", gt=1)
    updates_per_rollout: Int = setting(
        16, "optimizer steps that one rollout is randomly split into: 8,192 / 512 [N]", gt=0
    )
    max_completion_tokens: list[list[Int]] = setting(
        [[0, 32768], [8200, 65536]], "[from_step, most tokens of a completion], in order [N]"
    )
    beta: Float = setting(0.001, "weight of the k3 KL to the reference, in the loss [N]", ge=0)
    reference_every: Int = setting(400, "steps between refreshes of the reference with the policy; 0 = never [N]", ge=0)
    clip_low: Float = setting(
        0.2, "the ratio is clipped at 1 - clip_low; not published for R1-Zero, 10 for stage 2 [N]", gt=0
    )
    clip_high: Float = setting(0.2, "the ratio is clipped at 1 + clip_high", gt=0)
    loss: Loss = setting(
        "grpo",
        "member of the family, see stages/modeling/losses.py: grpo (mean per sequence, as in DeepSeekMath), "
        "dapo and bnpo (mean over "
        "all tokens), dr_grpo (a constant), gspo (ratio of whole sequences), cispo (clipped weights)",
    )
    kl: Literal["k3", "k3_unbiased"] = setting(
        "k3", "k3 [N eq. 2]; k3_unbiased: times the ratio, right off policy too (DeepSeek-V3.2)"
    )
    scale_rewards: Advantage = setting(
        "group",
        "what advantages are divided by: the standard deviation of the group [N eq. 3], of the batch, or nothing",
    )
    advantage_eps: Float = setting(1e-4, "added to that standard deviation; not published [ours]", ge=0)
    mask_truncated: Bool = setting(
        False,
        "leave completions that hit the length limit out of the loss (DAPO); their rewards still count in the group",
    )
    agreement: Float = setting(
        1e-5,
        "mean |sampler - trainer| logprob of the probe up to which the sampler's logprobs are the old policy's: "
        "fp32 stays "
        "below; beyond it the trainer's are, and `correction` applies",
        ge=0,
    )
    correction: Correction = setting(
        "token_truncate",
        "importance weights for tokens drawn by a sampler that disagrees: of the token or "
        "the whole sequence, truncated (TIS) or masked (MIS) beyond correction_limit; none: the sampler's "
        "logprobs are always the old policy's",
    )
    correction_limit: Float = setting(2.0, "largest importance weight", ge=1)
    oversampling: Float = setting(
        0.0,
        "dynamic sampling (DAPO): prompts drawn for each group with signal that is still missing; 0 = off, "
        "groups are taken "
        "as they come",
        ge=0,
    )
    max_sampling_rounds: Int = setting(
        4, "most engine calls of dynamic sampling; then groups without signal fill the batch", gt=0
    )
    rewards: RewardConfig = setting(RewardConfig, "parts of the reward")
    reward_timeout_s: Float = setting(
        1800.0,
        "seconds after the end of sampling that the rewards of a group may take before the rank fails and says "
        "which; graders "
        "have shorter deadlines of their own",
        gt=0,
        operational=True,
    )
    mix: MixConfig = setting(MixConfig, "domains of the prompts")
    preference_last_steps: Int = setting(
        0, "general prompts and the preference reward only in the last N steps; 400 of 1,700 [N]; 0 = all steps", ge=0
    )
    hacking: HackingConfig = setting(HackingConfig, "held-out accuracy watched beside learned rewards")
    preference_clip: Float = setting(2.0, "limit of the standardised helpful reward [ours]", gt=0)
    micro_batch_tokens: Int = setting(
        32768, "tokens, padding included, of one forward pass of one process", gt=0, operational=True
    )
    packing: Packing = setting("auto", PACKING, operational=True)
    num_sample_prompts: Int = setting(
        2, "groups a step of which one completion is kept in samples.jsonl", ge=0, operational=True
    )
    data: DataConfig = setting(DataConfig, "prompts")
    sandbox: SandboxConfig = setting(SandboxConfig, "where programs are run")
    judge: JudgeConfig = setting(JudgeConfig, "who judges where no rule can")
    rollout: RolloutConfig = setting(RolloutConfig, "sampling")
    optim: OptimConfig = setting(OptimConfig, "optimizer")
    deepspeed: DeepSpeedConfig = setting(DeepSpeedConfig, "DeepSpeed settings")

    def mistakes(self):
        errors = super().mistakes()
        if self.judge.backend == "vllm" and any(
            source.verifier == "judge" for source in self.data.all_sources.values()
        ):
            errors.append(
                "judge.backend=vllm cannot grade while the policy is sampled in the same process: "
                "serve the model and choose judge=openai"
            )
        for name, schedule in (("max_completion_tokens", self.max_completion_tokens),):
            steps = [item[0] for item in schedule if len(item) == 2]
            if len(steps) != len(schedule) or not steps or steps[0] != 0 or steps != sorted(set(steps)):
                errors.append(f"{name} must be [[0, tokens], [step, tokens], ...] with rising steps, got {schedule}")
            elif any(item[1] <= 0 for item in schedule):
                errors.append(f"{name} must allow at least one token, got {schedule}")
        if self.num_steps < self.updates_per_rollout:
            errors.append(
                f"num_steps {self.num_steps} is less than updates_per_rollout {self.updates_per_rollout}: "
                "most of the one rollout would be wasted"
            )
        if self.optim.name == "muon":
            errors.append("optim.name=muon is for pretraining; use adamw here")
        if 0 < self.oversampling < 1:
            errors.append(
                f"oversampling must be 0 (off) or at least 1, got {self.oversampling}: "
                "fewer prompts than missing groups can never fill the batch"
            )
        if self.hacking.every % self.updates_per_rollout:
            errors.append(
                f"hacking.every {self.hacking.every} is not a multiple of updates_per_rollout "
                f"{self.updates_per_rollout}: held-out completions are "
                "sampled where a rollout begins"
            )
        if self.rollout.top_p != 1:
            errors.append(
                f"rollout.top_p must be 1 here, got {self.rollout.top_p}: logprobs of a cut distribution are not "
                "the policy's"
            )
        return errors
