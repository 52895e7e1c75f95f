"""The format reward: is the completion a thought and an answer in their tags, and nothing else [N eq. 4]?"""
import re

TAGS = ("<think>", "</think>", "<answer>", "</answer>")
_FORM = re.compile(r"\s*<think>(.*)</think>\s*<answer>(.*)</answer>\s*", re.DOTALL)


def split_completion(completion: str, is_think_prefilled: bool = False) -> tuple[str, str] | None:
    """(thought, answer) of a well-formed completion, else None. With `is_think_prefilled` the template already wrote <think>."""
    text = "<think>" + completion if is_think_prefilled else completion
    match = _FORM.fullmatch(text)
    if not match or any(text.count(tag) != 1 for tag in TAGS):
        return None
    return match[1], match[2]


def is_well_formed(completion: str, is_think_prefilled: bool = False) -> bool:
    """Exactly one <think>...</think><answer>...</answer>, white space apart. A truncated completion has no end and so is not."""
    return split_completion(completion, is_think_prefilled) is not None


def thought_of(completion: str) -> str:
    """The chain of thought: what stands before </think>, else before the answer, else all of it; without the opening tag."""
    return re.split("</think>|<answer>", completion, maxsplit=1)[0].replace("<think>", "")


def summary_of(completion: str) -> str:
    """What the user reads: all after the chain of thought; the helpful reward model sees only this [N]."""
    return completion.rsplit("</think>", 1)[-1]
