"""Group relative policy optimisation [N eq. 1-3; V2 A.3]: R1-Zero, reasoning RL and preference RL are this loop with other configurations.

    for each rollout:                        prompts_per_step x updates_per_rollout prompts, group_size completions each
        sync the sampler, sample, score      rewards by rules, and by reward models on general prompts
        advantages within each group         groups of equal rewards are dropped before any forward pass
        log the rollouts, then update        updates_per_rollout optimizer steps, one inner epoch, random split
        refresh the reference                every reference_every steps

The sampler's logprobs are the old policy's: on CPU in fp32 both agree to 1e-5, and a probe after every sync holds them to it.
"""
import time

import torch
import torch.distributed as dist

from stages.batching import micro_batches, pad_rows, pad_values
from stages.checkpoint import resume, save_checkpoint
from stages.config import GrpoConfig
from stages.engine import TrainEngine
from stages.experience import Rollout, RolloutLog, gather
from stages.inputs import open_prompts
from stages.losses import advantages, grpo_terms, is_zero_variance, token_weights
from stages.model import PolicyModel, load_model, load_tokenizer
from stages.prompts import Prompt, apply_template
from stages.reference import Reference
from stages.rollout import make_sampler
from stages.scoring import PreferenceScorer, reward_metrics, score
from stages.seeds import rng_for, seed_for
from stages.sft import pad_id
from stages.worker import Interrupted, Worker, control_group

HEADLINE = {"reward": "reward/mean", "accuracy": "reward/accuracy", "tokens": "completion/mean_tokens", "language": "completion/language",
            "checks": "completion/reflection_rate"}


def run(worker: Worker) -> None:
    trainer = GrpoTrainer(worker)
    worker.startup_done()
    while trainer.step < trainer.config.num_steps:
        rollouts = trainer.rollout()
        trainer.train_on(rollouts)
        trainer.checkpoint_or_stop()
    trainer.engine.export(trainer.tokenizer, worker.dir / "model")


