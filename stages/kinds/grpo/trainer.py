"""Group relative policy optimisation: one loop for R1-Zero, reasoning RL and preference RL [N eq. 1-3; V2 A.3].

    for each rollout:                        prompts_per_step x updates_per_rollout prompts, group_size completions each
        sync the sampler, sample, score      rewards by rules, and by reward models on general prompts
        probe the sampler                    advantages within each group
        log the rollouts                     before the first update that uses them
        update                               updates_per_rollout optimizer steps, one inner epoch, split at random
        refresh the reference                every reference_every steps

Groups of equal rewards are dropped before any forward pass.

After every sync a probe compares a few of the sampler's logprobs with the trainer's. Where they agree (fp32: to 1e-5),
the sampler's are the old policy's. Where they do not, the trainer's are, and importance weights correct for the
sampler. A sampler that is plainly wrong stops the run.
"""

import time
from dataclasses import asdict

import torch

from stages.config import GrpoConfig
from stages.data.inputs import open_prompts
from stages.engines.checkpoint import resume
from stages.engines.export import export
from stages.engines.loading import load_policy
from stages.engines.sampling import Apart, DrawsAhead, make_sampler, require_sampler
from stages.engines.saver import Saver
from stages.engines.training import TrainEngine
from stages.engines.weights import StepWeights
from stages.kinds.grpo import ahead
from stages.kinds.grpo.adapter_reference import AdapterReference
from stages.kinds.grpo.advantages import ScoredRollouts, set_advantages
from stages.kinds.grpo.groups import GroupSampler
from stages.kinds.grpo.held_out import HeldOutMeasurement
from stages.kinds.grpo.history import RolloutHistory
from stages.kinds.grpo.preference import PreferenceScorer
from stages.kinds.grpo.probe import Probe, SyncedSampler, probe_sampler, probe_servers
from stages.kinds.grpo.record import LogWatches, StepRecorder, measured
from stages.kinds.grpo.reference import KeptReference, Reference
from stages.kinds.grpo.update import PolicyUpdate, trained_part
from stages.modeling.adapters import Adapters, add_adapters
from stages.modeling.batching import pad_id
from stages.modeling.model import load_tokenizer
from stages.modeling.policy_model import PolicyModel
from stages.modeling.ready import ready_policy
from stages.prompting.encoding import Encoder
from stages.rewards.unanswered import asks_for_form
from stages.runtime.seeds import seed_for
from stages.runtime.worker import Worker
from stages.training.alarms import report_once
from stages.training.beginnings import of_rl
from stages.training.health import RollBack, inspector
from stages.training.rollback import roll_back, save_start
from stages.training.rollouts import Row, bring


def run(worker: Worker) -> None:
    """Runs a stage of this kind to its end: trains the policy and exports it to model/."""
    trainer = GrpoTrainer(worker)
    worker.startup_done()
    while trainer.step < trainer.config.num_steps:
        try:
            trainer.train_on(trainer.rollout())  # no name for them here: the next ones are drawn when these are gone
        except RollBack as cause:
            trainer.go_back(cause)
    trainer.saver.wait()
    export(worker, trainer.engine, trainer.tokenizer, trainer.encoder.template)


