"""Splits a completion into its parts: a chain of thought and an answer, each in its tags.

Some chat templates write the opening <think> at the end of the prompt (`opening_of`). The text of a completion then
begins with that tag too, so that the rest of the code needs no special case.
"""

import re

TAGS = ("<think>", "</think>", "<answer>", "</answer>")
_OPENING = re.compile(r"<think>\s*\Z")
_FORM = re.compile(r"\s*<think>(.*)</think>\s*<answer>(.*)</answer>\s*", re.DOTALL)


def opening_of(prompt: str) -> str:
    """Returns the part of the completion that a templated prompt ends with, as R1's "<think>\\n", or "".

    The model's sampled text continues after it, and the text of a completion begins with it.
    """
    match = _OPENING.search(prompt)
    return match[0] if match else ""


def without_opening(completion: str, opening: str) -> str:
    """Returns the part of a completion that the model itself writes after a prompt that ends with `opening`.

    This is the target text of a training pair with that prompt.
    """
    if not opening:
        return completion
    return completion.removeprefix("<think>").removeprefix(opening.removeprefix("<think>"))


def split_completion(completion: str) -> tuple[str, str] | None:
    """Returns (thought, answer) of a well-formed completion, or None for any other text."""
    if any(completion.count(tag) != 1 for tag in TAGS):
        return None
    match = _FORM.fullmatch(completion)
    return (match[1], match[2]) if match else None


def is_well_formed(completion: str) -> bool:
    """Returns whether a completion is exactly one <think>...</think><answer>...</answer>, ignoring white space.

    A truncated completion lacks its last tag, so it is not well-formed.
    """
    return split_completion(completion) is not None


def thought_of(completion: str) -> str:
    """Returns the chain of thought without its tags.

    It is the text before </think>; without that tag, the text before <answer>; without either, the whole completion.
    """
    return re.split("</think>|<answer>", completion, maxsplit=1)[0].replace("<think>", "")


def summary_of(completion: str) -> str:
    """Returns the text after the chain of thought: what the user reads, and the helpful reward model [N]."""
    return completion.rsplit("</think>", 1)[-1]
