"""Rollouts as the product keeps them: what one rank does with those of a step, timed, profiled and counted."""

import cProfile
import pstats
import random
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter, process_time

import numpy as np
import psutil
import torch

from stages.config import GrpoConfig
from stages.kinds.grpo.advantages import ScoredRollouts, set_advantages
from stages.kinds.grpo.emergence import level_metrics, word_metrics
from stages.kinds.grpo.groups import choose
from stages.kinds.grpo.metrics import reward_metrics
from stages.modeling.batching import lay_out, micro_batches_of_ranks
from stages.prompting.prompt import Prompt
from stages.runtime.distributed import barrier
from stages.training.exchange import deliver, windows
from stages.training.rollout_log import RolloutLog
from stages.training.rollouts import Measures, Rollout, Row, gather

CPU = torch.device("cpu")
POOL, PROMPT_TOKENS, SHOWN = 2**22, 200, 10


def prompt(group: int) -> Prompt:
    return Prompt(f"math-{group}", "What is 12+30? " * 8, "math", "reasoning", "en", "42", "integer")


def simulated(rows: int, tokens: int, group_size: int, rank: int, world_size: int) -> list[Rollout]:
    """This rank's share of the completions, graded and measured."""
    rng = np.random.default_rng(rank)
    ids = rng.integers(0, 151_936, POOL + tokens, dtype=np.int32)
    logprobs = -rng.exponential(0.3, POOL + tokens).astype(np.float32)
    found = []
    for group in range(rank, rows // group_size, world_size):
        prompt_ids = rng.integers(0, 151_936, PROMPT_TOKENS, dtype=np.int32)
        for number in range(group_size):
            start = int(rng.integers(POOL))
            parts = {"accuracy": float((group + number) % 2), "format": 1.0, "language": 1.0}
            found.append(
                Rollout(
                    prompt(group),
                    group,
                    prompt_ids,
                    ids[start : start + tokens].copy(),
                    logprobs[start : start + tokens].copy(),
                    is_truncated=False,
                    completion="word" * tokens,
                    reward=sum(parts.values()),
                    reward_parts=parts,
                    index=group,
                    measures=Measures("1", 1.0, {"wait": number}),
                )
            )
    return found


class Stopwatch:
    """Seconds of each part of the work: by the clock, and as `NAME_cpu` of this rank's processor time."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        barrier()
        started, cpu_started = perf_counter(), process_time()
        yield
        self.seconds[name] = perf_counter() - started
        self.seconds[f"{name}_cpu"] = process_time() - cpu_started


def all_of_it(
    rollouts: list[Rollout], group_size: int, updates: int, rank: int, world_size: int, work: Path, clock: Stopwatch
) -> None:
    """From the graded completions of a rank to the micro-batches that it trains on, and back from the disk."""
    config = GrpoConfig(num_steps=updates, group_size=group_size, updates_per_rollout=updates)
    log = RolloutLog(work / "rollouts", rank, world_size)
    with clock("share"):
        rows = gather(rollouts, rank)
        rows = choose(rows, len(rows) // group_size, group_size)
        set_advantages(rows, config)
    with clock("log"):
        log.write(0, rows)
    with clock("metrics"):
        scored = ScoredRollouts.of(rows, group_size)
        metrics = reward_metrics(rows, scored.is_zero_variance)
        metrics |= word_metrics(rows) | level_metrics(rows)
        assert metrics["reward/accuracy"] == 0.5
    with clock("deliver"):
        train(rows, updates, rank, world_size)
    rollouts.clear()
    del rows, scored
    with clock("replay"):
        again = log.read(0)
        assert again is not None
        log.load(0, again)


def train(rows: list[Row], updates: int, rank: int, world_size: int) -> None:
    """Lays every completion out, in the micro-batches of random parts of the rollout, as `PolicyUpdate` does."""
    order = list(range(len(rows)))
    random.Random(0).shuffle(order)
    size = len(rows) // updates
    for update in range(updates):
        batch = [rows[i] for i in order[update * size : (update + 1) * size]]
        lengths = [row.num_tokens for row in batch]
        shares = micro_batches_of_ranks(lengths, world_size, 2 * max(lengths), packed=True)
        for window in windows(shares, batch):
            wanted = [[i for number in window for i in share[number]] for share in shares]
            tokens = iter(deliver(batch, wanted, rank))
            for number in window:
                drawn = [next(tokens) for _ in shares[rank][number]]
                whole = [np.concatenate([one.prompt_ids, one.completion_ids]) for one in drawn]
                targets = [np.arange(len(ids)) >= PROMPT_TOKENS for ids in whole]
                lay_out(whole, targets, 0, CPU, packed=True)


def after(rows: int, tokens: int, group_size: int, updates: int, rank: int, world_size: int, work: Path) -> dict:
    """What one rank of the side measured."""
    process, clock, profile = psutil.Process(), Stopwatch(), cProfile.Profile()
    at_first = process.memory_full_info().uss
    rollouts = simulated(rows, tokens, group_size, rank, world_size)
    held = process.memory_full_info().uss - at_first
    profile.enable()
    all_of_it(rollouts, group_size, updates, rank, world_size, work, clock)
    profile.disable()
    shard = work / "rollouts" / "step_000000" / f"rank_{rank}.arrow"
    return {
        **clock.seconds,
        "held_gib": held / 2**30,
        "disk_gib": shard.stat().st_size / 2**30,
        "profile": _top(profile),
    }


def _top(profile: cProfile.Profile) -> list[str]:
    stats = pstats.Stats(profile)
    stats.sort_stats("tottime")
    rows = [(stats.stats[function], function) for function in stats.fcn_list[:SHOWN]]  # type: ignore[attr-defined]
    lines = [f"{own:7.2f} {calls:9,} {name} ({Path(file).name})" for (_, calls, own, *_), (file, _, name) in rows]
    return [*lines, f"{stats.total_calls:,} calls in all"]  # type: ignore[attr-defined]


def bytecodes(rows: int, tokens: int, group_size: int, work: Path) -> int:
    """How many bytecodes Python executes for completions of so many tokens, from the graded ones to micro-batches."""
    for name in ("warm", "counted"):  # what is imported or remembered in the first pass is not counted
        rollouts = simulated(rows, tokens, group_size, 0, 1)
        count = executed(
            lambda rollouts=rollouts, name=name: all_of_it(rollouts, group_size, 2, 0, 1, work / name, Stopwatch())
        )
    return count


def executed(function: Callable[[], None]) -> int:
    """How many bytecodes Python executes in a call, those of libraries too."""
    count = 0

    def trace(frame, event, argument):
        nonlocal count
        frame.f_trace_lines, frame.f_trace_opcodes = False, True
        count += event == "opcode"
        return trace

    sys.settrace(trace)
    try:
        function()
    finally:
        sys.settrace(None)
    return count
