"""Decides which prompts are held out, by a hash of the prompt.

So the same prompt is on the same side in every source and every run.
"""

import hashlib
from collections.abc import Iterable

from stages.text.normal_form import encoded

SPLITS = ("train", "test")
_SPACE = 2**48


def prompt_hash(text: str) -> int:
    """Returns a hash of a prompt's normal form, 48 bits."""
    return int.from_bytes(hashlib.sha256(encoded(text)).digest()[:6], "big")


def held_out(hashes_by_source: Iterable[set[int]], eval_fraction: float) -> set[int]:
    """Returns the hashes of the held-out prompts.

    Args:
        hashes_by_source: the hashes of each source's prompts.
        eval_fraction: share of each source that is held out, 0..1; at least one prompt of a source with several.
    """
    chosen: set[int] = set()
    for hashes in hashes_by_source:
        mine = {value for value in hashes if value < eval_fraction * _SPACE}
        if not mine and eval_fraction > 0 and len(hashes) > 1:
            mine = {min(hashes)}
        chosen |= mine
    return chosen
