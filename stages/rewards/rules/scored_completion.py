"""What a rule reward sees of a completion."""

from dataclasses import dataclass

from stages.prompting.prompt import Prompt


@dataclass(frozen=True)
class ScoredCompletion:
    """A completion with what the rules measure of it.

    Attributes:
        completion: its text, including the opening <think> where the template wrote that.
        prompt: the prompt that it answers.
        is_well_formed: it is <think>...</think><answer>...</answer> and was not cut off.
        num_tokens: number of tokens that were sampled.
        max_tokens: most tokens that could have been sampled.
    """

    completion: str
    prompt: Prompt
    is_well_formed: bool
    num_tokens: int
    max_tokens: int
