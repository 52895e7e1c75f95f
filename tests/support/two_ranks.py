"""Runs a function of a test on several processes that speak over gloo."""

import multiprocessing
import traceback
from collections.abc import Callable
from pathlib import Path

from tests.support.stage_dirs import end_process


def _work(function: Callable, rank: int, world_size: int, meeting: Path, results) -> None:
    import torch
    import torch.distributed as dist

    torch.set_num_threads(1)
    code = 1
    try:
        dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=world_size)
        results.put((rank, function(rank, world_size)))
        dist.barrier()
        code = 0
    except Exception:
        traceback.print_exc()
    end_process(code)


def on_ranks(function: Callable, world_size: int, directory: Path) -> list:
    """What function(rank, world_size) returns on each rank; it is one of a module."""
    context = multiprocessing.get_context("spawn")
    results = context.SimpleQueue()
    workers = [
        context.Process(target=_work, args=(function, rank, world_size, directory / "meeting", results))
        for rank in range(world_size)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(300)
    assert [worker.exitcode for worker in workers] == [0] * world_size
    found = dict(results.get() for _ in workers)
    return [found[rank] for rank in range(world_size)]
