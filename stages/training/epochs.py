"""The order in which samples are trained on: a pure function of a key and a place, so that the data cursor is one
number.
"""

from stages.runtime.seeds import rng_for


def epoch_indices(num_samples: int, start: int, count: int, *key: object) -> list[int]:
    """Sample indices [start, start + count) of an endless walk through a new permutation each epoch: the data cursor is
    one number.
    """
    indices = []
    while len(indices) < count:
        epoch, offset = divmod(start + len(indices), num_samples)
        order = list(range(num_samples))
        rng_for(*key, "epoch", epoch).shuffle(order)
        indices += order[offset : offset + count - len(indices)]
    return indices
