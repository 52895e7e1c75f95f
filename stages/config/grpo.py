"""Reinforcement learning: r1_zero, reasoning_rl, preference_rl."""

from typing import Literal

from stages.config.choices import Advantage, Correction, Loss, Packing
from stages.config.data import DataConfig
from stages.config.engines import DeepSpeedConfig, OptimConfig, RolloutConfig
from stages.config.fields import Bool, Checked, Float, Int, config_class, setting
from stages.config.graders import JudgeConfig, SandboxConfig
from stages.config.lora import LoraConfig
from stages.config.training import DROPOUT, MICRO_BATCH_TOKENS, PACKING, StageConfig, layout_mistakes, tiles_mistakes


@config_class
class RewardConfig(Checked):
    """Weights of the reward's parts. The reward is their weighted sum; a part with weight 0 is left out."""

    accuracy: Float = setting(1.0, "1 where the answer matches the reference [V2 B.3.1].", unit="weight", ge=0)
    format: Float = setting(
        1.0,
        "1 where the completion is <think>..</think><answer>..</answer>; 'the same weight' as accuracy [N eq. 4].",
        unit="weight",
        ge=0,
    )
    language: Float = setting(
        0.0, "Share of the chain of thought's words that are in the prompt's language [N eq. 7].", unit="weight", ge=0
    )
    wordless_language: Float = setting(
        0.0,
        "The part `language` of a thought without words, such as '6 * 7 = 42': it is in no language, and equation 7 "
        "is 0/0. 0 teaches to write words, 1 leaves equations alone [ours].",
        unit="fraction",
        ge=0,
        le=1,
    )
    preference: Float = setting(
        0.0, "Reward of the helpful or the safety model, on general prompts only [N eq. 10].", unit="weight", ge=0
    )
    accuracy_needs_format: Bool = setting(False, "Count a right answer only in a well-formed completion [ours].")
    overlong: Float = setting(
        0.0,
        "Soft penalty, from 0 to -1 over the last overlong_buffer tokens before the length limit [DAPO eq. 13].",
        unit="weight",
        ge=0,
    )
    overlong_buffer: Int = setting(
        4096, "Length over which that penalty falls from 0 to -1; 4,096 in [DAPO].", unit="tokens", gt=0
    )
    repetition: Float = setting(
        0.0,
        "Penalty from 0 to -1: the share of repeated n-grams in the completion [ours].",
        unit="weight",
        ge=0,
    )
    repetition_ngram: Int = setting(
        4,
        "Length of these n-grams [ours].",
        unit="words, numbers and signs; where words have no spaces, as many characters",
        gt=0,
    )
    general_format: Float = setting(
        1.0, "The part `format` on helpful and safety prompts [N eq. 10].", unit="weight", ge=0
    )
    general_language: Float = setting(
        1.0, "The part `language` on helpful and safety prompts [N eq. 8].", unit="weight", ge=0
    )

    def idle(self) -> dict[str, str]:
        """The settings of parts without a weight."""
        needs = {"overlong_buffer": "overlong", "repetition_ngram": "repetition", "wordless_language": "language"}
        return {name: f"{part}=0" for name, part in needs.items() if not getattr(self, part)}


@config_class
class MixConfig(Checked):
    """Shares of the domains of prompts; they are normalised.

    The paper mixes general prompts in only for the last steps (`preference_last_steps`).
    """

    reasoning: Float = setting(1.0, "Prompts with answers that can be verified [N].", unit="weight", ge=0)
    helpful: Float = setting(0.0, "General prompts, judged by the helpful reward model [N].", unit="weight", ge=0)
    safety: Float = setting(0.0, "Safety prompts, judged by the safety reward model [N].", unit="weight", ge=0)

    def mistakes(self) -> list[str]:
        """Some domain has a share."""
        if self.reasoning + self.helpful + self.safety > 0:
            return []
        return ["reasoning, helpful and safety are all 0: give one a share"]


