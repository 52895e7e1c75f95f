"""The changes of a configuration that can make a stage fit into memory, from the mildest on.

A change is applied to copies without the schema's checks, thousands of times; `is_allowed` asks the rules of what has
changed.
"""

import copy
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.configuration.graph import Node, family_of
from pipeline.configuration.schema import RunConfig
from pipeline.planning.devices import is_on_gpus
from pipeline.planning.shapes import Shape
from stages.contract.split_heads import divides

LEAST_TOKENS = 512  # of a micro-batch, below which nobody wants to go
MOST_NODES = 64
FRACTIONS = (0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9)


@dataclass(frozen=True)
class Stage:
    """A stage whose memory is looked at, with the configurations that decide it."""

    node: Node
    config: Any
    run: RunConfig
    shape: Shape | None

    @property
    def name(self) -> str:
        """The stage's name."""
        return self.node.name


@dataclass(frozen=True)
class Change:
    """One key with another value: `text` as people would write it for a stage."""

    section: str  # of the stage's configuration, "launcher" of the run's, or "" for a key of the stage itself
    key: str
    value: Any

    def text(self, stage: Stage) -> str:
        """The override that makes this change for a stage: the shared key, where the stage has the shared value."""
        value = str(self.value).lower() if isinstance(self.value, bool) else f"{self.value:g}"
        if self.section == "launcher":
            return f"launcher.{self.key}={value}"
        shared = getattr(stage.run, self.section, None) if self.section else None
        if shared is not None and getattr(getattr(stage.config, self.section), self.key) == getattr(shared, self.key):
            return f"{self.section}.{self.key}={value}"
        middle = f".{self.section}" if self.section else ""
        return f"stages.{family_of(stage.name)}{middle}.{self.key}={value}"

    def applied(self, stage: Stage) -> Stage:
        """The stage with this change; the same one where it has no such key, or does not gain by it."""
        if self.section == "launcher":
            launcher = _with(stage.run.launcher, self.key, self.value)
            return _with(stage, "run", _with(stage.run, "launcher", launcher))
        if not self.section:
            return _with(stage, "config", _with(stage.config, self.key, self.value)) if self._helps(stage) else stage
        section = getattr(stage.config, self.section, None)
        if section is None or not hasattr(section, self.key):
            return stage
        return _with(stage, "config", _with(stage.config, self.section, _with(section, self.key, self.value)))

    def _helps(self, stage: Stage) -> bool:
        before = getattr(stage.config, self.key, None)
        return before is not None and (isinstance(before, bool) or before > self.value)


def is_allowed(stage: Stage) -> bool:
    """Whether the schema's rules allow what has been changed, and the model can be divided so."""
    sections = [getattr(stage.config, name, None) for name in ("deepspeed", "rollout")]
    if any(section.mistakes() for section in sections if section is not None) or stage.config.mistakes():
        return False
    (deepspeed, rollout), launcher = sections, stage.run.launcher
    heads, kv_heads = (stage.shape.heads, max(1, stage.shape.kv_heads)) if stage.shape else (0, 1)
    size = rollout.tensor_parallel if rollout is not None else 1
    if size > 1 and (launcher.num_processes % size or heads % size):
        return False
    if deepspeed is None:
        return True
    slices = deepspeed.sequence_parallel
    if slices > 1 and (launcher.num_processes * launcher.num_nodes % slices or not divides(slices, heads, kv_heads)):
        return False
    return launcher.num_processes % deepspeed.hpz_partition_size == 0


def ladders(stages: Sequence[Stage]) -> list[list[Change]]:
    """For each key its values from the mildest to the strongest; keys that cost little come first."""
    run = stages[0].run
    trained = [stage.config for stage in stages if hasattr(stage.config, "deepspeed")]
    sampled = [stage.config for stage in stages if hasattr(stage.config, "rollout")]
    found: list[list[Change]] = []
    if trained:
        found.append([Change("deepspeed", "gradient_checkpointing", True)])
        largest = max(config.micro_batch_tokens for config in trained)
        found.append([Change("", "micro_batch_tokens", tokens) for tokens in _halves(largest, LEAST_TOKENS)])
    if is_on_gpus(run):
        found += _on_gpus(run, trained, sampled)
    else:
        if sampled:
            cache = max(config.rollout.kv_cache_gib for config in sampled)
            found.append([Change("rollout", "kv_cache_gib", round(cache / 2**n, 3)) for n in range(1, 9)])
        if trained:
            found.append([Change("", "save_in_background", False)])
        if run.launcher.num_processes > 1:
            found.append([Change("launcher", "num_processes", n) for n in _halves(run.launcher.num_processes, 1)])
    if trained:
        lowest = min(config.deepspeed.zero_stage for config in trained)
        ranks = run.launcher.num_processes * run.launcher.num_nodes
        zero = [Change("deepspeed", "zero_stage", stage) for stage in range(lowest + 1, 4) if ranks > 1]
        found.insert(2, zero)
    if trained and all(hasattr(config, "lora") for config in trained):
        found.append([Change("lora", "rank", 16)])
    return [ladder for ladder in found if ladder]


