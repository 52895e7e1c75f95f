"""Which rank draws which prompts: ranks that hold one sampler together draw the same ones.

vLLM steps in lockstep on the ranks of a tensor-parallel group, so each of them must be asked for the same completions
in the same order. What follows a completion (grading, records) is done by one of them.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup

T = TypeVar("T")


class Dealing:
    """Deals prompts to the samplers of W ranks, of which P neighbours hold one sampler together.

    >>> prompts = ["a", "b", "c", "d", "e"]
    >>> [Dealing(rank, 4, 2).drawn(prompts) for rank in range(4)]
    [['a', 'c', 'e'], ['a', 'c', 'e'], ['b', 'd'], ['b', 'd']]
    >>> [Dealing(rank, 4, 2).owned(prompts) for rank in range(4)]
    [['a', 'e'], ['c'], ['b'], ['d']]
    """

    def __init__(self, rank: int, world_size: int, tensor_parallel: int = 1):
        """Takes the rank's place.

        Args:
            rank: Of this process.
            world_size: W; a multiple of P.
            tensor_parallel: P, ranks that hold one sampler.
        """
        if world_size % tensor_parallel:
            raise ValueError(f"{world_size} ranks cannot be divided into samplers of {tensor_parallel} ranks each")
        self.world_size, self.tensor_parallel = world_size, tensor_parallel
        self.num_samplers = world_size // tensor_parallel
        self.sampler, self.place = divmod(rank, tensor_parallel)
        self._group: ProcessGroup | None = None

    def drawn(self, items: Sequence[T]) -> list[T]:
        """What this rank's sampler draws: the same on all ranks that hold it."""
        return list(items[self.sampler :: self.num_samplers])

    def owned(self, items: Sequence[T]) -> list[T]:
        """What this rank does everything else for, a part of what its sampler draws: each item has one owner."""
        return list(items[self.sampler + self.place * self.num_samplers :: self.world_size])

    @property
    def is_first(self) -> bool:
        """Whether this rank is the first of those that hold its sampler."""
        return self.place == 0

    def connect(self) -> None:
        """Makes the groups over which `any` speaks. Collective among all ranks."""
        import torch.distributed as dist

        from stages.runtime.distributed import collective_timeout

        if self.tensor_parallel == 1:
            return
        for first in range(0, self.world_size, self.tensor_parallel):
            ranks = list(range(first, first + self.tensor_parallel))
            group = dist.new_group(ranks, backend="gloo", timeout=collective_timeout())
            if first == self.sampler * self.tensor_parallel:
                self._group = group

    def any(self, flag: bool) -> bool:
        """Whether the flag is set on any rank that holds this rank's sampler. Collective among these."""
        if self.tensor_parallel == 1:
            return flag
        import torch
        import torch.distributed as dist

        flags = torch.tensor([float(flag)])
        dist.all_reduce(flags, op=dist.ReduceOp.MAX, group=self._group)
        return bool(flags.item())
