"""Sharing a batch out: over ranks by length, then into micro-batches under a token budget. Pure functions that every rank computes alike."""
import torch


def micro_batches(lengths: list[int], world_size: int, rank: int, token_budget: int) -> list[list[int]]:
    """Indices of this rank's micro-batches of a global batch with these sequence lengths (tokens).

    Sequences are dealt to ranks in snake order of length, so that ranks get the same number and nearly the same tokens; each rank cuts
    its own, sorted by length, so that padding is small. Every rank gets as many micro-batches (some may be empty), because under
    ZeRO 2-3 each backward pass is a collective; there is always at least one.

    >>> micro_batches([5, 1, 4, 2], world_size=2, rank=0, token_budget=10)
    [[1, 0]]
    >>> micro_batches([5, 1, 4, 2], world_size=2, rank=1, token_budget=10)
    [[3, 2]]
    """
    order = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
    shares: list[list[int]] = [[] for _ in range(world_size)]
    for place, index in enumerate(order):
        lap, seat = divmod(place, world_size)
        shares[seat if lap % 2 == 0 else world_size - 1 - seat].append(index)
    cut = [_cut(share[::-1], lengths, token_budget) for share in shares]
    count = max(1, *map(len, cut))
    return cut[rank] + [[]] * (count - len(cut[rank]))


def _cut(share: list[int], lengths: list[int], token_budget: int) -> list[list[int]]:
    """Consecutive runs (short to long) whose padded size is within the budget; one sequence alone may exceed it."""
    batches: list[list[int]] = []
    for index in share:
        if batches and (len(batches[-1]) + 1) * lengths[index] <= token_budget:
            batches[-1].append(index)
        else:
            batches.append([index])
    return batches


def pad_rows(rows: list[list[int]], pad_id: int, device: torch.device) -> torch.Tensor:
    """[B, T], padded on the right; an empty batch becomes one row of two pads (see PolicyModel.forward)."""
    if not rows:
        return torch.full((1, 2), pad_id, device=device)
    width = max(map(len, rows))
    return torch.tensor([row + [pad_id] * (width - len(row)) for row in rows], device=device)


def pad_values(rows: list[list[float]], width: int, device: torch.device, fill: float = 0.0) -> torch.Tensor:
    """[B, width] floats, padded on the right."""
    if not rows:
        return torch.full((1, width), fill, device=device)
    return torch.tensor([row + [fill] * (width - len(row)) for row in rows], device=device, dtype=torch.float32)
