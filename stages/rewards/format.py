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
    """The chain of thought, also of a malformed completion: what stands before the answer, without tags."""
    text = completion.split("<answer>")[0]
    before_end = text.split("</think>")[0]
    return before_end.split("<think>")[-1].strip()


def summary_of(completion: str) -> str:
    """What the reader gets: all that follows the thought, tags taken off; the whole completion where there is no thought."""
    return re.sub(r"</?answer>", "", completion.rsplit("</think>", 1)[-1]).strip()
