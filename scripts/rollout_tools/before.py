"""Rollouts as lists in objects, as versions before 0.3 kept them: what one rank did with those of a step."""

import random
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil

from scripts.rollout_tools.after import PROMPT_TOKENS, Stopwatch, prompt
from stages.contract.records import read_record_file, write_record_file
from stages.prompting.prompt import Prompt
from stages.runtime.distributed import gather_objects
from stages.text.completion import thought_of
from stages.text.language import language_consistency
from stages.text.reflection import count_words

WORDS = ("the", "wait", "so", "we", "have", "check", "sum", "therefore", "number", "equals", "prime", "answer")


@dataclass
class ListedRollout:
    """The fields that grew with the tokens, and a few others."""

    prompt: Prompt
    group: int
    prompt_ids: list[int]
    completion_ids: list[int]
    rollout_logprobs: list[float]
    completion: str
    reward: float = 1.0
    reward_parts: dict[str, float] = field(default_factory=lambda: {"accuracy": 1.0, "format": 1.0, "language": 1.0})


def simulated(rows: int, tokens: int, group_size: int, rank: int, world_size: int) -> list[ListedRollout]:
    """This rank's share of the completions."""
    rng, draw = np.random.default_rng(rank), random.Random(rank)
    return [
        ListedRollout(
            prompt(group),
            group,
            rng.integers(0, 151_936, PROMPT_TOKENS).tolist(),
            rng.integers(0, 151_936, tokens).tolist(),
            (-rng.exponential(0.3, tokens).astype(np.float32)).tolist(),
            f"<think>{' '.join(draw.choices(WORDS, k=tokens))}</think><answer>42</answer>",
        )
        for group in range(rank, rows // group_size, world_size)
        for _ in range(group_size)
    ]


def before(rows: int, tokens: int, group_size: int, rank: int, world_size: int, work: Path) -> dict:
    """What one rank of the side measured."""
    process, clock = psutil.Process(), Stopwatch()
    at_first = process.memory_full_info().uss
    rollouts = simulated(rows, tokens, group_size, rank, world_size)
    path = work / "step_000000.jsonl"
    with clock("share"):
        gathered = gather_objects(rollouts)
    del rollouts  # the others' copies of them are as good
    held = process.memory_full_info().uss - at_first
    with clock("log"):
        if rank == 0:
            write_record_file(path, [{**vars(one), "prompt": vars(one.prompt)} for one in gathered])
    with clock("texts"):
        for one in gathered:
            language_consistency(thought_of(one.completion), "en")
            count_words(one.completion)
    with clock("words"):
        for one in gathered:
            count_words(one.completion)
    with clock("replay"):
        again = [ListedRollout(**{**row, "prompt": Prompt(**row["prompt"])}) for row in read_record_file(path)]
    assert len(again) == rows
    return {
        **clock.seconds,
        "held_gib": held / 2**30,
        "disk_gib": path.stat().st_size / 2**30,
    }
