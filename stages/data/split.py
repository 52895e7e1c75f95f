"""Which prompts are held out: a hash of the prompt decides, so that the same prompt is on the same side in every source
and every run.
"""

import hashlib
from collections.abc import Iterable

SPLITS = ("train", "test")
_SPACE = 2**48


def prompt_hash(text: str) -> int:
    """48 bits of the prompt, apart from case and white space."""
    return int.from_bytes(hashlib.sha256(" ".join(text.split()).casefold().encode()).digest()[:6], "big")


def held_out(hashes_by_source: Iterable[set[int]], eval_fraction: float) -> set[int]:
    """Hashes of the held-out prompts: of each source the share below the threshold, at least one of a source with
    several prompts.
    """
    chosen: set[int] = set()
    for hashes in hashes_by_source:
        mine = {value for value in hashes if value < eval_fraction * _SPACE}
        if not mine and eval_fraction > 0 and len(hashes) > 1:
            mine = {min(hashes)}
        chosen |= mine
    return chosen
