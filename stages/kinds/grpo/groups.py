"""From prompts to scored groups: G completions of each prompt, graded while other groups are still sampled.

With dynamic sampling (DAPO, Yu et al. 2025, sec. 3.2) more prompts are drawn until enough groups have rewards that
differ. What is left over waits for the next rollout, and all of it is in the rollout log.
"""

import math
import time
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from stages.config import GrpoConfig
from stages.engines.sampling import Completion, DrawsAhead, Sampler
from stages.engines.sampling.dealing import Dealing
from stages.kinds.grpo.advantages import by_group, has_signal
from stages.kinds.grpo.preference import PreferenceScorer
from stages.kinds.grpo.scoring import apply_rules, set_rewards
from stages.prompting.encoding import Encoder
from stages.prompting.prompt import Prompt, PromptSource
from stages.runtime.deadline import DeadlineMissed
from stages.runtime.seeds import rng_for, seed_for
from stages.runtime.worker import Worker
from stages.training.rollouts import Rollout, Row, gather

if TYPE_CHECKING:
    from stages.engines.sampling.server_sampler import Drawing
    from stages.engines.weights import Weights

NUM_GRADERS = 4  # groups graded at once: one that waits for a slow grader does not hold the others up


@dataclass(frozen=True)
class PlacedPrompt:
    """A prompt that is to be sampled."""

    place: int  # of its group in the rollout
    index: int  # in the stage's stream of prompts
    prompt: Prompt


@dataclass
class Asked:
    """Groups that are asked for: what the engine is given, and the grading of what it has given back."""

    mine: list[PlacedPrompt]  # that this rank scores
    request: tuple[Any, ...]  # the first arguments of `Sampler.sample`
    grading: dict[int, Future]  # by place
    drawing: "Drawing | None" = None  # where servers draw already


