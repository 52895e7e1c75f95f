"""From token sequences to the tensors of a forward pass: shared out over ranks, cut into micro-batches, laid out.

All are pure functions that every rank computes alike.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


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
    order = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
    cut = _best_fit if packed else _cut
    return _of_rank([cut(share[::-1], lengths, token_budget) for share in _deal(order, world_size)], rank)


def group_micro_batches(
    prompts: list[list[int]], completions: list[list[int]], world_size: int, rank: int, token_budget: int
) -> list[list[int]]:
    """This rank's micro-batches for `lay_out_groups`: completions of one prompt stay together and share its tokens.

    A micro-batch pays for their prompt once. Each group is dealt to all ranks, so that they get nearly the same tokens.
    The arguments are those of `micro_batches`, with the token ids of prompts and completions instead of lengths.

    >>> group_micro_batches([[1, 2], [3, 4], [1, 2], [3, 4]], [[5], [8, 9], [6, 7], [8]], 1, 0, token_budget=5)
    [[2, 0], [1, 3]]
    """
    groups: dict[tuple[int, ...], list[int]] = {}
    for index, prompt in enumerate(prompts):
        groups.setdefault(tuple(prompt), []).append(index)
    order = [index for group in groups.values() for index in sorted(group, key=lambda i: (-len(completions[i]), i))]
    return _of_rank(
        [_cut_groups(share, prompts, completions, token_budget) for share in _deal(order, world_size)], rank
    )


def _deal(order: list[int], world_size: int) -> list[list[int]]:
    """Deals indices to the ranks in snake order, like cards: 0 1 | 1 0 | 0 1."""
    shares: list[list[int]] = [[] for _ in range(world_size)]
    for place, index in enumerate(order):
        lap, seat = divmod(place, world_size)
        shares[seat if lap % 2 == 0 else world_size - 1 - seat].append(index)
    return shares


def _of_rank(cut: list[list[list[int]]], rank: int) -> list[list[int]]:
    """The micro-batches of a rank, with empty ones added until every rank has the same number."""
    count = max(1, *map(len, cut))
    return cut[rank] + [[]] * (count - len(cut[rank]))


def _cut_groups(
    share: list[int], prompts: list[list[int]], completions: list[list[int]], token_budget: int
) -> list[list[int]]:
    """Cuts consecutive runs within the budget, in which a prompt counts once; one row alone may exceed it."""
    batches: list[list[int]] = []
    size = 0
    for index in share:
        whole = len(prompts[index]) + len(completions[index])
        size += len(completions[index]) if batches and prompts[index] == prompts[batches[-1][-1]] else whole
        if batches and size <= token_budget:
            batches[-1].append(index)
        else:
            batches.append([index])
            size = whole
    return batches


def _cut(share: list[int], lengths: list[int], token_budget: int) -> list[list[int]]:
    """Cuts consecutive runs, short to long, that fit the budget, padding included; one sequence alone may exceed it."""
    batches: list[list[int]] = []
    for index in share:
        if batches and (len(batches[-1]) + 1) * lengths[index] <= token_budget:
            batches[-1].append(index)
        else:
            batches.append([index])
    return batches


def _best_fit(share: list[int], lengths: list[int], token_budget: int) -> list[list[int]]:
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
    rows: list[list[int]], is_target: list[list[bool]], pad_id: int, device: torch.device, packed: bool = False
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
    flat_ids = torch.tensor([token for row in rows for token in row])
    flags = torch.tensor([flag for row in is_target for flag in row])
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


def lay_out_groups(prompts: list[list[int]], completions: list[list[int]], pad_id: int) -> TokenBatch:
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
    ids: list[int] = []
    positions: list[int] = []
    places: list[int] = []
    sequence: list[int] = []
    boundaries: list[int] = [0]
    prefixes: list[int] = []
    for row, (prompt, completion) in enumerate(zip(prompts, completions)):
        if row == 0 or prompt != prompts[row - 1]:
            shared = len(prefixes)
            ids += prompt
            positions += range(len(prompt))
            boundaries.append(len(ids))
            prefixes.append(-1)
            end = len(ids) - 1
        places += [end, *range(len(ids), len(ids) + len(completion) - 1)]
        sequence += [row] * len(completion)
        ids += completion
        positions += range(len(prompt), len(prompt) + len(completion))
        boundaries.append(len(ids))
        prefixes.append(shared)
    longest = max(len(prompt) + len(completion) for prompt, completion in zip(prompts, completions))
    targets = [token for completion in completions for token in completion]
    return TokenBatch(
        torch.tensor([ids]),
        torch.tensor(places),
        torch.tensor(targets),
        torch.tensor(sequence),
        torch.tensor([positions]),
        torch.tensor(boundaries, dtype=torch.int32),
        longest,
        torch.tensor(prefixes, dtype=torch.int32),
    )


def pad_rows(rows: list[list[int]], pad_id: int, device: torch.device) -> torch.Tensor:
    """Token rows as [B, T], padded on the right; no rows become one of two pads (see PolicyModel.forward)."""
    if not rows:
        return torch.full((1, 2), pad_id, device=device)
    width = max(map(len, rows))
    return torch.tensor([row + [pad_id] * (width - len(row)) for row in rows], device=device)


def pad_id(tokenizer: "PreTrainedTokenizerBase") -> int:
    """The token that pads rows: the tokenizer's own, or the end of sequence where it has none."""
    return tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
