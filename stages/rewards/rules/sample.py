"""What a rule reward sees of a completion."""

from dataclasses import dataclass

from stages.prompting.prompt import Prompt


@dataclass(frozen=True)
class Sample:
    completion: str  # text, with the opening <think> that a template wrote for it
    prompt: Prompt
    is_well_formed: bool  # <think>..</think><answer>..</answer>, and not cut off
    num_tokens: int  # sampled
    max_tokens: int  # that could have been sampled
