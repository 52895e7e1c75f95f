"""Moves the tokens of rollouts between ranks, as arrays: each to the rank that trains on them, and to no other.

Every rank knows the rows of all rollouts, so that all of them know alike who sends how much to whom.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from stages.runtime.distributed import control_group
from stages.training.rollouts import Rollout, Row

MOST_MOVED = 2**24  # tokens that one rank gets at once: about 200 MB


@dataclass(frozen=True)
class Tokens:
    """What is trained on of one rollout."""

    prompt_ids: np.ndarray  # int32
    completion_ids: np.ndarray  # int32
    rollout_logprobs: np.ndarray  # float32
    old_logprobs: np.ndarray | None = None  # float32
    version: np.ndarray | None = None  # int32

    @classmethod
    def of(cls, rollout: Rollout) -> "Tokens":
        """The tokens of a rollout that this rank has."""
        return cls(
            rollout.prompt_ids,
            rollout.completion_ids,
            rollout.rollout_logprobs,
            rollout.old_logprobs,
            rollout.version,
        )


def deliver(rows: Sequence[Row], wanted: Sequence[Sequence[int]], rank: int) -> list[Tokens]:
    """Brings rollouts to the ranks that want them. Collective.

    Args:
        rows: rollouts, the same on every rank.
        wanted: for each rank, indices of the rows that it wants.
        rank: this one.

    Returns:
        The tokens of what this rank wants, in that order.
    """
    outgoing = [
        [_packed(rows[i].here) for i in indices if rows[i].rank == rank] if other != rank else []
        for other, indices in enumerate(wanted)
    ]
    sizes = [
        [_size(rows[i]) for i in wanted[rank] if rows[i].rank == other] if other != rank else []
        for other in range(len(wanted))
    ]
    incoming = [iter(arrays) for arrays in _exchange(outgoing, sizes)]
    found = []
    for row in (rows[i] for i in wanted[rank]):
        here = row.here
        found.append(Tokens.of(here) if here is not None else _unpacked(row, next(incoming[row.rank])))
    return found


def give_back(rows: Sequence[Row], held: Sequence[Sequence[int]], values: Sequence[np.ndarray], rank: int) -> None:
    """Fills `old_logprobs` of rollouts on the ranks that have them, from the ranks that computed them. Collective.

    Args:
        rows: rollouts, the same on every rank.
        held: for each rank, indices of the rows that it has computed; together each row once.
        values: float32, of this rank's, in that order.
        rank: this one.
    """
    own = dict(zip(held[rank], values))
    outgoing: list[list[np.ndarray]] = [[] for _ in held]
    for i, array in own.items():
        if rows[i].rank != rank:
            outgoing[rows[i].rank].append(array.view(np.int32))
    mine = [[i for i in indices if rows[i].rank == rank and i not in own] for indices in held]
    sizes = [[rows[i].num_completion_tokens for i in indices] for indices in mine]
    for indices, arrays in zip(mine, _exchange(outgoing, sizes)):
        own |= {i: array.view(np.float32) for i, array in zip(indices, arrays)}
    for i, row in enumerate(rows):
        row.has_old_logprobs = True
        if row.here is not None:
            row.here.old_logprobs = own[i]


def windows(shares: Sequence[Sequence[Sequence[int]]], rows: Sequence[Row], most: int = MOST_MOVED) -> Iterator[range]:
    """Cuts the micro-batches of all ranks into runs of which no rank gets more than so many tokens at once.

    Args:
        shares: for each rank its micro-batches, of which all ranks have as many, as indices of rows.
        rows: rollouts.
        most: tokens; one micro-batch alone may exceed it.

    Yields:
        Numbers of micro-batches, from the first to the last.
    """
    start, moved = 0, [0] * len(shares)
    for number in range(len(shares[0])):
        added = [sum(rows[i].num_tokens for i in share[number]) for share in shares]
        if number > start and max(before + more for before, more in zip(moved, added)) > most:
            yield range(start, number)
            start, moved = number, [0] * len(shares)
        moved = [before + more for before, more in zip(moved, added)]
    yield range(start, len(shares[0]))


def _size(row: Row) -> int:
    """Numbers of 4 bytes that `_packed` makes of a rollout."""
    return row.num_prompt_tokens + row.num_completion_tokens * (2 + row.has_old_logprobs + row.has_version)


def _packed(rollout: Rollout | None) -> np.ndarray:
    """All tokens of a rollout in one int32 array; float32 numbers keep their bits."""
    assert rollout is not None, "a row says which rank has its rollout"
    parts = [rollout.prompt_ids, rollout.completion_ids, rollout.rollout_logprobs]
    parts += [part for part in (rollout.old_logprobs, rollout.version) if part is not None]
    return np.concatenate([part.view(np.int32) for part in parts])


def _unpacked(row: Row, array: np.ndarray) -> Tokens:
    """The tokens that `_packed` has put together."""
    ends = np.cumsum([row.num_prompt_tokens] + [row.num_completion_tokens] * 3)
    prompt, completion, logprobs, *more = np.split(array, ends)
    old = more.pop(0).view(np.float32) if row.has_old_logprobs else None
    version = more.pop(0) if row.has_version else None
    return Tokens(prompt, completion, logprobs.view(np.float32), old, version)


def _exchange(outgoing: Sequence[Sequence[np.ndarray]], sizes: Sequence[Sequence[int]]) -> list[list[np.ndarray]]:
    """Sends int32 arrays to every rank and gets theirs. Collective.

    Args:
        outgoing: for each rank, the arrays for it; none for this one.
        sizes: for each rank, the sizes of the arrays that come from it.

    Returns:
        For each rank, the arrays that came from it.
    """
    if len(outgoing) == 1:
        return [[]]
    import torch.distributed as dist

    sent = [sum(map(len, arrays)) for arrays in outgoing]
    received = [sum(some) for some in sizes]
    empty = np.empty(0, np.int32)
    output = torch.from_numpy(np.concatenate([empty, *(array for arrays in outgoing for array in arrays)]))
    inbox = torch.empty(sum(received), dtype=torch.int32)
    dist.all_to_all_single(inbox, output, received, sent, group=control_group())
    flat = [size for some in sizes for size in some]
    arrays = iter(np.split(inbox.numpy(), np.cumsum(flat)[:-1]) if flat else [])
    return [[next(arrays) for _ in some] for some in sizes]
