"""How the time of a stage is spent on GPUs: phases of a rollout with its updates, and of the whole stage."""

import dataclasses
import itertools
import math
from dataclasses import dataclass, field
from typing import Any

from pipeline.configuration.graph import Node
from pipeline.configuration.schema import RunConfig
from pipeline.planning import capacity, memory
from pipeline.planning.shapes import Shape, shape_of
from pipeline.planning.speeds import COPY, Card, Speeds
from stages.config import GrpoConfig, LoraConfig

START_S = 60.0  # libraries, compilation, CUDA graphs: 46 to 67 s were measured
DISK = 2e9  # bytes a second that a machine reads or writes
GIB = 2**30
RULES_S = 1e-3  # of a rank, for grading one completion by rules
PROBED_ROWS = 64  # that the probe computes once more, about
LENGTH = 0.5  # mean length of a completion over its limit
WITH_SIGNAL = 0.5  # share of the groups that dynamic sampling draws


@dataclass(frozen=True)
class Phase:
    """A part of the work: how long it takes once, and how often it comes."""

    name: str
    seconds: float
    count: float = 1.0

    @property
    def total(self) -> float:
        """Seconds of all of them."""
        return self.seconds * self.count


@dataclass(frozen=True)
class Timeline:
    """The time of a stage.

    Attributes:
        cycle: phases of a rollout with its updates, or of one optimizer step; empty where nothing repeats.
        cycles: how often that comes.
        others: start, checkpoints, export.
        steps: optimizer steps of a cycle.
    """

    cycle: list[Phase] = field(default_factory=list)
    cycles: float = 0.0
    others: list[Phase] = field(default_factory=list)
    steps: int = 1

    @property
    def seconds(self) -> float:
        """Of the whole stage."""
        return self.cycle_seconds * self.cycles + sum(phase.total for phase in self.others)

    @property
    def cycle_seconds(self) -> float:
        """Of one cycle."""
        return sum(phase.total for phase in self.cycle)


def timeline(
    node: Node, config: Any, run: RunConfig, shape: Shape, card: Card, rows: int | None = None, length: float = LENGTH
) -> Timeline:
    """How the time of a stage is spent.

    Args:
        node: the stage in the graph.
        config: its configuration.
        run: the configuration of the whole run.
        shape: of its model.
        card: the GPU.
        rows: of an SFT stage, the rows that it trains on; None where that is not known.
        length: mean length of a completion over its limit.
    """
    return _Work(node, config, run, shape, card, rows, length).timeline()


