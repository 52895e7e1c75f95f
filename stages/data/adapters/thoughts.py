"""Distillation sets: chains of thought with a solution are rewritten as <think>...</think><answer>...</answer>."""

import re

from stages.data.chats import chat_in, exchange
from stages.data.malformed import LeftOut

_THOUGHTS = re.compile(r"\s*<think>(.*?)</think>(.*)", re.DOTALL)
_OPEN_THOUGHTS = re.compile(
    r"\s*<\|begin_of_thought\|>(.*?)<\|end_of_thought\|>\s*<\|begin_of_solution\|>(.*?)(?:<\|end_of_solution\|>\s*)?$",
    re.DOTALL,
)


def thoughts(raw: dict) -> dict:
    """Adapts Mixture-of-Thoughts and OpenR1-Math, whose assistant writes <think>...</think> and then the solution."""
    prompt, answer = exchange(chat_in(raw["messages"], "messages") or [], "first")
    return {**raw, "prompt": prompt, "completion": _tagged(_THOUGHTS, answer)}


def open_thoughts(raw: dict) -> dict:
    """Adapts OpenThoughts, whose conversations have <|begin_of_thought|> and <|begin_of_solution|>.

    Later versions of the set have <think> instead.
    """
    prompt, answer = exchange(chat_in(raw["conversations"], "conversations") or [], "first")
    return {
        **raw,
        "prompt": prompt,
        "completion": _tagged(_OPEN_THOUGHTS if "<|begin_of_thought|>" in answer else _THOUGHTS, answer),
    }


def _tagged(form: re.Pattern, text: str) -> str:
    """Rewrites a completion of a form, whose two groups are the thought and the solution, with our tags."""
    match = form.fullmatch(text)
    if not match or not match[1].strip() or not match[2].strip():
        raise LeftOut("no chain of thought, or no solution after it")
    return f"<think>{match[1]}</think>\n<answer>{match[2].strip()}</answer>"
