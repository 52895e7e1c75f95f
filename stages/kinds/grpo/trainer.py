"""Group relative policy optimisation [N eq. 1-3; V2 A.3]: R1-Zero, reasoning RL and preference RL are this loop with
other configurations.

    for each rollout:                        prompts_per_step x updates_per_rollout prompts, group_size completions each
        sync the sampler, sample, score      rewards by rules, and by reward models on general prompts
        advantages within each group         groups of equal rewards are dropped before any forward pass
        log the rollouts, then update        updates_per_rollout optimizer steps, one inner epoch, random split
        refresh the reference                every reference_every steps

The sampler's logprobs are the old policy's where a probe after every sync finds that they agree with the trainer's
(fp32: to 1e-5); where they do not, the trainer's are, and importance weights correct for the sampler. A sampler that is
plainly wrong stops the run.
"""

import time

import torch

from stages.config import GrpoConfig
from stages.contract import files
from stages.data.inputs import open_prompts
from stages.engines.checkpoint import resume
from stages.engines.export import export
from stages.engines.sampling import make_sampler
from stages.engines.saver import Saver
from stages.engines.training import TrainEngine
from stages.kinds.grpo.emergence import FirstWords, level_metrics, word_metrics
from stages.kinds.grpo.groups import GroupSampler, by_group, has_signal
from stages.kinds.grpo.hacking import HackingWatch, Kept, held_out_prompts, measure, report
from stages.kinds.grpo.reference import Reference
from stages.kinds.grpo.scoring import PreferenceScorer, reward_metrics
from stages.kinds.grpo.update import PolicyUpdate
from stages.modeling.attention import uses_packing
from stages.modeling.batching import pad_id
from stages.modeling.losses import Counts, advantages
from stages.modeling.model import load_model, load_tokenizer
from stages.modeling.policy_model import PolicyModel
from stages.runtime.seeds import rng_for, seed_for
from stages.runtime.worker import Worker, rounded
from stages.training.health import RollBack, Watch
from stages.training.rollback import Batches, roll_back, save_start
from stages.training.rollouts import Rollout, RolloutLog

HEADLINE = {
    "reward": "reward/mean",
    "accuracy": "reward/accuracy",
    "tokens": "completion/mean_tokens",
    "language": "completion/language",
    "checks": "completion/reflection_rate",
}
NUM_SHOWN_ERRORS = 3  # explanations of grader errors in the log, a rollout
PROBES_PER_RANK = 2  # completions that each rank compares after a sync


def run(worker: Worker) -> None:
    trainer = GrpoTrainer(worker)
    worker.startup_done()
    while trainer.step < trainer.config.num_steps:
        try:
            trainer.train_on(trainer.rollout())
        except RollBack as cause:
            trainer.go_back(cause)
    trainer.saver.wait()
    export(worker, trainer.engine, trainer.tokenizer, trainer.config.data.template)