class GrpoTrainer:
    """The loop over rollouts and updates.

    What changes as it runs is `step` (optimizer steps done), `probe` (the last comparison with the sampler), and what
    the engine, the reference, the sampler and the logs hold. Everything else is a pure function of them.
    """

    def __init__(self, worker: Worker):
        config: GrpoConfig = worker.config
        self.worker, self.config = worker, config
        policy_dir = worker.model_dir("policy")
        require_sampler(config.rollout, policy_dir)
        self.tokenizer = load_tokenizer(policy_dir)
        self.encoder = encoder = Encoder.of(config.data, self.tokenizer)
        max_tokens = max(tokens for _, tokens in config.max_completion_tokens)
        source = open_prompts(worker, config.data, encoder, policy_dir, max_tokens)
        model = load_policy(policy_dir, config.deepspeed, config.lora.quantize)
        precision, num_slices = config.deepspeed.precision, config.deepspeed.sequence_parallel
        policy = ready_policy(model, self.tokenizer, config.packing, precision, worker.say, config.dropout, num_slices)
        packed = policy.packed
        self.reference: KeptReference | None = None
        if config.lora.is_on:
            policy.adapters = self._add_adapters(policy)
        elif config.beta:
            self.reference = Reference(policy_dir, config.deepspeed, worker.dir / "references", packed)
        self.engine = TrainEngine(policy, config.optim, config.deepspeed, config.num_steps)
        if config.lora.is_on and config.beta:
            self.reference = AdapterReference(self.engine, worker.dir / "references")
        self.history = RolloutHistory(worker, config)
        self.step = 0
        self.probe: Probe | None = None  # None before the first rollout
        self._resume(is_fresh=True)
        inspect = inspector(worker, self.engine, config.health)
        self.saver = Saver(worker, self.engine, config, sealed=self._drop_unneeded, inspect=inspect)
        save_start(self.saver, self.step, self._progress())
        self.policy = PolicyUpdate(
            worker, config, self.engine, self.reference, pad_id(self.tokenizer), max_tokens, packed
        )
        self.sampler = SyncedSampler(
            make_sampler(
                config.rollout,
                policy_dir,
                config.data.max_prompt_tokens,
                max_tokens,
                config.deepspeed.precision,
                can_sleep=True,
                is_synced_first=True,
                stop_ids=encoder.stop_ids,
                adapters=policy.adapters if config.lora.sampler == "adapter" else None,
                apart=Apart(config.most_completions, worker.logs / "servers", worker.say),
            ),
            step=None if config.rollout.is_vllm else 0,
        )
        self.next: ahead.NextRollout | None = None  # that servers draw while this one trains
        self.num_probed = 0  # syncs of servers after which they were compared with the trainer
        self.groups = GroupSampler(
            worker, config, encoder, source, self.sampler.engine, self._make_preference_scorer(encoder)
        )
        self.held_out = HeldOutMeasurement(worker, config)
        self.recorder = StepRecorder(worker, config, self._bring)
        report_once(worker, of_rl(worker.stage, config, source.count() if hasattr(source, "count") else None))
        self.watches = LogWatches(worker, config, self._asks, self._bring)

    def _add_adapters(self, policy: PolicyModel) -> Adapters:
        """Puts adapters on the policy; a second set where the reference is refreshed."""
        config, worker = self.config, self.worker
        is_refreshed = bool(config.beta) and 0 < config.reference_every < config.num_steps
        seed = seed_for(worker.seed, worker.stage, "lora")
        return add_adapters(policy.model, config.lora, seed, worker.say, is_refreshed, packed=policy.packed)

    def _make_preference_scorer(self, encoder: Encoder) -> PreferenceScorer | None:
        if "reward_models" not in self.worker.inputs or not self.config.rewards.preference:
            return None
        return PreferenceScorer(
            self.worker.input_dir("reward_models") / "model",
            encoder,
            self.config.preference_clip,
            self.engine.device,
            self.config.micro_batch_tokens,
            self.config.deepspeed.precision,
            bool(self.engine.module.packed),
        )

    def _asks(self, row: Row) -> bool:
        """Whether a prompt as the policy saw it asks for tags or a box."""
        assert row.here is not None
        return asks_for_form(self.tokenizer.decode(row.here.prompt_ids.tolist()))

    def _bring(self, rows: list[Row]) -> list[Row]:
        """A few rows with their rollouts, texts too, on every rank. Collective."""
        return bring(rows, self.groups.text)

    def rollout(self) -> ScoredRollouts:
        """Returns the scored rollouts that this step trains on. Collective.

        They are replayed from the log if an earlier attempt, or an earlier step, sampled them; else they are sampled
        with the weights of this step, and logged.
        """
        first, begins = self.history.batches.rollout(self.step), self.history.batches.begins(self.step)
        self.recorder.start_rollout()
        if begins:
            self.recorder.first_step_metrics.update(self._measure_held_out(first))
        logged = self.history.log.read(first)
        sampled = self._sample(first) if logged is None else logged
        rollouts = [r for r in sampled if r.use == "train"]
        if logged is not None:
            self.history.log.load(first, rollouts)
        if logged is None or begins:
            self._probe_sampler(rollouts, first)
            set_advantages(rollouts, self.config)
        if logged is None:
            self._log_rollouts(first, sampled)
        if self.config.draws_ahead and begins:
            self._draw_ahead()
        self._let_sampler_sleep()
        scored = ScoredRollouts.of(rollouts, self.config.group_size)
        self.recorder.describe_rollout(sampled, scored, first, begins)
        if begins:
            self.recorder.log_samples(self.step + 1, scored.rollouts)
            self.watches.log_first_words(self.step + 1, scored.rollouts)
            if self.config.draws_ahead:
                ahead.require_bound(rollouts, self.step, self.config)
                self.recorder.first_step_metrics["policy/staleness"] = ahead.mean_staleness(rollouts, self.step)
        return scored

    def _draw_ahead(self) -> None:
        """Has servers begin to draw the next rollout, by the weights of this step."""
        self._sync()
        self.groups.reasoning_only = self.watches.has_phase_ended
        self.next = ahead.begin(self.groups, self.history, self.config, self.step)

    def _take_next(self) -> None:
        """Waits for the next rollout where this step begins it, scores it and writes it to the log."""
        upcoming, self.next = self.next, None
        if upcoming is None:
            return
        self.recorder.times = {}
        self.worker.progress("rollout", self.step, self.config.num_steps, self.recorder.headline())
        sampled = self.groups.rollout(
            upcoming.first, upcoming.left_over, upcoming.start, upcoming.asked, self._weights()
        )
        self._probe_servers()  # where all of them were lost, they have the weights of now
        rollouts = [r for r in sampled if r.use == "train"]
        self._probe_sampler(rollouts, upcoming.first)
        set_advantages(rollouts, self.config)
        self._log_rollouts(upcoming.first, sampled)
        self.recorder.times_before = {**self.groups.times, **self.recorder.times}

    def train_on(self, scored: ScoredRollouts) -> None:
        """Makes the updates of this rollout that are left; saves, and stops where asked to, after each.

        The last rollout is cut short where num_steps is no multiple of updates_per_rollout, as the paper's 1,700 is.
        """
        batches = self.history.batches
        first = batches.rollout(self.step)
        while self.step < self.config.num_steps and batches.rollout(self.step) == first:
            batch = self.history.share(scored.rollouts, batches.number(self.step))
            self._update(batch, scored.informative)
            if self.step < self.config.num_steps and batches.begins(self.step):
                self._take_next()
            self.saver.step_done(self.step, self.config.num_steps, self._progress)

    def go_back(self, cause: RollBack) -> None:
        """Returns to the last good checkpoint, and leaves out the batches that led to the alarms.

        What was sampled after that checkpoint is forgotten.
        """
        self.history.batches = roll_back(
            self.saver, cause, self.history.batches, self.history.describe, forget=self._drop_after
        )
        if self.next is not None and self.next.asked is not None and self.next.asked.drawing is not None:
            self.next.asked.drawing.cancel()
        self.next = None
        self._resume(is_fresh=False)
        self.watches = LogWatches(self.worker, self.config, self._asks, self._bring)
        self.sampler.forget()

    def _measure_held_out(self, first: int) -> dict[str, float]:
        """The held-out measurement of this step, where one is due: from disk, else sampled and written to disk."""
        if not self.held_out.is_due(first):
            return {}
        values = self.held_out.read(first)
        if values is None:
            self._sync()
            with measured(self.recorder.times, "watch"):
                values = self.held_out.measure(self.groups, first)
        return values

    def _sync(self) -> None:
        """Gives the sampler the weights of this step, if it has others."""
        if self.sampler.step != self.step:
            with measured(self.recorder.times, "sync"):
                self.sampler.sync(self.step, self._weights())
                self._probe_servers()

    def _probe_servers(self) -> None:
        """Compares servers with the trainer, where they got its weights since the last time."""
        engine = self.sampler.engine
        if not isinstance(engine, DrawsAhead) or engine.num_syncs == self.num_probed:
            return
        probe_servers(self.worker, self.config, self.policy, engine, self.encoder, self.step)
        self.sampler.step, self.num_probed = engine.step, engine.num_syncs

    def _weights(self) -> StepWeights:
        """The weights of this step, for the sampler."""
        return StepWeights(self.step, lambda: self.engine.weights_for(self.sampler.engine))

    def _sample(self, first: int) -> list[Row]:
        """All scored rollouts that start at this step, each marked with its use."""
        self._sync()
        self.worker.progress("rollout", self.step, self.config.num_steps, self.recorder.headline())
        self.groups.reasoning_only = self.watches.has_phase_ended
        left_over, start = self.history.left_over(first, self.groups.reasoning_only)
        if self.config.draws_ahead:
            left_over = [r for r in left_over if ahead.staleness(r, self.step) <= ahead.bound(self.config)]
        sampled = self.groups.rollout(first, left_over, start)
        self._probe_servers()
        self.recorder.times = {"sync": 0.0, **self.recorder.times, **self.groups.times}
        return sampled

    def _probe_sampler(self, rollouts: list[Row], first: int) -> None:
        """Compares sampler and trainer. Raises RuntimeError where they differ by more than the tolerance."""
        with measured(self.recorder.times, "probe"):
            fresh = [r for r in rollouts if r.step == first]
            trained = [r for r in self._trained_first(rollouts, first) if r.step == first]
            is_stale = any(ahead.staleness(r, self.step) for r in fresh)
            self.probe = probe_sampler(self.worker, self.config, self.policy, trained or fresh, self.step, is_stale)
            if self.probe.corrects and self.config.updates_per_rollout > 1 and not rollouts[0].has_old_logprobs:
                self.policy.set_old_logprobs(rollouts)

    def _trained_first(self, rollouts: list[Row], first: int) -> list[Row]:
        """What of the rollouts batch `first`, the first update on them, will train on."""
        scored = ScoredRollouts.of(rollouts, self.config.group_size)
        batch = self.history.share(scored.rollouts, first)
        return trained_part(batch, scored.informative, self.config.mask_truncated, self.policy.max_tokens)[0]

    def _log_rollouts(self, first: int, sampled: list[Row]) -> None:
        with measured(self.recorder.times, "log"):
            self.history.log.write(first, sampled)

    def _let_sampler_sleep(self) -> None:
        started = time.time()
        if self.sampler.sleep():
            self.recorder.times["sleep"] = time.time() - started

    def _update(self, batch: list[Row], informative: set[int]) -> None:
        """One optimizer step on a global batch, its record, and what follows from it."""
        assert self.probe is not None, "a rollout is probed before it is trained on"
        batches = self.history.batches
        is_stale = any(ahead.staleness(r, self.step) for r in batch)
        drawn_at = batches.rollout(self.step) if batches.begins(self.step) and not is_stale else None
        with measured(self.recorder.times, "train"):
            torch.manual_seed(seed_for(self.worker.seed, self.worker.stage, "dropout", self.step, self.worker.rank))
            self.worker.progress("train", self.step, self.config.num_steps, self.recorder.headline())
            update = self.policy.step(batch, informative, self.probe.corrects, self.step, drawn_at)
            self.step += 1
        metrics = self.recorder.log_step(self.step, batch, update, self.probe)
        self.watches.check(self.step, metrics, batch)
        self._refresh_reference()

    def _refresh_reference(self) -> None:
        every = self.config.reference_every
        if self.reference and every and self.step % every == 0 and self.step < self.config.num_steps:
            self.reference.refresh(self.engine, self.step)

    def _resume(self, is_fresh: bool) -> None:
        """Takes the state of the newest usable checkpoint, or that of a stage that begins."""
        progress = resume(self.worker, self.engine, why_unusable=self._why_unusable, is_fresh=is_fresh)
        self.step = progress["step"]
        self.probe = Probe(**progress["probe"]) if progress.get("probe") else None
        if self.reference:
            self.reference.restore(progress.get("reference", {"step": 0}))

    def _progress(self) -> dict:
        """What a checkpoint holds besides the engine's state."""
        return {
            "reference": self.reference.identity if self.reference else None,
            "probe": asdict(self.probe) if self.probe else {},
        }

    def _why_unusable(self, progress: dict) -> str | None:
        """Why a stage cannot go on from a checkpoint with this progress: files besides its own are missing or damaged.

        Collective.

        Returns:
            The reason, or None where it can.
        """
        of_reference = self.reference.why_unusable(progress["reference"]) if self.reference else None
        of_rollouts = self.history.why_unusable(progress["step"])  # collective: also where rank 0 found the other
        return of_reference or of_rollouts

    def _drop_after(self, number: int) -> None:
        """Forgets what was sampled with the weights that led to the alarm of batch `number`."""
        first = number - number % self.config.updates_per_rollout
        self.history.log.drop_after(first)
        self.held_out.drop_after(first)

    def _drop_unneeded(self) -> None:
        """Drops rollouts and references that no kept checkpoint can ask for."""
        oldest = min(int(path.name.split("_")[1]) for path in (self.worker.dir / "state").glob("step_*"))
        self.history.drop_before(oldest)
        if self.reference and self.config.reference_every:
            self.reference.drop_before(oldest - oldest % self.config.reference_every)
