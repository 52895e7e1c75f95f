"""Adds the English world's general and safety prompts to data that has reasoning prompts only."""

from collections.abc import Callable

from stages.data.file_prompts import FilePrompts
from stages.prompting.prompt import Prompt
from stages.worlds.english.sources import EnglishPrompts, every_prompt
from stages.worlds.reasoning_gym.source import ReasoningGymPrompts


class WithGeneralPrompts:
    """Reasoning prompts of one source, and helpful and safety prompts of the English world.

    Attributes:
        summary: what the source of the reasoning prompts says about rows that were left out.
    """

    def __init__(self, reasoning: ReasoningGymPrompts | FilePrompts, general: EnglishPrompts):
        self.reasoning, self.general = reasoning, general
        self.summary: str = getattr(reasoning, "summary", "")
        if isinstance(reasoning, FilePrompts):
            self.count = reasoning.count  # generated problems have no number

    def get(self, index: int, domain: str = "reasoning") -> Prompt:
        """Returns prompt number `index` of a domain."""
        return (self.reasoning if domain == "reasoning" else self.general).get(index, domain)

    def check_lengths(self, encode: Callable[[list[Prompt]], list[list[int]]], max_tokens: int) -> None:
        """Raises ValueError if a reasoning prompt, or any general one, is longer than `max_tokens`.

        Args:
            encode: gives the token ids that the model is sent for each prompt.
            max_tokens: most tokens of a prompt.
        """
        self.reasoning.check_lengths(encode, max_tokens)
        prompts = every_prompt(self.general.split)
        longest, prompt = max(zip(map(len, encode(prompts)), prompts), key=lambda pair: pair[0])
        if longest > max_tokens:
            raise ValueError(
                f"data.general=english: the prompt {prompt.text!r} has {longest} tokens with its template, "
                f"data.max_prompt_tokens is {max_tokens}: raise it (and the model's context), or give fewer examples"
            )