@config_class
class HackingConfig(Checked):
    """The watch for reward hacking: held-out accuracy against learned rewards (stages/kinds/grpo/hacking.py)."""

    every: Int = setting(
        0,
        "Steps between measurements, a multiple of updates_per_rollout, in the steps that have general prompts; 0: no "
        "watch [ours].",
        unit="optimizer steps",
        ge=0,
    )
    num_prompts: Int = setting(
        32, "Held-out reasoning prompts of a measurement, always the same [ours].", unit="prompts", gt=0
    )
    samples_per_prompt: Int = setting(
        2, "Completions of each of them, from the same seeds every time [ours].", unit="completions", gt=0
    )
    window: Int = setting(
        2, "Measurements that are averaged before they are compared [ours].", unit="measurements", gt=0
    )
    drop: Float = setting(
        0.05,
        "Smallest fall of the accuracy that counts, however small its standard error is [ours].",
        unit="share",
        ge=0,
        le=1,
    )
    on_hacking: Literal["warn", "stop", "end_phase"] = setting(
        "warn",
        "warn: go on; stop: the stage fails before its next checkpoint; end_phase: the remaining steps have reasoning "
        "prompts and rule rewards only [ours].",
    )

    def idle(self) -> dict[str, str]:
        """Everything, where nothing is watched."""
        names = ("num_prompts", "samples_per_prompt", "window", "drop", "on_hacking")
        return {} if self.every else dict.fromkeys(names, "every=0: there is no watch")