class _Work:
    """The work of one stage on these GPUs."""

    def __init__(
        self, node: Node, config: Any, run: RunConfig, shape: Shape, card: Card, rows: int | None, length: float
    ):
        self.node, self.config, self.run, self.shape = node, config, run, shape
        self.rows, self.length = rows, length
        self.ranks = run.launcher.num_processes * run.launcher.num_nodes
        settings = getattr(config, "deepspeed", run.deepspeed)
        self.settings = settings
        precision = getattr(config, "precision", settings.precision)
        self.number_bytes = 4 if precision == "fp32" else 2
        self.speeds = Speeds(shape, card, self.ranks, run.launcher.num_nodes, self.number_bytes, settings.zero_stage)
        self.is_served = node.kind == "grpo" and config.rollout.engine == "server"
        self.cache_bytes = self._cache()

    def timeline(self) -> Timeline:
        """The phases of this kind of stage."""
        made = getattr(self, f"_{self.node.kind}")()
        start = Phase("start", START_S + self.shape.parameters * self.number_bytes / DISK)
        ends = self._ends(made) if hasattr(self.config, "deepspeed") else []
        return Timeline(made.cycle, made.cycles, [start, *made.others, *ends], made.steps)

    def _cache(self) -> float:
        """Bytes of each GPU for keys and values; 0, which is as much as is wanted, where the model does not fit."""
        found, there = memory.needed(self.node, self.config, self.run, self.shape), capacity.gpu_gib(self.run)
        if found is None or there is None or not found.sampler_share:
            return 0.0
        share = there * self.config.rollout.gpu_memory_fraction
        return found.gpu.get("cache", 0.0) * GIB if found.sampler_share <= share else 0.0

    def _grpo(self) -> Timeline:
        config = self.config
        limit = mean_limit(config.max_completion_tokens, config.num_steps)
        prompt, mean = config.data.max_prompt_tokens / 2, limit * self.length
        rows = config.prompts_per_step * config.group_size * config.updates_per_rollout
        tokens = rows / config.updates_per_rollout * (prompt + mean)
        kept, drawn = rows * mean * 8 / self.ranks, rows * drawn_groups(config)
        cycle = [
            Phase("sync", self.speeds.sync(config.rollout.tensor_parallel)),
            Phase("rollout", self._sampling(drawn, mean, limit, prompt)),
            Phase("reward", drawn / self.ranks * RULES_S + self._judged(drawn, mean)),
            Phase("probe", self.speeds.forward(PROBED_ROWS * (prompt + mean))),
            Phase("log", kept / DISK),
            Phase("update", self._update(tokens, prompt + mean), config.updates_per_rollout),
        ]
        if self.is_served and config.rollout.server.max_staleness:  # the next rollout is drawn while this one trains
            rollout, update = cycle[1], cycle[-1]
            cycle[1] = Phase("rollout beyond updates", max(0.0, rollout.seconds - update.total))
        return Timeline(cycle, config.num_steps / config.updates_per_rollout, [], config.updates_per_rollout)

    def _sft(self) -> Timeline:
        config = self.config
        steps = config.max_steps
        if self.rows is not None:
            steps = math.ceil(config.num_epochs * self.rows / config.batch_size)
            steps = min(steps, config.max_steps or steps)
        usual = min(config.max_tokens, 4096) / 4
        return Timeline([Phase("update", self._update(config.batch_size * usual, usual))], steps)

    def _pretrain(self) -> Timeline:
        usual = self.config.model.max_positions / 4
        return Timeline([Phase("update", self._update(self.config.batch_size * usual, usual))], self.config.num_steps)

    def _collect(self) -> Timeline:
        config = self.config
        limit, prompt = config.max_completion_tokens, config.data.max_prompt_tokens / 2
        rows = config.num_prompts * config.samples_per_prompt
        return Timeline(others=[Phase("sample", self._sampling(rows, limit * self.length, limit, prompt))])

    def _reward_models(self) -> Timeline:
        config = self.config
        limit, prompt = config.max_completion_tokens, config.data.max_prompt_tokens / 2
        rows = config.num_prompts * config.samples_per_prompt
        rows += config.num_safety_prompts * config.safety_samples_per_prompt
        usual = prompt + limit * self.length
        update = self._update(2 * config.batch_size * usual, usual)
        steps = (config.num_steps or 250) + (config.safety_steps or 250)
        sample = Phase("sample", self._sampling(rows, limit * self.length, limit, prompt))
        return Timeline([Phase("update", update)], steps, [sample])

    def _evaluate(self) -> Timeline:
        config = self.config
        count = max(1, len(config.directories) or len(self.node.inputs))
        parts = [
            ((suite.num_problems or 500) * suite.samples_per_prompt, suite.max_completion_tokens)
            for suite in config.settings.values()
        ] or [
            (config.num_reasoning * config.samples_per_prompt + config.num_general + config.num_safety,
             config.max_completion_tokens)
        ]  # fmt: skip
        seconds = sum(self._sampling(rows, limit * self.length, limit, 200) for rows, limit in parts)
        cycle = [Phase("load", self.shape.parameters * self.number_bytes / DISK), Phase("sample", seconds)]
        return Timeline(cycle, count, [Phase("more engines", START_S / 2, self._num_engines() - 1)])

    def _num_engines(self) -> int:
        """Engines of an evaluation: models of one shape share one, and take its weights one after the other.

        Of models that are given as directories nobody has looked at the shapes here.
        """
        if self.config.directories:
            return len(self.config.directories)
        return max(1, len({shape_of(self.run.model_of(stage)) for stage in self.node.inputs}))

    def _sampling(self, rows: float, mean: float, limit: float, prompt: float) -> float:
        rollout, speeds, parallel = self.config.rollout, self.speeds, self.config.rollout.tensor_parallel
        if self.is_served:
            parallel = rollout.server.tensor_parallel
            replicas = len(rollout.server.urls) or rollout.server.replicas
            speeds = dataclasses.replace(speeds, ranks=replicas * parallel)
        return speeds.sample(rows, mean, limit, prompt, parallel, rollout.max_sequences, self.cache_bytes)

    def _update(self, tokens: float, usual: float) -> float:
        """One optimizer step. With adapters no weight below them has a gradient: of three passes two are left."""
        passes = 2.0 if getattr(self.config, "lora", LoraConfig()).is_on else 3.0
        passes += 1.0 if getattr(self.config, "beta", 0) else 0.0
        found = self.speeds.update(tokens, usual, passes, self.config.micro_batch_tokens)
        if self.settings.offload_optimizer:
            found += 16 * self.shape.parameters / self.ranks / COPY * 2
        return found

    def _judged(self, rows: float, mean: float) -> float:
        """Two reward models over the completions of general prompts."""
        if "reward_models" not in self.node.inputs or not self.config.rewards.preference:
            return 0.0
        return self.speeds.forward(2 * rows * mean)

    def _ends(self, made: Timeline) -> list[Phase]:
        """Checkpoints, for which training stops while they are copied, and the export."""
        config = self.config
        copied = self.shape.parameters * (self.number_bytes + 12) / self.ranks / COPY
        steps = made.cycles * made.steps
        count = steps / config.save_every if config.save_every else 0.0
        if config.save_every_minutes:
            count = max(count, made.cycle_seconds * made.cycles / (60 * config.save_every_minutes))
        export = self.shape.parameters * self.number_bytes / DISK
        return [Phase("checkpoint", copied, math.floor(count)), Phase("export", export)]


def drawn_groups(config: GrpoConfig) -> float:
    """Groups that are drawn for each one that is trained on; dynamic sampling draws others for those without signal.

    >>> drawn_groups(GrpoConfig()), drawn_groups(GrpoConfig(oversampling=1, max_sampling_rounds=3))
    (1.0, 1.75)
    """
    if not config.oversampling:
        return 1.0
    missing, drawn = 1.0, 0.0
    for number in range(1, config.max_sampling_rounds + 1):
        asked = missing * (1 if number == config.max_sampling_rounds else config.oversampling)
        drawn, missing = drawn + asked, max(0.0, missing - asked * WITH_SIGNAL)
    return drawn


def mean_limit(schedule: list[list[int]], num_steps: int) -> float:
    """The mean over the steps of a schedule of limits, [from_step, tokens] in order.

    >>> mean_limit([[0, 1024], [300, 2048], [9000, 4096]], 400)
    1280.0
    """
    starts = [min(start, num_steps) for start, _ in schedule] + [num_steps]
    steps_of = [end - start for start, end in itertools.pairwise(starts)]
    return sum(steps * limit for steps, (_, limit) in zip(steps_of, schedule)) / num_steps