def _on_gpus(run: RunConfig, trained: Sequence[Any], sampled: Sequence[Any]) -> list[list[Change]]:
    """The keys that count on GPUs only."""
    found: list[list[Change]] = []
    if sampled:
        now = sampled[0].rollout.gpu_memory_fraction
        found.append([Change("rollout", "gpu_memory_fraction", share) for share in
                      sorted(FRACTIONS, key=lambda share: abs(share - now))])  # fmt: skip
        largest = max(config.rollout.tensor_parallel for config in sampled)
        found.append([Change("rollout", "tensor_parallel", n) for n in (2, 4, 8) if n > largest])
    if trained:
        ranks = run.launcher.num_processes
        found.append([Change("deepspeed", "sequence_parallel", n) for n in (2, 4, 8) if ranks % n == 0])
    if trained:
        found.append([Change("", "save_in_background", False)])
        found.append([Change("deepspeed", "offload_optimizer", True)])
        found.append([Change("deepspeed", "offload_parameters", True)])
    nodes = run.launcher.num_nodes
    if run.launcher.name != "local":
        found.append([Change("launcher", "num_nodes", n) for n in _doubles(nodes, MOST_NODES)])
    return found


def smallest(
    stages: Sequence[Stage], fits: Callable[[Stage], bool], most: int = 3
) -> tuple[list[str], list[Stage]] | None:
    """The fewest and mildest changes with which every stage fits.

    Args:
        stages: Those that do not fit as they are.
        fits: Whether a stage fits.
        most: Changes at once, at most.

    Returns:
        The overrides, and the stages with them; None where nothing helps.
    """
    rungs = ladders(stages)
    for count in range(1, most + 1):
        for chosen in itertools.combinations(rungs, count):
            if not any(_fit(stages, changes, fits) for changes in _strongest(chosen)):
                continue
            for changes in sorted(itertools.product(*map(_numbered, chosen)), key=_mildness):
                found = _fit(stages, [change for _, change in changes], fits)
                if found:
                    return _texts(stages, [change for _, change in changes]), found
    return None


def _strongest(chosen: Sequence[list[Change]]) -> Iterator[Sequence[Change]]:
    """The strongest value of each key; of the GPU's share, which is no ladder, every one."""
    options = [ladder if ladder[0].key == "gpu_memory_fraction" else ladder[-1:] for ladder in chosen]
    return itertools.product(*options)


def _fit(stages: Sequence[Stage], changes: Sequence[Change], fits: Callable[[Stage], bool]) -> list[Stage]:
    """The stages with these changes; none where one does not fit, or may not be so."""
    found = []
    for stage in stages:
        for change in changes:
            stage = change.applied(stage)
        if not is_allowed(stage) or not fits(stage):  # the cheap one first
            return []
        found.append(stage)
    return found


def _texts(stages: Sequence[Stage], changes: Sequence[Change]) -> list[str]:
    """The overrides of all stages, each once; of a key of the stages only those that it changes."""
    return list(dict.fromkeys(
        change.text(stage) for change in changes for stage in stages if change.applied(stage) != stage
    ))  # fmt: skip


def _numbered(ladder: list[Change]) -> list[tuple[int, Change]]:
    return list(enumerate(ladder))


def _mildness(changes: Sequence[tuple[int, Change]]) -> int:
    return sum(rung for rung, _ in changes)


def _halves(value: int, least: int) -> list[int]:
    """Half of a number, half of that, and so on.

    >>> _halves(4096, 512)
    [2048, 1024, 512]
    """
    found = []
    while value // 2 >= least:
        value //= 2
        found.append(value)
    return found


def _doubles(value: int, most: int) -> list[int]:
    found = []
    while value * 2 <= most:
        value *= 2
        found.append(value)
    return found


def _with(holder: Any, key: str, value: Any) -> Any:
    """A copy of a frozen dataclass with another value, unchecked."""
    made = copy.copy(holder)
    object.__setattr__(made, key, value)
    return made
