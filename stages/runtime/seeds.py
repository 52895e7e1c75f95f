"""Seeds of random draws: each is a pure function of what the draw is for, so there is no generator state to save.

Such as (seed of the run, stage, step, prompt id, sample index).
"""

import hashlib
import random

# Seeds of two prompts are at least this far apart, so that seed + k of one never meets the other's.
MAX_GROUP = 1 << 12


def seed_for(*parts: object) -> int:
    """A seed below 2**62 that is a multiple of MAX_GROUP: sample k of a prompt uses seed + k."""
    digest = hashlib.blake2b("|".join(map(str, parts)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") % (1 << 50) * MAX_GROUP


def rng_for(*parts: object) -> random.Random:
    """A generator that starts from the seed for these parts."""
    return random.Random(seed_for(*parts))
