"""Rollouts written down by hand, for tests of rewards, filters and metrics."""

from stages.prompting.prompt import Prompt
from stages.training.rollouts import Rollout, Row

DOMAINS = {"math": "reasoning", "harm": "safety"}


def a_prompt(kind: str = "math", answer: str = "28", language: str = "en", id: str = "p0") -> Prompt:
    return Prompt(
        id, "what is31-3?", kind, DOMAINS.get(kind, "helpful"), language, answer, "integer" if kind == "math" else ""
    )


def a_rollout(
    completion: str, prompt: Prompt | None = None, group: int = 0, num_tokens: int = 5, is_truncated: bool = False
) -> Rollout:
    return Rollout(
        prompt or a_prompt(), group, [1, 2], list(range(num_tokens)), [0.0] * num_tokens, is_truncated, completion
    )


def a_row(*arguments, **more) -> Row:
    """The row of `a_rollout`."""
    return Row.of(a_rollout(*arguments, **more))


def answered(answer: str, thought: str = "wait,31-3=28") -> str:
    return f"<think>{thought}</think><answer>{answer}</answer>"
