"""Supplies prompts of reasoning-gym families by number, and the held-out problems that every model is evaluated on.

A salted hash of a problem's identity (`families.identity`) decides whether it is held out or for training, so that no
stage, stream or seed ever trains on a held-out problem. A generator draws with one seed after the other until the
problem belongs to the wanted split.
"""

import dataclasses
import hashlib
from collections.abc import Callable
from typing import Any

from stages.config import DataConfig
from stages.prompting.prompt import Prompt
from stages.runtime.seeds import MAX_GROUP, rng_for, seed_for
from stages.worlds.reasoning_gym import entries, families

SPLITS = ("train", "test")
SALT = "reasoning-gym-1"
CHECKED_PROMPTS = 256  # number of prompts whose length is checked before any engine starts
_MAX_TRIES = 1000  # draws for one problem of the wanted split


def is_held_out(task: str, entry: dict[str, Any], fraction: float) -> bool:
    """Returns whether an entry is among the share `fraction` of the family's problems that is held out."""
    digest = hashlib.sha256(f"{SALT}/{families.identity(task, entry)}".encode()).digest()
    return int.from_bytes(digest[:6], "big") < fraction * 2**48


def as_prompt(task: str, config: dict[str, Any], entry: dict[str, Any], split: str, index: int) -> Prompt:
    """Turns entry number `index` of a family into a prompt; its `checks` hold what the family's grader needs."""
    digest = hashlib.sha256(entry["question"].encode()).hexdigest()[:6]
    checks = entries.dumps({"task": task, "config": config, "entry": entry})
    return Prompt(
        id=f"{task}-{split}-{index:06d}-{digest}",
        text=entry["question"].strip(),
        kind=task,
        domain="reasoning",
        language="en",
        answer="" if entry["answer"] is None else str(entry["answer"]),
        verifier="reasoning_gym",
        checks=checks,
    )


class ReasoningGymPrompts:
    """Supplies the prompts of one split.

    Prompt `index` is a pure function of (seed, stream, split, index) and of the tasks. Held-out prompts are the same in
    every run.
    """

    def __init__(self, data: DataConfig, seed: int, stream: str, split: str = "train", tasks: list[str] | None = None):
        """Checks the configuration and prepares to draw.

        Args:
            data: the families, their weights and settings.
            seed: seed of the run.
            stream: name of the stage; stages draw different prompts.
            split: "train" or "test".
            tasks: only these families, in equal shares; None for all of the configuration, by their weights.

        Raises:
            ValueError: an unknown split, or mistakes in the configuration.
        """
        if split not in SPLITS:
            raise ValueError(f"reasoning-gym prompts have the splits {' and '.join(SPLITS)}, got {split!r}")
        mistakes = families.config_mistakes(data.tasks, data.task_weights, data.task_configs)
        if mistakes:
            raise ValueError("; ".join(f"data.{line}" for line in mistakes))
        self.data, self.split = data, split
        self.tasks, self.weights = (tasks, None) if tasks else (data.tasks, data.task_weights or None)
        self._key: tuple[int | str, str] = (seed, stream) if split == "train" else (SALT, "test")
        self._fits: Callable[[str], bool] = lambda text: True

    def get(self, index: int, domain: str = "reasoning") -> Prompt:
        """Returns prompt number `index`; raises ValueError for a domain other than reasoning."""
        if domain != "reasoning":
            raise ValueError(
                f"reasoning-gym has reasoning prompts only, but {domain} prompts were asked for: set mix.{domain}=0"
            )
        return as_prompt(*self.entry(index), self.split, index)

    def entry(self, index: int) -> tuple[str, dict[str, Any], dict[str, Any]]:
        """Returns (family, its settings, entry) number `index`; raises ValueError where no problem fits the split."""
        data = self.data
        task = rng_for(*self._key, "task", index).choices(self.tasks, self.weights)[0]
        config = data.task_configs.get(task, {})
        for attempt in range(_MAX_TRIES):
            entry = families.draw(task, config, seed_for(*self._key, "entry", index, attempt) // MAX_GROUP % 2**31)
            is_of_split = is_held_out(task, entry, data.eval_fraction) == (self.split == "test")
            if is_of_split and self._fits(entry["question"].strip()):
                return task, config, entry
        raise ValueError(
            f"data.tasks: {task} gave no {self.split} problem in {_MAX_TRIES} tries with "
            f"data.eval_fraction={data.eval_fraction}: it has too "
            f"few different problems with data.task_configs.{task}={config}, "
            "or most are longer than data.max_prompt_tokens"
        )

    def check_lengths(self, encode: Callable[[list[Prompt]], list[list[int]]], max_tokens: int) -> None:
        """Raises ValueError if one of the first prompts is longer than `max_tokens`; later ones are then skipped.

        Args:
            encode: gives the token ids that the model is sent for each prompt.
            max_tokens: most tokens of a prompt.
        """
        prompts = [self.get(index) for index in range(CHECKED_PROMPTS)]
        lengths = [len(ids) for ids in encode(prompts)]
        longest = prompts[lengths.index(max(lengths))]
        if max(lengths) > max_tokens:
            raise ValueError(
                f"data.tasks: {longest.id} is {max(lengths)} tokens long, "
                f"data.max_prompt_tokens is {max_tokens}: raise it (and the "
                f"model's context) or make the problems smaller with data.task_configs.{longest.kind}"
            )
        self._fits = lambda text: len(encode([dataclasses.replace(longest, text=text)])[0]) <= max_tokens


def held_out_sets(data: DataConfig, wanted: int) -> dict[str, list[Prompt]]:
    """Returns the held-out problems to evaluate on: family -> its first different problems.

    Args:
        data: the families and their weights.
        wanted: number of problems over all families, shared out by the weights. A family that has fewer different ones
            gives fewer. A larger number keeps the problems of a smaller one.
    """
    weights = data.task_weights or [1.0] * len(data.tasks)
    return {
        task: _held_out(data, task, max(1, round(wanted * weight / sum(weights))))
        for task, weight in zip(data.tasks, weights)
        if weight
    }


def _held_out(data: DataConfig, task: str, wanted: int) -> list[Prompt]:
    source = ReasoningGymPrompts(data, 0, "evaluate", "test", [task])
    found: dict[str, Prompt] = {}
    for index in range(20 * wanted + 100):
        _, config, entry = source.entry(index)
        found.setdefault(families.identity(task, entry), as_prompt(task, config, entry, "test", index))
        if len(found) == wanted:
            break
    return list(found.values())