class GroupSampler:
    """Samples and scores groups. Every rank makes its share, and knows the rows of all of them."""

    def __init__(
        self,
        worker: Worker,
        config: GrpoConfig,
        encoder: Encoder,
        source: PromptSource,
        engine: Sampler,
        preference: PreferenceScorer | None,
    ):
        """Takes what sampling needs.

        Args:
            worker: the stage.
            config: of the stage.
            encoder: of the policy's prompts and completions.
            source: the stage's stream of prompts.
            engine: draws completions with the weights that it holds.
            preference: scores completions of general prompts; None where no reward model counts.
        """
        self.worker, self.config, self.encoder = worker, config, encoder
        self.source, self.engine, self.preference = source, engine, preference
        self.dealing = Dealing(worker.rank, worker.world_size, config.rollout.tensor_parallel)
        self.graders = ThreadPoolExecutor(NUM_GRADERS, thread_name_prefix="rewards")
        self.times: dict[str, float] = {}  # seconds of the last rollout: "rollout" (sampling), and "reward" after it
        self.reasoning_only = False  # only reasoning prompts from now on: the preference phase was ended early

    def prompts_of_round(self, sampled: list[Row], start: int, number: int = 0) -> tuple[range, int]:
        """The prompts that a round of `rollout` asks for, by their numbers, and the place of the first of their groups.

        Args:
            sampled: what was left over, and what the rounds before have drawn.
            start: number of the first prompt of the stream that was not drawn yet.
            number: of the round; a rollout without dynamic sampling has one.
        """
        config = self.config
        needed = config.prompts_per_step * config.updates_per_rollout
        if not config.oversampling:
            return range(start, start + needed), 0
        missing = needed - sum(has_signal(group) for group in by_group(sampled, config.group_size))
        is_last = number == config.max_sampling_rounds - 1
        count = max(0, missing if is_last else math.ceil(missing * config.oversampling))
        return range(start, start + count), len(sampled) // config.group_size

    def rollout(
        self,
        first: int,
        left_over: list[Row],
        start: int,
        asked: Asked | None = None,
        weights: "Weights | None" = None,
    ) -> list[Row]:
        """Samples and scores what the updates from batch `first` on train on. Collective.

        Args:
            first: number of the rollout's first batch.
            left_over: groups that the rollout before drew and did not use.
            start: number of the first prompt of the stream that was not drawn yet.
            asked: its first round, where that is being drawn already.
            weights: what servers are given where all that drew it are lost; None: the weights of the last sync.

        Returns:
            The rows of all groups of the rollout, those left over first, each marked with its use.
        """
        config = self.config
        self.times = {"rollout": 0.0, "reward": 0.0}
        sampled = list(left_over)
        for number in range(config.max_sampling_rounds if config.oversampling else 1):
            indices, place = self.prompts_of_round(sampled, start, number)
            if not indices:
                break
            sampled += self.finish(self.ask(indices, first, place) if asked is None else asked, weights)
            asked, start = None, indices.stop
        if not config.oversampling:
            return sampled
        return choose(sampled, config.prompts_per_step * config.updates_per_rollout, config.group_size)

    def ask(self, indices: range, first: int, place: int, ahead: bool = False) -> Asked:
        """Asks for one group for each of these prompts; `finish` gives them.

        Args:
            indices: numbers of the prompts in the stage's stream.
            first: number of the rollout's first batch.
            place: of the first of these groups in the rollout.
            ahead: whether servers begin at once, while this process goes on.
        """
        prompts = [PlacedPrompt(place + i, index, self._prompt(index, first)) for i, index in enumerate(indices)]
        drawn, mine = self.dealing.drawn(prompts), self.dealing.owned(prompts)
        prompt_ids = [self.encode(placed.prompt) for placed in drawn]
        owned = {placed.place for placed in mine}
        grading: dict[int, Future] = {}  # by place

        def on_group(i: int, completions: list[Completion]) -> None:
            if drawn[i].place in owned:
                graded = self.graders.submit(self._graded, drawn[i], prompt_ids[i], completions, first)
                grading[drawn[i].place] = graded

        seeds = [
            seed_for(self.worker.seed, self.worker.stage, first, placed.place, placed.prompt.id) for placed in drawn
        ]
        temperature = self.config.rollout.temperature
        request = (prompt_ids, seeds, self.config.group_size, temperature, self.max_tokens(first), on_group)
        asked = Asked(mine, request, grading)
        if ahead:
            assert isinstance(self.engine, DrawsAhead)
            asked.drawing = self.engine.begin(*request)
        return asked

    def finish(self, asked: Asked, weights: "Weights | None" = None) -> list[Row]:
        """Samples, or waits for servers that do, and scores. Collective.

        Args:
            asked: what `ask` gave.
            weights: as in `rollout`.

        Returns:
            Rows of the groups of all ranks, in order of the prompts, G each.
        """
        started = time.time()
        if asked.drawing is None:
            self.engine.sample(*asked.request)
        else:
            assert isinstance(self.engine, DrawsAhead)
            self.engine.finish(asked.drawing, weights)
        sampled = time.time()
        rollouts: list[Rollout] = []
        for placed in asked.mine:
            rollouts += self._result(asked.grading[placed.place], placed.prompt)
        set_rewards(rollouts, self.config.rewards, self.preference)
        self.times["rollout"] += sampled - started
        self.times["reward"] += time.time() - sampled
        return gather(rollouts, self.worker.rank)

    def _prompt(self, index: int, step: int) -> Prompt:
        """Prompt `index` of the stage's stream, of the domain that is drawn for it."""
        seed, stage = self.worker.seed, self.worker.stage
        return self.source.get(index, draw_domain(self.config, index, step, seed, stage, self.reasoning_only))

    def _result(self, grading: Future, prompt: Prompt) -> list[Rollout]:
        """The graded group, waited for. Raises DeadlineMissed after reward_timeout_s."""
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
        self, placed: PlacedPrompt, prompt_ids: list[int], completions: list[Completion], first: int
    ) -> list[Rollout]:
        """The rollouts of a group, with the rules' parts of their rewards. Runs in a thread of the graders."""
        ids = np.asarray(prompt_ids, np.int32)
        rollouts = [self._rollout(placed, ids, completion, first) for completion in completions]
        apply_rules(rollouts, self.config.rewards, self.max_tokens(first))
        for rollout in rollouts:
            rollout.measure()  # while other groups are still sampled
        return rollouts

    def _rollout(self, placed: PlacedPrompt, prompt_ids: np.ndarray, completion: Completion, step: int) -> Rollout:
        """An ungraded rollout that the weights of `step` drew.

        Raises:
            RuntimeError: the sampler's logprobs are not finite.
        """
        if not np.isfinite(completion.logprobs).all():
            raise RuntimeError(
                f"the sampler gave logprobs that are NaN or infinite for prompt {placed.prompt.id} in the rollout of "
                f"step {step}: its weights or its arithmetic are broken; rollout=transformers tells whether the engine "
                f"is to blame, else lower stages.{self.worker.stage}.optim.lr"
            )
        return Rollout(
            placed.prompt,
            placed.place,
            prompt_ids,
            completion.token_ids,
            completion.logprobs,
            completion.is_truncated,
            completion=self.text(completion.token_ids),
            opening=self.encoder.opening,
            index=placed.index,
            step=step,
            version=completion.version,
        )

    def text(self, completion_ids: np.ndarray) -> str:
        """The completion that token ids are, with the opening that the template wrote."""
        return self.encoder.opening + self.encoder.decode([completion_ids])[0]

    def max_tokens(self, step: int) -> int:
        """The longest completion, in tokens, that a rollout which starts after `step` optimizer steps may have."""
        return [tokens for from_step, tokens in self.config.max_completion_tokens if from_step <= step][-1]

    def encode(self, prompt: Prompt) -> list[int]:
        """Token ids of the prompt in the template of the stage."""
        return self.encoder.prompt(prompt.text)

    def held_out(self, prompts: list[Prompt], n: int, step: int) -> list[Rollout]:
        """Samples held-out prompts, with the same seeds whenever they are asked for. Collective.

        Args:
            prompts: always the same ones.
            n: completions of each.
            step: optimizer steps done; the length limit of this step holds.

        Returns:
            n ungraded rollouts of each prompt that this rank owns, in order, without logprobs.
        """
        placed = [PlacedPrompt(place, 0, prompt) for place, prompt in enumerate(prompts)]
        drawn = self.dealing.drawn(placed)
        owned = {one.place for one in self.dealing.owned(placed)}
        prompt_ids = [self.encode(one.prompt) for one in drawn]
        seeds = [seed_for(self.worker.seed, self.worker.stage, "watch", one.place, one.prompt.id) for one in drawn]
        groups = self.engine.sample(prompt_ids, seeds, n, self.config.rollout.temperature, self.max_tokens(step))
        rollouts = []
        for one, ids, completions in zip(drawn, prompt_ids, groups):
            for completion in completions if one.place in owned else []:
                unlogged = Completion(completion.token_ids, np.empty(0, np.float32), completion.is_truncated)
                rollouts.append(self._rollout(one, np.asarray(ids, np.int32), unlogged, 0))
        return rollouts


