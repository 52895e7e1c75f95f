"""The parts of a completion: a thought and an answer in their tags.

A completion's text includes the opening <think> where the prompt's template already wrote it (`opening_of`): nothing
else has to know.
"""

import re

TAGS = ("<think>", "</think>", "<answer>", "</answer>")
_OPENING = re.compile(r"<think>\s*\Z")
_FORM = re.compile(r"\s*<think>(.*)</think>\s*<answer>(.*)</answer>\s*", re.DOTALL)


def opening_of(prompt: str) -> str:
    """What a templated prompt has already written of the completion: "<think>\\n" at the end of R1's chat template,
    else "".

    The sampled text goes on after it; texts of completions begin with it.
    """
    match = _OPENING.search(prompt)
    return match[0] if match else ""


def without_opening(completion: str, opening: str) -> str:
    """What the model writes, where the template writes `opening`: the completion of a training pair with that prompt."""
    return completion.removeprefix("<think>").removeprefix(opening.removeprefix("<think>")) if opening else completion


def split_completion(completion: str) -> tuple[str, str] | None:
    """(thought, answer) of a well-formed completion, else None."""
    if any(completion.count(tag) != 1 for tag in TAGS):
        return None
    match = _FORM.fullmatch(completion)
    return (match[1], match[2]) if match else None


def is_well_formed(completion: str) -> bool:
    """Exactly one <think>...</think><answer>...</answer>, white space apart. A truncated completion has no end and so
    is not.
    """
    return split_completion(completion) is not None


def thought_of(completion: str) -> str:
    """The chain of thought: what stands before </think>, else before the answer, else all of it; without the opening
    tag.
    """
    return re.split("</think>|<answer>", completion, maxsplit=1)[0].replace("<think>", "")


def summary_of(completion: str) -> str:
    """What the user reads: all after the chain of thought; the helpful reward model sees only this [N]."""
    return completion.rsplit("</think>", 1)[-1]
