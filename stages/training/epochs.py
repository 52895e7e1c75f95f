"""The order in which rows are trained on: a pure function of a key and a place, so that the cursor is one number."""

from stages.runtime.seeds import rng_for


def epoch_indices(num_rows: int, start: int, count: int, *key: object) -> list[int]:
    """Row indices [start, start + count) of an endless walk through the data, a new permutation each epoch.

    Args:
        num_rows: rows of the data, at least one.
        start: rows that were trained on before.
        count: rows wanted.
        key: what the permutations are drawn by, the seed among it.
    """
    indices: list[int] = []
    while len(indices) < count:
        epoch, offset = divmod(start + len(indices), num_rows)
        order = list(range(num_rows))
        rng_for(*key, "epoch", epoch).shuffle(order)
        indices += order[offset : offset + count - len(indices)]
    return indices