def draw_domain(config: GrpoConfig, index: int, step: int, seed: int, stage: str, reasoning_only: bool = False) -> str:
    """The domain of a prompt: reasoning, helpful or safety, drawn by the shares of the mix.

    Args:
        config: its `mix`, and `preference_last_steps`: before these steps all prompts are of reasoning.
        index: number of the prompt in the stage's stream.
        step: optimizer steps done when it is sampled.
        seed: of the run.
        stage: its name.
        reasoning_only: the preference phase was ended early.
    """
    is_before_mix = config.preference_last_steps and step < config.num_steps - config.preference_last_steps
    if is_before_mix or reasoning_only:
        shares = {"reasoning": 1.0}
    else:
        shares = {name: getattr(config.mix, name) for name in ("reasoning", "helpful", "safety")}
    rng = rng_for(seed, stage, "domain", index)
    return rng.choices(list(shares), list(shares.values()))[0]


def choose(sampled: list[Row], needed: int, group_size: int) -> list[Row]:
    """Marks which groups are trained on, kept for the next rollout, and dropped.

    The first `needed` groups with a signal get `train`, later ones `keep`, those without a signal `drop`. Where too few
    have a signal, dropped groups fill the batch. Trained groups are numbered from 0.

    Args:
        sampled: rows of groups of `group_size`, in order, with their rewards; `use` and `group` are filled.
        needed: groups that the rollout trains on.
        group_size: completions of one prompt.

    Returns:
        The same rows in the same order.
    """
    groups = by_group(sampled, group_size)
    informative = [group for group in groups if has_signal(group)]
    others = [group for group in groups if not has_signal(group)]
    trained = (informative + others)[:needed]
    for use, chosen in (("drop", others), ("keep", informative[needed:]), ("train", trained)):
        for group in chosen:
            for row in group:
                row.use = use
    for place, group in enumerate(trained):
        for row in group:
            row.group = place
    return [row for group in groups for row in group]