class GrpoTrainer:
    """The loop's state is `step` and what the engine and the reference hold; everything else is a pure function of them."""

    def __init__(self, worker: Worker):
        self.worker, self.config = worker, worker.config
        config: GrpoConfig = self.config
        policy_dir = worker.model_dir("policy")
        self.tokenizer = load_tokenizer(policy_dir)
        self.max_tokens = max(tokens for _, tokens in config.max_completion_tokens)
        self.source = open_prompts(worker, config.data, self.tokenizer, policy_dir, self.max_tokens)
        self.log = RolloutLog(worker.dir / "rollouts")
        self.reference = Reference(policy_dir, config.deepspeed, worker.dir / "references") if config.beta else None
        self.engine = TrainEngine(PolicyModel(load_model(policy_dir, config.deepspeed.precision)), config.optim, config.deepspeed, config.num_steps)
        progress = resume(worker, self.engine)
        self.step = progress["step"]
        self.reference_step = progress.get("reference_step", 0)
        if self.reference:
            self.reference.restore(self.reference_step)
        self.sampler = make_sampler(config.rollout, policy_dir, config.data.max_prompt_tokens, self.max_tokens, precision=config.deepspeed.precision)
        self.synced_step = 0  # the engine starts with the policy directory's weights
        self.preference = None
        if "reward_models" in worker.inputs and config.rewards.preference:
            self.preference = PreferenceScorer(worker.input_dir("reward_models") / "model", self.tokenizer, config.preference_clip,
                                               self.engine.device, config.micro_batch_tokens)

    # ------------------------------------------------------------------------------------------------------------- sampling

    def rollout(self) -> list[Rollout]:
        """The scored rollouts that start at this step: replayed from the log if an earlier attempt got that far, else sampled."""
        first = self.step - self.step % self.config.updates_per_rollout
        self.times = {}
        rollouts = self.log.read(first)
        if rollouts is None:
            assert first == self.step, f"rollouts of step {first} are missing, but {self.step - first} of its updates were made"
            rollouts = self._sample_and_score(first)
            self._set_advantages(rollouts)
            if self.worker.is_main:
                self.log.write(first, rollouts)
        groups = torch.tensor([r.reward for r in rollouts]).view(-1, self.config.group_size)
        without_signal = is_zero_variance(groups).tolist()
        self.informative = {place for place, is_flat in enumerate(without_signal) if not is_flat}
        self.metrics = reward_metrics(rollouts, without_signal)
        if self.step == first:
            self._log_samples(rollouts)
        return rollouts

    def _sample_and_score(self, first: int) -> list[Rollout]:
        started = time.time()
        if self.synced_step != self.step:
            self.sampler.sync(self.engine.full_weights())
            self.synced_step = self.step
        self.times["sync"] = time.time() - started
        self.worker.progress("rollout", self.step, self.config.num_steps, self._headline())
        mine = list(enumerate(self.prompts(first)))[self.worker.rank::self.worker.world_size]
        rollouts = self._sample(mine, first)
        self._probe(rollouts)
        self.times["rollout"] = time.time() - started - self.times["sync"]
        scored = time.time()
        score(rollouts, self.config.data, self.config.rewards, self.preference)
        self.times["reward"] = time.time() - scored
        return gather(rollouts, self.worker.world_size)

    def prompts(self, first: int) -> list[Prompt]:
        """The rollout's prompts: global prompt index = step x prompts_per_step + place, whatever the number of processes."""
        count = self.config.prompts_per_step * self.config.updates_per_rollout
        start = first * self.config.prompts_per_step
        return [self.source.get(index, self._domain(index, first)) for index in range(start, start + count)]

    def _domain(self, index: int, step: int) -> str:
        config = self.config
        only_reasoning = config.preference_last_steps and step < config.num_steps - config.preference_last_steps
        shares = {"reasoning": 1.0} if only_reasoning else {name: getattr(config.mix, name) for name in ("reasoning", "helpful", "safety")}
        rng = rng_for(self.worker.seed, self.worker.stage, "domain", index)
        return rng.choices(list(shares), list(shares.values()))[0]

    def _sample(self, prompts: list[tuple[int, Prompt]], first: int) -> list[Rollout]:
        config = self.config
        prompt_ids = [self.encode_prompt(prompt) for _, prompt in prompts]
        seeds = [seed_for(self.worker.seed, self.worker.stage, first, place, prompt.id) for place, prompt in prompts]
        max_tokens = [tokens for step, tokens in config.max_completion_tokens if step <= first][-1]
        groups = self.sampler.sample(prompt_ids, seeds, config.group_size, config.rollout.temperature, max_tokens)
        texts = decode([c.token_ids for group in groups for c in group], self.tokenizer)
        return [Rollout(prompt, place, ids, c.token_ids, c.logprobs, c.is_truncated, texts[i * config.group_size + k])
                for i, ((place, prompt), ids, group) in enumerate(zip(prompts, prompt_ids, groups)) for k, c in enumerate(group)]

    def encode_prompt(self, prompt: Prompt) -> list[int]:
        return self.tokenizer(apply_template(prompt.text, self.config.data.template, self.tokenizer))["input_ids"]

    def _probe(self, rollouts: list[Rollout]) -> None:
        """Stops the run when the sampler's logprobs are not the trainer's: a stale or wrong weight would poison every later step."""
        worst = torch.tensor([0.0])
        chosen = rollouts[:: max(1, len(rollouts) // 4)][:4]
        self.engine.eval()
        with torch.no_grad():
            policy, rollout, _, _ = self._forward(chosen)
        if len(policy):
            worst[0] = (policy - rollout).abs().max().item()
        if self.worker.world_size > 1:
            dist.all_reduce(worst, op=dist.ReduceOp.MAX, group=control_group())
        if not worst.item() <= self.config.rollout.logprob_tolerance:
            raise RuntimeError(f"the sampler's logprobs differ from the trainer's by {worst.item():.2e} after the weight sync of step {self.step} "
                               f"(limit {self.config.rollout.logprob_tolerance:.0e}, stages.{self.worker.stage}.rollout.logprob_tolerance)")

    def _set_advantages(self, rollouts: list[Rollout]) -> None:
        rewards = torch.tensor([r.reward for r in rollouts]).view(-1, self.config.group_size)  # [P, G]
        values = advantages(rewards, self.config.scale_rewards, self.config.advantage_eps).flatten().tolist()
        for rollout, value in zip(rollouts, values):
            rollout.advantage = value

    # ------------------------------------------------------------------------------------------------------------- training

    def train_on(self, rollouts: list[Rollout]) -> None:
        """The remaining updates of this rollout; each is one step."""
        updates = self.config.updates_per_rollout
        first = self.step - self.step % updates
        order = list(range(len(rollouts)))
        if updates > 1:
            rng_for(self.worker.seed, self.worker.stage, "split", first).shuffle(order)
        size = len(rollouts) // updates
        for update in range(self.step - first, min(updates, self.config.num_steps - first)):  # the paper's 1,700 steps cut the last rollout
            batch = [rollouts[i] for i in order[update * size:(update + 1) * size]]
            self._update(batch)
            if update < updates - 1:
                self.checkpoint_or_stop()

    def _update(self, batch: list[Rollout]) -> None:
        """One optimizer step on a global batch."""
        started = time.time()
        torch.manual_seed(seed_for(self.worker.seed, self.worker.stage, "dropout", self.step, self.worker.rank))
        self.worker.progress("train", self.step, self.config.num_steps, self._headline())
        kept = [r for r in batch if r.group in self.informative]
        self.engine.train()
        sums = torch.zeros(7)  # loss, kl, clipped, entropy, mismatch kl, tokens, max mismatch
        for indices in micro_batches([r.num_tokens for r in kept], self.worker.world_size, self.worker.rank, self.config.micro_batch_tokens):
            sums = self._micro_step([kept[i] for i in indices], batch, sums)
        grad_norm, lr = self.engine.step(self.step)
        self.step += 1
        self.times["train"] = time.time() - started
        self._record(batch, self._reduce(sums), grad_norm, lr)
        if self.reference and self.config.reference_every and self.step % self.config.reference_every == 0 and self.step < self.config.num_steps:
            self.reference.refresh(self.engine, self.step)
            self.reference_step = self.step

    def _micro_step(self, rollouts: list[Rollout], batch: list[Rollout], sums: torch.Tensor) -> torch.Tensor:
        """Forward and backward of one micro-batch; adds to the running sums."""
        config = self.config
        policy_N, old_N, entropy_N, (input_ids, is_target) = self._forward(rollouts)
        reference_N = self.reference.logprobs(input_ids, is_target, config.rollout.temperature) if self.reference else None
        mask_BT = is_target.float()

        def grid(values_N):
            return torch.zeros_like(mask_BT).masked_scatter(is_target, values_N) if values_N is not None else None

        weights_BT = token_weights(mask_BT, config.loss, len(batch), sum(len(r.completion_ids) for r in batch), self.max_tokens)
        advantages_B = torch.tensor([r.advantage for r in rollouts] or [0.0], device=input_ids.device)
        policy_BT, old_BT = grid(policy_N), grid(old_N)
        loss_BT, kl_BT, clipped_BT = grpo_terms(policy_BT, old_BT, grid(reference_N), advantages_B, mask_BT, config.clip_low, config.clip_high,
                                                config.beta, config.importance_level)
        loss = (loss_BT * weights_BT).sum() + policy_N.sum() * 0.0
        self.engine.backward(loss)
        difference = (policy_BT - old_BT).detach()
        values = [loss.detach(), (kl_BT * mask_BT).sum(), (clipped_BT * mask_BT).sum(), entropy_N.sum(),
                  ((difference.exp() - difference - 1) * mask_BT).sum(), mask_BT.sum()]
        added = torch.stack([v.float().cpu().reshape(()) for v in values])
        worst = max(sums[6].item(), (difference * mask_BT).abs().max().item())
        return torch.cat([sums[:6] + added, torch.tensor([worst])])

    def _forward(self, rollouts: list[Rollout]):
        """Policy logprobs, rollout logprobs and entropies of all completion tokens, flat [N], with the grid (input_ids, is_target)."""
        device = self.engine.device
        input_ids = pad_rows([r.prompt_ids + r.completion_ids for r in rollouts], pad_id(self.tokenizer), device)
        width = input_ids.shape[1]
        is_target = pad_values([[0.0] * len(r.prompt_ids) + [1.0] * len(r.completion_ids) for r in rollouts], width, device)[:, 1:] > 0
        old = pad_values([[0.0] * len(r.prompt_ids) + r.rollout_logprobs for r in rollouts], width, device)[:, 1:]
        policy_N, entropy_N = self.engine(input_ids, is_target, temperature=self.config.rollout.temperature)
        return policy_N, old[is_target], entropy_N, (input_ids, is_target)

    def _reduce(self, sums: torch.Tensor) -> dict[str, float]:
        """Sums over ranks (the last entry is a maximum)."""
        if self.worker.world_size > 1:
            worst = sums[6:].clone()
            dist.all_reduce(sums, group=control_group())
            dist.all_reduce(worst, op=dist.ReduceOp.MAX, group=control_group())
            sums[6:] = worst
        loss, kl, clipped, entropy, mismatch, tokens, worst = sums.tolist()
        tokens = max(tokens, 1.0)
        return {"train/loss": loss, "policy/kl": kl / tokens, "policy/clip_frac": clipped / tokens, "policy/entropy": entropy / tokens,
                "policy/mismatch_kl": mismatch / tokens, "policy/mismatch_max": worst}

    # -------------------------------------------------------------------------------------------------------------- records

    def _record(self, batch: list[Rollout], policy: dict[str, float], grad_norm: float, lr: float) -> None:
        tokens = sum(len(r.completion_ids) for r in batch)
        seconds = sum(self.times.values())
        metrics = {**self.metrics, **policy, "train/grad_norm": grad_norm, "train/lr": lr, "train/tokens": tokens,
                   "perf/tokens_per_s": tokens / seconds, "perf/step_s": seconds, **{f"time/{name}": value for name, value in self.times.items()}}
        self.worker.log_step(self.step, metrics)
        first = [name for name in HEADLINE.values() if name in metrics]
        self.worker.metrics = {name: metrics[name] for name in [*first, *metrics] if name.split("/")[0] in ("reward", "completion", "policy")}
        self.worker.say(f"step {self.step}/{self.config.num_steps} {self._headline()} kl {policy['policy/kl']:.4f} entropy {policy['policy/entropy']:.3f} "
                        f"mismatch {policy['policy/mismatch_max']:.1e} grad_norm {grad_norm:.2f} "
                        + " ".join(f"{name} {value:.2f}s" for name, value in self.times.items()))
        self.times = {}

    def _headline(self) -> str:
        values = getattr(self, "metrics", {})
        return " ".join(f"{label} {values[name]:.{1 if label == 'tokens' else 3}f}" for label, name in HEADLINE.items() if name in values)

    def _log_samples(self, rollouts: list[Rollout]) -> None:
        """The first completion of the first few groups."""
        chosen = rollouts[::self.config.group_size][:self.config.num_sample_prompts]
        self.worker.log_samples([
            {"step": self.step + 1, "prompt_id": r.prompt.id, "kind": r.prompt.kind, "language": r.prompt.language, "prompt": r.prompt.text,
             "answer": r.prompt.answer, "completion": r.completion, "reward": r.reward, "reward_parts": r.reward_parts, "advantage": r.advantage,
             "truncated": r.is_truncated} for r in chosen])

    def checkpoint_or_stop(self) -> None:
        """Saves when it is time or when a stop was asked for; the latter raises Interrupted."""
        config = self.config
        if self.step >= config.num_steps:
            return
        should_stop = self.worker.should_stop()
        if should_stop or self.step % config.save_every == 0:
            save_checkpoint(self.worker, self.engine, self.step, config.keep_checkpoints, extra={"reference_step": self.reference_step})
            if self.worker.is_main:
                oldest = min(int(p.name.split("_")[1]) for p in (self.worker.dir / "state").glob("step_*"))
                self.log.drop_before(oldest - oldest % config.updates_per_rollout)
                if self.reference and self.config.reference_every:
                    self.reference.drop_before(oldest - oldest % config.reference_every)
        if should_stop:
            raise Interrupted(f"stopped after step {self.step} of {config.num_steps}; run the same command to continue")


def decode(ids: list[list[int]], tokenizer) -> list[str]:
    """Texts without the end-of-sequence token, tags kept."""
    eos = tokenizer.eos_token_id
    return tokenizer.batch_decode([row[:-1] if row and row[-1] == eos else row for row in ids], skip_special_tokens=False,
                                  clean_up_tokenization_spaces=False)