class GrpoTrainer:
    """The loop's state is `step`, the last probe, and what the engine and the reference hold; all else is a pure
    function of them.
    """

    def __init__(self, worker: Worker):
        self.worker, self.config = worker, worker.config
        config: GrpoConfig = self.config
        policy_dir = worker.model_dir("policy")
        self.tokenizer = load_tokenizer(policy_dir)
        max_tokens = max(tokens for _, tokens in config.max_completion_tokens)
        source = open_prompts(worker, config.data, self.tokenizer, policy_dir, max_tokens)
        self.log = RolloutLog(worker.dir / "rollouts", worker.say)
        model = load_model(policy_dir, config.deepspeed.precision)
        packed = uses_packing(config.packing, model, config.deepspeed.precision)
        self.reference = (
            Reference(policy_dir, config.deepspeed, worker.dir / "references", packed) if config.beta else None
        )
        self.engine = TrainEngine(PolicyModel(model, packed), config.optim, config.deepspeed, config.num_steps)
        self.batches = Batches(worker.dir, config.updates_per_rollout)
        self._resume()
        self.saver = Saver(worker, self.engine, config, sealed=self._forget)
        save_start(self.saver, self.step, self._progress())
        self.policy = PolicyUpdate(
            worker, config, self.engine, self.reference, pad_id(self.tokenizer), max_tokens, packed
        )
        self.sampler = make_sampler(
            config.rollout,
            policy_dir,
            config.data.max_prompt_tokens,
            max_tokens,
            config.deepspeed.precision,
            can_sleep=True,
        )
        self.sampler_step = (
            0  # whose weights the sampler has: it starts with the policy directory's; None: asleep, with none
        )
        self.groups = GroupSampler(worker, config, self.tokenizer, source, self.sampler, self._preference())
        self.held_out = held_out_prompts(worker, config)
        self.measured = Kept(worker.dir / "watch")
        self._read_logs()

    def _resume(self, is_fresh: bool = True) -> None:
        progress = resume(self.worker, self.engine, problem=self._problem, is_fresh=is_fresh)
        self.step = progress["step"]
        self.watch = Watch(self.worker, self.config.health)
        self.probe = progress.get("probe", {})
        if self.reference:
            self.reference.restore(progress.get("reference", {"step": 0}))

    def _read_logs(self) -> None:
        """What is decided by what was logged, after the logs were cut back."""
        self.hacking = HackingWatch(self.config.hacking, files.read_jsonl(self.worker.dir / "metrics.jsonl"))
        self.groups.rules_only = self.hacking.ended_at is not None
        self.first_words = FirstWords(self.worker.dir)

    def _progress(self) -> dict:
        """What a checkpoint must know beside the engine's state."""
        return {"reference": self.reference.identity if self.reference else None, "probe": self.probe}

    def go_back(self, cause: RollBack) -> None:
        """To the last good checkpoint, without the batches that led to the alarms, and without what was sampled after
        it.
        """
        self.batches = roll_back(self.saver, cause, self.batches, self._left_out, forget=self._drop_after)
        self._resume(is_fresh=False)
        self._read_logs()
        self.sampler_step = None

    def _drop_after(self, number: int) -> None:
        """Forgets what was sampled with the weights that led to this batch's alarm."""
        first = number - number % self.config.updates_per_rollout
        self.log.drop_after(first)
        self.measured.drop_after(first)

    def _left_out(self, numbers: list[int]) -> dict:
        """What the record of a rollback says of batches: their prompts, and where the stream of prompts goes on."""
        updates, parts, drawn = self.config.updates_per_rollout, [], []
        for number in numbers:
            sampled = self.log.read(number - number % updates) or []
            drawn += [r.index for r in sampled]
            parts += self._part([r for r in sampled if r.use == "train"], number)
        prompts = {r.index: r.prompt.id for r in parts}
        return {
            "prompts": [prompts[index] for index in sorted(prompts)],
            "indices": sorted(prompts),
            "next_index": 1 + max(drawn, default=-1),
        }

    def _problem(self, progress: dict) -> str | None:
        """Whether what a checkpoint goes on with beside itself is there: its reference, and rollouts that its own
        weights did not draw.
        """
        step, first = progress["step"], self.batches.rollout(progress["step"])
        if self.reference and (problem := self.reference.problem(progress["reference"])):
            return problem
        begins, before = self.batches.begins(step), self.batches.before(first) if self.config.oversampling else None
        if (begins and before is None) or self.log.read(first):
            return None
        if not begins:
            return f"rollouts {first} are missing, of which updates before step {step} were made"
        return (
            None
            if self.log.read(before)
            else f"rollouts {before} are missing, which may have left some for the next ones"
        )

    def _preference(self) -> PreferenceScorer | None:
        if "reward_models" not in self.worker.inputs or not self.config.rewards.preference:
            return None
        return PreferenceScorer(
            self.worker.input_dir("reward_models") / "model",
            self.tokenizer,
            self.config.preference_clip,
            self.engine.device,
            self.config.micro_batch_tokens,
        )

    def rollout(self) -> list[Rollout]:
        """The scored rollouts that start at this step: replayed from the log if an earlier attempt got that far, else
        sampled.
        """
        first, begins = self.batches.rollout(self.step), self.batches.begins(self.step)
        self.times = {}
        self.once = self._watched(first) if begins else {}  # metrics of the rollout's first step alone
        sampled = self.log.read(first)
        if sampled is None:
            sampled = self._sample(first)
            self._examine([r for r in sampled if r.use == "train"])
            started = time.time()
            if self.worker.is_main:
                self.log.write(first, sampled)
            self.times["log"] = time.time() - started
        elif begins:
            self._examine([r for r in sampled if r.use == "train"])
        started = time.time()
        if self.sampler.sleep():
            self.sampler_step = None
            self.times["sleep"] = time.time() - started
        rollouts = [r for r in sampled if r.use == "train"]
        groups = by_group(rollouts, self.config.group_size)
        self.informative = {group[0].group for group in groups if has_signal(group)}
        self.metrics = {
            **reward_metrics(rollouts, [not has_signal(group) for group in groups]),
            **word_metrics(rollouts),
            **level_metrics(rollouts),
        }
        failed = [r.grader_error for r in sampled if r.grader_error and r.step == first]
        self.metrics["reward/grader_errors"] = len(failed)
        if failed and begins:
            self.worker.say(
                f"{len(failed)} of {sum(r.step == first for r in sampled)} completions of step {first} could not be "
                "graded and got 0: " + "; ".join(list(dict.fromkeys(failed))[:NUM_SHOWN_ERRORS])
            )
        if self.config.oversampling:
            self.metrics["reward/sampled_groups"] = sum(r.step == first for r in sampled) / self.config.group_size
        if begins:
            self.once["tokens/sampled"] = sum(len(r.completion_ids) for r in sampled if r.step == first)
            self._log_samples(rollouts)
            if self.worker.is_main:
                self.first_words.look(self.step + 1, rollouts)
        return rollouts

    def _sync(self) -> None:
        """The sampler has the policy of this step."""
        started = time.time()
        if self.sampler_step != self.step:
            self.sampler.sync(self.engine.full_weights())
            self.sampler_step = self.step
            self.times["sync"] = time.time() - started

    def _sample(self, first: int) -> list[Rollout]:
        self._sync()
        self.worker.progress("rollout", self.step, self.config.num_steps, self._headline())
        kept, start = self._left_over(first)
        sampled = self.groups.rollout(first, kept, start)
        self.times = {"sync": 0.0, **self.times, **self.groups.times}
        return sampled

    def _watched(self, first: int) -> dict[str, float]:
        """The held-out measurement of this step, where one is due: from disk, or sampled and then on disk before the
        step's rollouts are.
        """
        config = self.config
        begins = config.num_steps - config.preference_last_steps if config.preference_last_steps else 0
        if not self.hacking.is_due(first) or first < begins or not self.held_out:
            return {}
        values = self.measured.read(first)
        if values is None:
            self._sync()
            started = time.time()
            values = {
                name: rounded(value)
                for name, value in measure(
                    self.groups.held_out(self.held_out, config.hacking.samples_per_prompt, first)
                ).items()
            }
            if self.worker.is_main:
                self.measured.write(first, values)
            self.times["watch"] = time.time() - started
        return values

    def _left_over(self, first: int) -> tuple[list[Rollout], int]:
        """Groups that dynamic sampling left over from the rollout before, and the number of the first prompt that was
        not drawn yet.
        """
        if not self.config.oversampling:
            return [], first * self.config.prompts_per_step
        left_out = [row for row in self.batches.rows if max(row["batches"]) < first]
        before, place = [], self.batches.before(first)
        if place is not None:
            before = self.log.read(place)
            if before is None:
                raise RuntimeError(
                    f"rollouts {place} were spoiled while the stage ran; the same command continues from a "
                    "checkpoint before them"
                )
        start = max([1 + r.index for r in before] + [row["next_index"] for row in left_out], default=0)
        return [
            r
            for r in before
            if r.use == "keep"
            and not any(r.index in row["indices"] for row in left_out)
            and (r.prompt.domain == "reasoning" or not self.groups.rules_only)
        ], start

    def _examine(self, rollouts: list[Rollout]) -> None:
        """Compares sampler and trainer, and sets advantages. Stops the run on a stale or wrong weight: it would poison
        every later step.
        """
        started = time.time()
        fresh = [r for r in rollouts if r.step == self.batches.rollout(self.step)]
        count = PROBES_PER_RANK * self.worker.world_size
        mean, worst = self.policy.mismatch(fresh[:: max(1, len(fresh) // count)][:count])
        if not worst <= self.config.rollout.logprob_tolerance:
            raise RuntimeError(
                f"the sampler's logprobs differ from the trainer's by {worst:.2e} after the weight sync of step "
                f"{self.step} "
                f"(limit {self.config.rollout.logprob_tolerance:.0e}, "
                f"stages.{self.worker.stage}.rollout.logprob_tolerance)"
            )
        self.probe = {
            "mean": mean,
            "max": worst,
            "corrects": self.config.correction != "none" and mean > self.config.agreement,
        }
        if self.probe["corrects"] and self.config.updates_per_rollout > 1 and rollouts[0].old_logprobs is None:
            self.policy.set_old_logprobs(rollouts)
        self.times["probe"] = time.time() - started
        rewards = torch.tensor([r.reward for r in rollouts]).view(-1, self.config.group_size)  # [P, G]
        values = advantages(rewards, self.config.scale_rewards, self.config.advantage_eps).flatten().tolist()
        for rollout, value in zip(rollouts, values):
            rollout.advantage = value

    def train_on(self, rollouts: list[Rollout]) -> None:
        """The remaining updates of this rollout; each is one step, and saved or stopped after."""
        first = self.batches.rollout(self.step)
        while (
            self.step < self.config.num_steps and self.batches.rollout(self.step) == first
        ):  # the paper's 1,700 steps cut the last rollout
            self._update(self._part(rollouts, self.batches.number(self.step)))
            self.saver.step_done(self.step, self.config.num_steps, self._progress)

    def _part(self, rollouts: list[Rollout], number: int) -> list[Rollout]:
        """The share of batch `number` in its rollout: an update_per_rollout-th, drawn at random."""
        updates = self.config.updates_per_rollout
        order = list(range(len(rollouts)))
        if updates > 1:
            rng_for(self.worker.seed, self.worker.stage, "split", number - number % updates).shuffle(order)
        size, place = len(rollouts) // updates, number % updates
        return [rollouts[i] for i in order[place * size : (place + 1) * size]]

    def _update(self, batch: list[Rollout]) -> None:
        """One optimizer step on a global batch."""
        started = time.time()
        config = self.config
        torch.manual_seed(seed_for(self.worker.seed, self.worker.stage, "dropout", self.step, self.worker.rank))
        self.worker.progress("train", self.step, config.num_steps, self._headline())
        counted = [r for r in batch if not (config.mask_truncated and r.is_truncated)]
        counts = Counts(len(batch), sum(len(r.completion_ids) for r in counted), self.policy.max_tokens)
        trained = [r for r in counted if r.group in self.informative]
        policy_metrics = self.policy.accumulate(trained, counts, self.probe["corrects"])
        policy_metrics["tokens/trained"] = sum(r.num_tokens for r in trained)
        grad_norm, lr = self.engine.step(self.step)
        self.step += 1
        self.times["train"] = time.time() - started
        self._record(batch, policy_metrics, grad_norm, lr)
        if (
            self.reference
            and config.reference_every
            and self.step % config.reference_every == 0
            and self.step < config.num_steps
        ):
            self.reference.refresh(self.engine, self.step)

    def _record(self, batch: list[Rollout], policy: dict[str, float], grad_norm: float, lr: float) -> None:
        tokens = sum(len(r.completion_ids) for r in batch)
        seconds = sum(self.times.values())
        metrics = {
            **self.metrics,
            **self.once,
            **policy,
            "policy/probe_mean": self.probe["mean"],
            "policy/probe_max": self.probe["max"],
            "train/grad_norm": grad_norm,
            "train/lr": lr,
            "train/tokens": tokens,
            "perf/tokens_per_s": tokens / seconds,
            "perf/step_s": seconds,
            **{f"time/{name}": value for name, value in self.times.items()},
        }
        self.worker.log_step(self.step, metrics)
        first = [name for name in HEADLINE.values() if name in metrics]
        self.worker.metrics = {
            name: metrics[name]
            for name in [*first, *metrics]
            if name.split("/")[0] in ("reward", "completion", "policy")
        }
        self.worker.say(
            f"step {self.step}/{self.config.num_steps} {self._headline()} kl {policy['policy/kl']:.4f} entropy "
            f"{policy['policy/entropy']:.3f} "
            f"mismatch {policy['policy/mismatch_max']:.1e} grad_norm {grad_norm:.2f} "
            + " ".join(f"{name} {value:.2f}s" for name, value in self.times.items())
        )
        self.times, self.once = {}, {}
        self.watch(self.step, metrics)
        report(self.worker, self.hacking(self.step, metrics), self.config.hacking)
        self.groups.rules_only = self.hacking.ended_at is not None

    def _headline(self) -> str:
        values = getattr(self, "metrics", {})
        return " ".join(
            f"{label} {values[name]:.{1 if label == 'tokens' else 3}f}"
            for label, name in HEADLINE.items()
            if name in values
        )

    def _log_samples(self, rollouts: list[Rollout]) -> None:
        """The first completion of the first few groups."""
        chosen = rollouts[:: self.config.group_size][: self.config.num_sample_prompts]
        self.worker.log_samples(
            [
                {
                    "step": self.step + 1,
                    "prompt_id": r.prompt.id,
                    "kind": r.prompt.kind,
                    "language": r.prompt.language,
                    "prompt": r.prompt.text,
                    "answer": r.prompt.answer,
                    "completion": r.completion,
                    "reward": r.reward,
                    "reward_parts": r.reward_parts,
                    "advantage": r.advantage,
                    "truncated": r.is_truncated,
                }
                for r in chosen
            ]
        )

    def _forget(self) -> None:
        """Drops rollouts and references that no kept checkpoint can ask for (a rollout also asks for the one before
        it).
        """
        config = self.config
        oldest = min(int(p.name.split("_")[1]) for p in (self.worker.dir / "state").glob("step_*"))
        first = self.batches.rollout(oldest)
        before = self.batches.before(first) if config.oversampling else None
        self.log.drop_before(first if before is None else before)
        if self.reference and config.reference_every:
            self.reference.drop_before(oldest - oldest % config.reference_every)
