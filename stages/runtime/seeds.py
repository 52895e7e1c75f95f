"""Every random draw is a pure function of what it is for: (seed, stage, step, prompt id, sample index). No generator
state to save.
"""

import hashlib
import random

MAX_GROUP = (
    1 << 12
)  # seeds of two prompts are at least this far apart, so that the engine's seed + k never meets another prompt's


def seed_for(*parts: object) -> int:
    """A seed below 2**62, a multiple of MAX_GROUP: sample k of a prompt uses seed + k."""
    digest = hashlib.blake2b("|".join(map(str, parts)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") % (1 << 50) * MAX_GROUP


def rng_for(*parts: object) -> random.Random:
    return random.Random(seed_for(*parts))
