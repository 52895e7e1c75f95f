"""From prompts to scored groups: G completions of each prompt in one engine call, rewards while other groups still
decode.

With dynamic sampling (DAPO, Yu et al. 2025, sec. 3.2) more prompts are drawn until enough groups have rewards that
differ; what is left over is kept for the next rollout, and all of it is in the rollout log.
"""

import math
import time
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout

import torch

from stages.config import GrpoConfig
from stages.engines.sampling import Completion, Sampler
from stages.kinds.grpo.scoring import PreferenceScorer, apply_rules, set_rewards
from stages.modeling.losses import is_zero_variance
from stages.prompting.prompt import Prompt
from stages.prompting.templates import apply_template, encode_prompt, text_of
from stages.runtime.deadline import DeadlineMissed
from stages.runtime.seeds import rng_for, seed_for
from stages.runtime.worker import Worker
from stages.training.rollouts import Rollout, gather

NUM_GRADERS = 4  # groups graded at once: one that waits for a slow grader does not hold the others up


class GroupSampler:
    """Samples and scores with the weights that the engine holds. Every rank makes its share and gets all of it."""

    def __init__(
        self,
        worker: Worker,
        config: GrpoConfig,
        tokenizer,
        source,
        engine: Sampler,
        preference: PreferenceScorer | None,
    ):
        self.worker, self.config, self.tokenizer, self.source, self.engine, self.preference = (
            worker,
            config,
            tokenizer,
            source,
            engine,
            preference,
        )
        self.graders = ThreadPoolExecutor(NUM_GRADERS, thread_name_prefix="rewards")
        self.times: dict[str, float] = {}
        self.rules_only = False  # only reasoning prompts from now on: the preference phase was ended early

    def rollout(self, first: int, kept: list[Rollout], start: int) -> list[Rollout]:
        """All that is sampled at step `first`, marked with its use. `kept`: left over from the rollout before; `start`:
        the first new prompt.
        """
        config = self.config
        self.times = {"rollout": 0.0, "reward": 0.0}
        needed = config.prompts_per_step * config.updates_per_rollout
        if not config.oversampling:
            return self.groups(range(start, start + needed), first, 0)
        sampled = list(kept)
        for round_number in range(config.max_sampling_rounds):
            missing = needed - sum(has_signal(group) for group in by_group(sampled, config.group_size))
            if missing <= 0:
                break
            count = (
                missing if round_number == config.max_sampling_rounds - 1 else math.ceil(missing * config.oversampling)
            )
            place = len(sampled) // config.group_size
            sampled += self.groups(range(start, start + count), first, place)
            start += count
        return choose(sampled, needed, config.group_size)

    def groups(self, indices: range, first: int, place: int) -> list[Rollout]:
        """Scored groups of these prompts of the stream, from all ranks, in order; `place` numbers the first of them in
        this rollout.
        """
        prompts = [
            (place + i, index, self.source.get(index, self._domain(index, first))) for i, index in enumerate(indices)
        ]
        mine = prompts[self.worker.rank :: self.worker.world_size]
        prompt_ids = [self.encode(prompt) for _, _, prompt in mine]
        grading: dict[int, Future] = {}

        def on_group(i: int, completions: list[Completion]) -> None:
            grading[i] = self.graders.submit(self._graded, *mine[i], prompt_ids[i], completions, first)

        started = time.time()
        seeds = [seed_for(self.worker.seed, self.worker.stage, first, place, prompt.id) for place, _, prompt in mine]
        self.engine.sample(
            prompt_ids, seeds, self.config.group_size, self.config.rollout.temperature, self.max_tokens(first), on_group
        )
        sampled = time.time()
        rollouts = [rollout for i, (_, _, prompt) in enumerate(mine) for rollout in self._result(grading[i], prompt)]
        set_rewards(rollouts, self.config.rewards, self.preference)
        self.times["rollout"] += sampled - started
        self.times["reward"] += time.time() - sampled
        return gather(rollouts, self.worker.world_size)

    def _result(self, grading: Future, prompt: Prompt) -> list[Rollout]:
        limit_s = self.config.reward_timeout_s
        try:
            return grading.result(timeout=limit_s)
        except FutureTimeout:
            raise DeadlineMissed(
                f"rank {self.worker.rank} waited {limit_s:g} s for the rewards of prompt {prompt.id} (kind "
                f"{prompt.kind}, verifier "
                f"{prompt.verifier or 'none'}); the limit is stages.{self.worker.stage}.reward_timeout_s"
            ) from None

    def _graded(
        self, place: int, index: int, prompt: Prompt, prompt_ids: list[int], completions: list[Completion], first: int
    ) -> list[Rollout]:
        rollouts = [
            Rollout(
                prompt,
                place,
                prompt_ids,
                c.token_ids,
                c.logprobs,
                c.is_truncated,
                **text_of(prompt_ids, c.token_ids, self.tokenizer),
                index=index,
                step=first,
            )
            for c in completions
        ]
        apply_rules(rollouts, self.config.rewards, self.max_tokens(first))
        return rollouts

    def max_tokens(self, step: int) -> int:
        return [tokens for from_step, tokens in self.config.max_completion_tokens if from_step <= step][-1]

    def encode(self, prompt: Prompt) -> list[int]:
        return encode_prompt(
            apply_template(prompt.text, self.config.data.template, self.tokenizer),
            self.config.data.template,
            self.tokenizer,
        )

    def held_out(self, prompts: list[Prompt], n: int, step: int) -> list[Rollout]:
        """n completions of each of these prompts, with the same seeds whenever they are asked for; ungraded, from all
        ranks, in order.
        """
        mine = list(enumerate(prompts))[self.worker.rank :: self.worker.world_size]
        prompt_ids = [self.encode(prompt) for _, prompt in mine]
        seeds = [seed_for(self.worker.seed, self.worker.stage, "watch", place, prompt.id) for place, prompt in mine]
        groups = self.engine.sample(prompt_ids, seeds, n, self.config.rollout.temperature, self.max_tokens(step))
        return gather(
            [
                Rollout(
                    prompt, place, ids, c.token_ids, [], c.is_truncated, **text_of(ids, c.token_ids, self.tokenizer)
                )
                for (place, prompt), ids, group in zip(mine, prompt_ids, groups)
                for c in group
            ],
            self.worker.world_size,
        )

    def _domain(self, index: int, step: int) -> str:
        config = self.config
        only_reasoning = (
            config.preference_last_steps and step < config.num_steps - config.preference_last_steps
        ) or self.rules_only
        shares = (
            {"reasoning": 1.0}
            if only_reasoning
            else {name: getattr(config.mix, name) for name in ("reasoning", "helpful", "safety")}
        )
        rng = rng_for(self.worker.seed, self.worker.stage, "domain", index)
        return rng.choices(list(shares), list(shares.values()))[0]


def by_group(rollouts: list[Rollout], group_size: int) -> list[list[Rollout]]:
    return [rollouts[i : i + group_size] for i in range(0, len(rollouts), group_size)]


def has_signal(group: list[Rollout]) -> bool:
    """Whether the group's rewards differ."""
    return not is_zero_variance(torch.tensor([[r.reward for r in group]])).item()


def choose(sampled: list[Rollout], needed: int, group_size: int) -> list[Rollout]:
    """Marks the first `needed` groups that have signal `train`, later ones `keep`, those without `drop`. Where too few
    have signal, dropped groups fill the batch. Trained groups are numbered from 0.
    """
    groups = by_group(sampled, group_size)
    informative = [group for group in groups if has_signal(group)]
    others = [group for group in groups if not has_signal(group)]
    trained = (informative + others)[:needed]
    for use, chosen in (("drop", others), ("keep", informative[needed:]), ("train", trained)):
        for rollout in (rollout for group in chosen for rollout in group):
            rollout.use = use
    for place, group in enumerate(trained):
        for rollout in group:
            rollout.group = place
    return [rollout for group in groups for rollout in group]
