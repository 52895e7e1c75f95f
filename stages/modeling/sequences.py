"""Long rows over several ranks: each computes a slice of the tokens, and in attention all tokens for some of the heads.

That is Ulysses (Jacobs et al. 2023, arXiv 2309.14509), by DeepSpeed's own attention (Arctic Long Sequence Training,
arXiv 2506.13996) around ours for packed rows. All ranks of a group are given the same whole row and get what the model
says of the whole row: it is cut when it goes in, and joined when it comes out. So a loss is computed by each of them
from the whole, whatever it is made of, and in the backward pass each takes the gradient of its own tokens: the
gradients of all ranks add up to that of the loss, as they do where ranks have rows of their own.
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist

from stages.runtime.distributed import collective_timeout
from stages.runtime.errors import InputError

if TYPE_CHECKING:
    from deepspeed.runtime.sequence_parallel.ulysses_sp import UlyssesSPAttentionHF
    from torch.distributed import ProcessGroup


@dataclass(frozen=True)
class Share:
    """The part of a global batch that a rank trains on; the ranks of a sequence group have the same one."""

    count: int  # parts that the batch is dealt into
    number: int  # of this rank's part, from 0
    is_counted_here: bool  # whether this rank adds it to sums over all ranks: one rank of each group does
    num_ranks: int = 1  # ranks that have the same part, neighbours

    def number_of(self, rank: int) -> int:
        """The number of another rank's part."""
        return rank // self.num_ranks


@dataclass(frozen=True)
class Slice:
    """This rank's tokens of a packed row, with what attention has to know of the whole row."""

    input_ids: torch.Tensor  # [1, total / n]
    position_ids: torch.Tensor  # [1, total / n]
    boundaries: torch.Tensor  # [S + 1] int32, of the whole row, which ends in pads where n does not divide it
    longest: int
    places_n: torch.Tensor  # where this rank's targets are predicted from: index into its own tokens
    is_own_N: torch.Tensor  # which of all targets are this rank's


class SequenceGroup:
    """Neighbouring ranks that hold the rows of a batch together.

    Args:
        size: Ranks of a group; it divides the number of all ranks.
    """

    def __init__(self, size: int):
        """Makes the groups. Collective among all ranks.

        Raises:
            InputError: The number of ranks is no multiple of the size.
        """
        if dist.get_world_size() % size:
            raise InputError(
                f"deepspeed.sequence_parallel {size} does not divide the {dist.get_world_size()} process(es) of this "
                f"stage: start it on a multiple of {size}, or use deepspeed.sequence_parallel=1"
            )
        self.size = size
        self.number, self.place = divmod(dist.get_rank(), size)
        self._group: ProcessGroup | None = None
        for first in range(0, dist.get_world_size(), size):
            group = dist.new_group(list(range(first, first + size)), timeout=collective_timeout())
            if first == self.number * size:
                self._group = group
        self._attention: dict[tuple[int, int, int], UlyssesSPAttentionHF] = {}

    @property
    def share(self) -> Share:
        """The part of a batch that this group trains on."""
        return Share(dist.get_world_size() // self.size, self.number, self.place == 0, self.size)

    def cut(
        self,
        input_ids: torch.Tensor,
        position_ids: torch.Tensor,
        boundaries: torch.Tensor,
        longest: int,
        places_N: torch.Tensor,
    ) -> Slice:
        """This rank's slice of a packed row; the arguments are those of `TokenBatch`.

        Where the ranks do not divide its tokens, pads follow them as a sequence of their own, which has no target.
        """
        total = input_ids.shape[1]
        own = math.ceil(total / self.size)
        num_pads = own * self.size - total
        if num_pads:
            input_ids = torch.cat([input_ids, input_ids.new_zeros(1, num_pads)], 1)
            position_ids = torch.cat([position_ids, torch.arange(num_pads, device=position_ids.device)[None]], 1)
            boundaries = torch.cat([boundaries, boundaries[-1:] + num_pads])
        first = self.place * own
        is_own_N = (places_N >= first) & (places_N < first + own)
        return Slice(
            input_ids[:, first : first + own],
            position_ids[:, first : first + own],
            boundaries,
            max(longest, num_pads),
            places_N[is_own_N] - first,
            is_own_N,
        )

    def joined(self, values_n: torch.Tensor, is_own_N: torch.Tensor) -> torch.Tensor:
        """[N] the values of all ranks' targets, from those of each one's own. Collective in the group.

        The gradient of the whole goes back to each rank's own values.
        """
        if len(is_own_N) == 0:  # no rank has a target
            return values_n
        return _Joined.apply(values_n, is_own_N, self._group)

    def attention(
        self,
        core: Any,
        module: torch.nn.Module,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        **more: Any,
    ) -> tuple[torch.Tensor, None]:
        """Attention of this rank's tokens to the whole row: `core` sees all tokens, and this rank's share of the heads.

        Args:
            core: The attention function.
            module: The attention layer.
            query: [1, H, total / n, D].
            key: [1, K, total / n, D]; where K is less than n, heads are repeated.
            value: [1, K, total / n, D].
            more: What `core` takes besides.

        Returns:
            ([1, total / n, H, D], None). Collective in the group.
        """
        shape = query.shape[1], key.shape[1], query.shape[3]
        if shape not in self._attention:
            self._attention[shape] = self._ulysses(core, *shape)
        # DeepSpeed gathers the positions of all tokens for kernels that look at them; ours looks at the boundaries.
        output, _ = self._attention[shape](module, query, key, value, None, position_ids=query.new_zeros(1, 1), **more)
        return output.unflatten(2, (query.shape[1], query.shape[3])), None

    def _ulysses(self, core: Any, num_heads: int, num_kv_heads: int, head_size: int) -> "UlyssesSPAttentionHF":
        """DeepSpeed's exchange of tokens for heads, for layers with these heads.

        It is made here and not by `register_with_transformers`, which may be called once in a process and serves the
        heads of one model: a stage has a policy and a reference, or two reward models.
        """
        from deepspeed.runtime.sequence_parallel.ulysses_sp import UlyssesSPAttentionHF

        assert self._group is not None
        return UlyssesSPAttentionHF(
            attn=core,
            batch_size=1,
            attn_head_count=num_heads,
            attn_head_size=head_size,
            kv_head_count=num_kv_heads,
            num_hidden_layers=1,  # read by a mode for debugging only
            process_group=self._group,
            seq_length_is_variable=True,
        )


class _Joined(torch.autograd.Function):
    """Puts each rank's values in their places among those of all ranks."""

    @staticmethod
    def forward(ctx: Any, values_n: torch.Tensor, is_own_N: torch.Tensor, group: "ProcessGroup") -> torch.Tensor:
        """Each place is filled by one rank and 0 on the others, so that the sum is exact."""
        ctx.save_for_backward(is_own_N)
        whole_N = values_n.new_zeros(len(is_own_N))
        whole_N[is_own_N] = values_n
        dist.all_reduce(whole_N, group=group)
        return whole_N

    @staticmethod
    def backward(ctx: Any, gradient_N: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        """Every rank has the gradient of the whole loss; it takes that of its own values."""
        (is_own_N,) = ctx.saved_tensors
        return gradient_N[is_own_N], None, None


_GROUPS: dict[int, SequenceGroup] = {}


def sequence_group(size: int) -> SequenceGroup:
    """The groups of so many ranks, made once in a process. The first call is collective among all ranks."""
    if size not in _GROUPS:
        _GROUPS[size] = SequenceGroup(size)
    return _GROUPS[size]
