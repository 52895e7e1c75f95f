"""From token sequences to the tensors of a forward pass: shared out over ranks, cut into micro-batches, laid out.

All are pure functions that every rank computes alike.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

TokenRow = Sequence[int] | np.ndarray  # token ids


def micro_batches(
    lengths: list[int], world_size: int, rank: int, token_budget: int, packed: bool = False
) -> list[list[int]]:
    """This rank's micro-batches of a global batch, as indices of its sequences.

    Sequences are dealt to ranks in snake order of length, so that ranks get the same number and nearly the same tokens;
    each rank cuts its own, sorted by length, so that padding is small; packed rows have none and are filled by best fit
    [V2 B.1]. Every rank gets as many micro-batches (some may be empty), because under ZeRO 2-3 each backward pass is a
    collective; there is always at least one.

    Args:
        lengths: Tokens of each sequence of the global batch.
        world_size: Number of ranks.
        rank: The rank whose micro-batches are wanted.
        token_budget: Most tokens of a micro-batch, padding included; one sequence alone may exceed it.
        packed: Whether rows are packed.

    >>> micro_batches([5, 1, 4, 2], world_size=2, rank=0, token_budget=10)
    [[1, 0]]
    >>> micro_batches([5, 1, 4, 2], world_size=2, rank=1, token_budget=10)
    [[3, 2]]
    """
    return micro_batches_of_ranks(lengths, world_size, token_budget, packed)[rank]


def micro_batches_of_ranks(
    lengths: Sequence[int], world_size: int, token_budget: int, packed: bool = False
) -> list[list[list[int]]]:
    """The micro-batches of every rank, see `micro_batches`."""
    order = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
    cut = _best_fit if packed else _cut
    return _even([cut(share[::-1], lengths, token_budget) for share in _deal(order, world_size)])


def group_micro_batches_of_ranks(
    prompts: Sequence[Hashable],
    prompt_lengths: Sequence[int],
    completion_lengths: Sequence[int],
    world_size: int,
    token_budget: int,
) -> list[list[list[int]]]:
    """The micro-batches of every rank for `lay_out_groups`: completions of one prompt stay together and share it.

    A micro-batch pays for their prompt once. Each group is dealt to all ranks, so that they get nearly the same tokens.

    Args:
        prompts: For each sequence what its prompt is known by: the same for the same tokens.
        prompt_lengths: Tokens of the prompt of each sequence.
        completion_lengths: Tokens of each completion.
        world_size: Number of ranks.
        token_budget: Most tokens of a micro-batch; one sequence alone may exceed it.

    >>> group_micro_batches_of_ranks("abab", [2, 2, 2, 2], [1, 2, 2, 1], world_size=1, token_budget=5)
    [[[2, 0], [1, 3]]]
    """
    groups: dict[Hashable, list[int]] = {}
    for index, prompt in enumerate(prompts):
        groups.setdefault(prompt, []).append(index)
    order = [index for group in groups.values() for index in sorted(group, key=lambda i: (-completion_lengths[i], i))]
    return _even(
        [
            _cut_groups(share, prompts, prompt_lengths, completion_lengths, token_budget)
            for share in _deal(order, world_size)
        ]
    )


def _deal(order: list[int], world_size: int) -> list[list[int]]:
    """Deals indices to the ranks in snake order, like cards: 0 1 | 1 0 | 0 1."""
    shares: list[list[int]] = [[] for _ in range(world_size)]
    for place, index in enumerate(order):
        lap, seat = divmod(place, world_size)
        shares[seat if lap % 2 == 0 else world_size - 1 - seat].append(index)
    return shares


def _even(cut: list[list[list[int]]]) -> list[list[list[int]]]:
    """The micro-batches of all ranks, with empty ones added until every rank has the same number."""
    count = max(1, *map(len, cut))
    return [batches + [[]] * (count - len(batches)) for batches in cut]


def _cut_groups(
    share: list[int],
    prompts: Sequence[Hashable],
    prompt_lengths: Sequence[int],
    completion_lengths: Sequence[int],
    token_budget: int,
) -> list[list[int]]:
    """Cuts consecutive runs within the budget, in which a prompt counts once; one row alone may exceed it."""
    batches: list[list[int]] = []
    size = 0
    for index in share:
        whole = prompt_lengths[index] + completion_lengths[index]
        size += completion_lengths[index] if batches and prompts[index] == prompts[batches[-1][-1]] else whole
        if batches and size <= token_budget:
            batches[-1].append(index)
        else:
            batches.append([index])
            size = whole
    return batches


def _cut(share: list[int], lengths: Sequence[int], token_budget: int) -> list[list[int]]:
    """Cuts consecutive runs, short to long, that fit the budget, padding included; one sequence alone may exceed it."""
    batches: list[list[int]] = []
    for index in share:
        if batches and (len(batches[-1]) + 1) * lengths[index] <= token_budget:
            batches[-1].append(index)
        else:
            batches.append([index])
    return batches


def _best_fit(share: list[int], lengths: Sequence[int], token_budget: int) -> list[list[int]]:
    """Best-fit decreasing: from the longest on, each sequence goes to the fullest row that has room for it.

    One sequence alone may exceed the budget.

    >>> _best_fit([0, 1, 2, 3], [2, 3, 5, 6], token_budget=8)
    [[3, 0], [2, 1]]
    """
    batches: list[list[int]] = []
    room: list[int] = []
    for index in share[::-1]:
        fitting = [place for place, free in enumerate(room) if free >= lengths[index]]
        if fitting:
            place = min(fitting, key=lambda p: (room[p], p))
            batches[place].append(index)
            room[place] -= lengths[index]
        else:
            batches.append([index])
            room.append(token_budget - lengths[index])
    return batches


@dataclass(frozen=True)
class TokenBatch:
    """Sequences laid out for one forward pass, and the N tokens whose logprobs are wanted."""

    input_ids: torch.Tensor  # [B, T] padded on the right, or [1, total] packed
    places_N: torch.Tensor  # where a target is predicted from: index into the flattened input_ids
    targets_N: torch.Tensor  # its token id
    sequence_N: torch.Tensor  # which of the sequences it belongs to
    position_ids: torch.Tensor | None  # packed: [1, total], from 0 in each sequence
    # packed: [S + 1] int32, where each segment (a sequence, or a part of one) begins, and the end
    boundaries: torch.Tensor | None
    longest: int  # tokens of the longest sequence
    # packed, with shared prompts: [S] int32, the segment that all tokens of this one see too; -1: none
    prefixes: torch.Tensor | None = None

    @property
    def inputs(self) -> tuple[torch.Tensor | int | None, ...]:
        """What `PolicyModel.forward` takes, in its order."""
        return (
            self.input_ids,
            self.places_N,
            self.targets_N,
            self.position_ids,
            self.boundaries,
            self.longest,
            self.prefixes,
        )


def lay_out(
    rows: Sequence[TokenRow],
    is_target: Sequence[Sequence[bool] | np.ndarray],
    pad_id: int,
    device: torch.device,
    packed: bool = False,
) -> TokenBatch:
    """Lays token rows out for a forward pass; targets come row by row, in order.

    No rows become one of two pads without a target: a rank without work still makes its forward pass (see
    PolicyModel.forward).

    Args:
        rows: Token ids of each sequence.
        is_target: For each token whether its logprob is wanted; never of the first of a row.
        pad_id: The token id that pads rows on the right.
        device: Where the tensors go.
        packed: One row of all sequences instead of padded rows.

    >>> batch = lay_out([[5, 6, 7], [8, 9]], [[False, True, True], [False, True]], 0, torch.device("cpu"))
    >>> batch.places_N.tolist(), batch.targets_N.tolist(), batch.sequence_N.tolist()
    ([0, 1, 3], [6, 7, 9], [0, 0, 1])
    """
    rows, is_target = (rows, is_target) if rows else ([[pad_id] * 2], [[False] * 2])
    lengths = torch.tensor([len(row) for row in rows])
    starts = lengths.cumsum(0) - lengths
    flat_ids = _flat(rows, np.int64)
    flags = _flat(is_target, np.bool_)
    found = flags.nonzero()[:, 0]  # place of each target in flat_ids
    sequence = torch.repeat_interleave(lengths)
    places = found - 1
    position_ids = boundaries = None
    if packed:
        input_ids = flat_ids[None]
        position_ids = (torch.arange(len(flat_ids)) - starts[sequence])[None].to(device)
        boundaries = torch.cat([starts, lengths.sum()[None]]).to(device, torch.int32)
    else:
        width = int(lengths.max())
        # place of each token in the padded rows
        padded = sequence * width + torch.arange(len(flat_ids)) - starts[sequence]
        input_ids = torch.full((len(rows) * width,), pad_id).scatter(0, padded, flat_ids).view(len(rows), width)
        places = padded[found] - 1
    return TokenBatch(
        input_ids.to(device),
        places.to(device),
        flat_ids[found].to(device),
        sequence[found].to(device),
        position_ids,
        boundaries,
        int(lengths.max()),
    )


def lay_out_groups(prompts: Sequence[TokenRow], completions: Sequence[TokenRow], pad_id: int) -> TokenBatch:
    """Lays prompts and completions out packed, with a prompt that consecutive rows have in common laid out once.

    Its completions follow it, and each sees the prompt and itself. All completion tokens are targets; no completion may
    be empty. On the CPU only (see stages/modeling/attention.py).

    >>> batch = lay_out_groups([[5, 6], [5, 6], [7]], [[1], [2, 3], [4]], pad_id=0)
    >>> batch.input_ids.tolist(), batch.position_ids.tolist()
    ([[5, 6, 1, 2, 3, 7, 4]], [[0, 1, 2, 2, 3, 0, 1]])
    >>> batch.boundaries.tolist(), batch.prefixes.tolist()
    ([0, 2, 3, 5, 6, 7], [-1, 0, 0, -1, 3])
    >>> batch.places_N.tolist(), batch.targets_N.tolist(), batch.sequence_N.tolist()
    ([1, 1, 3, 5], [1, 2, 3, 4], [0, 1, 1, 2])
    """
    if not prompts:
        return lay_out([], [], pad_id, torch.device("cpu"), packed=True)
    segments: list[TokenRow] = []  # S: prompts and completions, as they are laid out
    prefixes: list[int] = []  # [S] the segment of the prompt that a completion sees; -1 for prompts
    for row, (prompt, completion) in enumerate(zip(prompts, completions)):
        if row == 0 or not np.array_equal(prompt, prompts[row - 1]):
            shared = len(segments)
            segments.append(prompt)
            prefixes.append(-1)
        segments.append(completion)
        prefixes.append(shared)
    ids = _flat(segments, np.int64)
    prefix_S = torch.tensor(prefixes)
    length_S = torch.tensor([len(segment) for segment in segments])
    end_S = length_S.cumsum(0)
    is_completion_S = prefix_S >= 0
    # Before the first token of a segment: as many positions as its prompt has.
    seen_S = torch.where(is_completion_S, length_S[prefix_S], 0)
    positions = torch.arange(len(ids)) - (end_S - length_S - seen_S).repeat_interleave(length_S)
    found = is_completion_S.repeat_interleave(length_S).nonzero()[:, 0]  # places of the targets in ids
    length_B = length_S[is_completion_S]
    places = found - 1
    places[length_B.cumsum(0) - length_B] = (end_S[prefix_S] - 1)[is_completion_S]  # first tokens: from the prompt
    return TokenBatch(
        ids[None],
        places,
        ids[found],
        torch.repeat_interleave(length_B),
        positions[None],
        torch.cat([torch.zeros(1, dtype=torch.int64), end_S]).to(torch.int32),
        int((length_S + seen_S).max()),
        prefix_S.to(torch.int32),
    )


def _flat(rows: Sequence[Sequence[int] | np.ndarray], dtype: type[np.generic]) -> torch.Tensor:
    """The elements of all rows, one after the other; there is at least one row."""
    return torch.from_numpy(np.concatenate([np.asarray(row, dtype) for row in rows]))


def pad_rows(rows: list[list[int]], pad_id: int, device: torch.device) -> torch.Tensor:
    """Token rows as [B, T], padded on the right; no rows become one of two pads (see PolicyModel.forward)."""
    if not rows:
        return torch.full((1, 2), pad_id, device=device)
    width = max(map(len, rows))
    return torch.tensor([row + [pad_id] * (width - len(row)) for row in rows], device=device)


def pad_id(tokenizer: "PreTrainedTokenizerBase") -> int:
    """The token that pads rows: the tokenizer's own, or the end of sequence where it has none."""
    return tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