@config_class
class GrpoConfig(StageConfig):
    """Group relative policy optimisation [N eq. 1-3]: r1_zero, reasoning_rl, preference_rl.

    One step is one policy update [N Fig. 1].
    """

    num_steps: Int = setting(
        10400,
        "Length of the stage: 10,400 for R1-Zero, 1,700 for the last stage [N]; not published for the second stage.",
        unit="optimizer steps",
        gt=0,
    )
    prompts_per_step: Int = setting(32, "Unique prompts of an optimizer step [N].", unit="prompts", gt=0)
    group_size: Int = setting(16, "Completions of one prompt, G [N].", unit="completions", gt=1)
    updates_per_rollout: Int = setting(
        16,
        "Optimizer steps that one rollout is randomly split into: 8,192 completions in steps of 512 [N].",
        unit="optimizer steps",
        gt=0,
    )
    max_completion_tokens: list[list[Int]] = setting(
        [[0, 32768], [8200, 65536]],
        "Longest completion from a step on: [from_step, tokens] in order [N].",
        unit="[optimizer step, tokens]",
    )
    beta: Float = setting(0.001, "Weight of the k3 KL to the reference, in the loss [N].", unit="weight", ge=0)
    reference_every: Int = setting(
        400,
        "Steps after which the policy becomes the new reference; 0: never [N].",
        unit="optimizer steps",
        ge=0,
    )
    clip_low: Float = setting(
        0.2,
        "The ratio is clipped at 1 - clip_low: 10 for the second stage [N]; not published for R1-Zero.",
        unit="ratio",
        gt=0,
    )
    clip_high: Float = setting(
        0.2,
        "The ratio is clipped at 1 + clip_high: 10 for the second stage [N]; not published for R1-Zero.",
        unit="ratio",
        gt=0,
    )
    dual_clip: Float = setting(
        0.0,
        "Where the advantage is negative, the largest ratio that counts, which nothing else bounds there (dual clip, "
        "Ye et al. 2020; 3 is common); 0: any [ours].",
        unit="ratio",
        ge=0,
    )
    loss: Loss = setting(
        "grpo",
        "Member of the GRPO family [N eq. 1] in stages/modeling/losses.py. grpo: mean over each sequence, as in "
        "DeepSeekMath; dapo and bnpo: mean over all tokens; dr_grpo: divided by a constant; gspo: the ratio is of "
        "whole sequences; cispo: clipped weights.",
    )
    kl: Literal["k3", "k3_unbiased"] = setting(
        "k3",
        "k3: the estimator of the paper [N eq. 2]; k3_unbiased: k3 times the ratio, which is right off policy too "
        "(DeepSeek-V3.2).",
    )
    scale_rewards: Advantage = setting(
        "group",
        "What advantages are divided by. group: the standard deviation of the group [N eq. 3]; batch: that of the "
        "batch; none: nothing.",
    )
    advantage_eps: Float = setting(1e-4, "Added to that standard deviation; not published [ours].", unit="reward", ge=0)
    mask_truncated: Bool = setting(
        False,
        "Leave completions that hit the length limit out of the loss [DAPO]. Their rewards still count in the group.",
    )
    agreement: Float = setting(
        1e-5,
        "Mean |sampler - trainer| log-probability of the probe up to which the sampler's log-probabilities are the old "
        "policy's; fp32 stays below. Beyond it the trainer's are, and `correction` applies [ours].",
        unit="nats a token",
        ge=0,
    )
    correction: Correction = setting(
        "token_truncate",
        "Importance weights for tokens drawn by a sampler that disagrees: of the token or the whole sequence, "
        "truncated (TIS) or masked (MIS) beyond correction_limit; none: the sampler's log-probabilities are always the "
        "old policy's [ours].",
    )
    correction_limit: Float = setting(2.0, "Largest importance weight [ours].", unit="ratio", ge=1)
    oversampling: Float = setting(
        0.0,
        "Dynamic sampling [DAPO]: prompts that are drawn for each group with signal that is still missing; 0: off, "
        "groups are taken as they come.",
        unit="prompts for each missing group",
        ge=0,
    )
    max_sampling_rounds: Int = setting(
        4,
        "Most engine calls of dynamic sampling. After them groups without signal fill the batch [ours].",
        unit="engine calls",
        gt=0,
    )
    rewards: RewardConfig = setting(RewardConfig, "Parts of the reward.")
    reward_timeout_s: Float = setting(
        1800.0,
        "Longest that the rewards of a group may take after the end of sampling before the rank fails and says which. "
        "Graders have shorter deadlines of their own.",
        unit="seconds",
        gt=0,
        operational=True,
    )
    mix: MixConfig = setting(MixConfig, "Domains of the prompts.")
    preference_last_steps: Int = setting(
        0,
        "General prompts and the preference reward come only in the last steps, so many: 400 of 1,700 [N]; 0: in all "
        "steps.",
        unit="optimizer steps",
        ge=0,
    )
    hacking: HackingConfig = setting(HackingConfig, "Watch of the held-out accuracy beside learned rewards.")
    preference_clip: Float = setting(
        2.0, "Limit of the standardised helpful reward, to both sides [ours].", unit="standard deviations", gt=0
    )
    micro_batch_tokens: Int = setting(32768, MICRO_BATCH_TOKENS, unit="tokens", gt=0, operational=True)
    packing: Packing = setting("auto", PACKING, operational=True)
    dropout: Bool = setting(
        False,
        f"{DROPOUT} With it the trainer's log-probabilities are not those of the policy that was sampled.",
    )
    num_sample_prompts: Int = setting(
        2,
        "Groups of a step of which one completion is kept in samples.jsonl.",
        unit="groups",
        ge=0,
        operational=True,
    )
    data: DataConfig = setting(DataConfig, "Prompts.")
    sandbox: SandboxConfig = setting(SandboxConfig, "Where programs are run.")
    judge: JudgeConfig = setting(JudgeConfig, "Who judges where no rule can.")
    rollout: RolloutConfig = setting(RolloutConfig, "Sampling.")
    optim: OptimConfig = setting(OptimConfig, "Optimizer.")
    deepspeed: DeepSpeedConfig = setting(DeepSpeedConfig, "DeepSpeed.")
    lora: LoraConfig = setting(LoraConfig, "Adapters in the place of all weights.", added_later=True)

    @property
    def most_completions(self) -> int:
        """Most completions of a prompt that are asked for at once."""
        return max(self.group_size, self.hacking.samples_per_prompt if self.hacking.every else 0)

    @property
    def draws_ahead(self) -> bool:
        """Whether the next rollout is drawn while this one trains."""
        return self.rollout.engine == "server" and self.rollout.server.max_staleness > 0

    def mistakes(self) -> list[str]:
        """Rules of reinforcement learning, besides those of every trained stage."""
        errors = [*super().mistakes(), *self._mistakes_in_length_schedule()]
        errors += layout_mistakes(self.packing, self.deepspeed) + tiles_mistakes(self.deepspeed, self.lora)
        asks_judge = any(source.verifier == "judge" for source in self.data.all_sources.values())
        if self.judge.backend == "vllm" and asks_judge:
            errors.append(
                "judge.backend=vllm cannot grade while the policy is sampled in the same process: "
                "serve the model and choose judge=openai"
            )
        if self.num_steps < self.updates_per_rollout:
            errors.append(
                f"num_steps {self.num_steps} is less than updates_per_rollout {self.updates_per_rollout}: "
                "most of the one rollout would be wasted"
            )
        if 0 < self.dual_clip <= 1:
            errors.append(
                f"dual_clip must be 0 (off) or over 1, got {self.dual_clip}: "
                "a bound of 1 or less would take the gradient from tokens that the policy has not changed"
            )
        if self.dual_clip and self.loss == "cispo":
            errors.append("dual_clip is not for loss=cispo, whose weights are bounded already: leave it at 0")
        errors += self._mistakes_of_servers()
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
                f"{self.updates_per_rollout}: held-out completions are sampled where a rollout begins"
            )
        if self.rollout.top_p != 1:
            errors.append(
                f"rollout.top_p must be 1 here, got {self.rollout.top_p}: logprobs of a cut distribution are not "
                "the policy's"
            )
        return errors

    def idle(self) -> dict[str, str]:
        """What belongs to something that is switched off."""
        found: dict[str, str] = {}
        if not self.beta:
            found |= dict.fromkeys(("reference_every", "kl"), "beta=0: there is no reference")
        if not self.oversampling:
            found["max_sampling_rounds"] = "oversampling=0"
        if self.correction == "none":
            found["correction_limit"] = "correction=none"
        if not self.rewards.preference:
            found["preference_clip"] = "rewards.preference=0"
        return found

    def _mistakes_of_servers(self) -> list[str]:
        """A server takes merged weights, and the completions of a prompt all at once."""
        if self.rollout.engine != "server":
            return []
        errors, most = [], self.rollout.max_sequences
        if self.most_completions > most and not self.rollout.server.urls:
            errors.append(
                f"rollout.max_sequences {most} is less than the {self.most_completions} completions of a prompt, which "
                f"a server draws at once: use rollout.max_sequences={self.most_completions} or more"
            )
        if self.lora.is_on and self.lora.sampler == "adapter":
            errors.append("lora.sampler=adapter is for rollout=vllm: servers get merged weights, lora.sampler=merged")
        return errors

    def _mistakes_in_length_schedule(self) -> list[str]:
        """The schedule begins at step 0, its steps rise, and it allows some tokens."""
        schedule = self.max_completion_tokens
        steps = [item[0] for item in schedule if len(item) == 2]
        if len(steps) != len(schedule) or not steps or steps[0] != 0 or steps != sorted(set(steps)):
            wanted = "[[0, tokens], [step, tokens], ...] with rising steps"
            return [f"max_completion_tokens must be {wanted}, got {schedule}"]
        if any(item[1] <= 0 for item in schedule):
            return [f"max_completion_tokens must allow at least one token, got {schedule}"]
        return []
