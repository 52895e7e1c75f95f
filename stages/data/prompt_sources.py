"""Chooses what supplies the prompts of a data configuration: a world of ours, or rows from outside."""

from stages.config import DataConfig
from stages.data.file_prompts import FilePrompts
from stages.prompting.prompt import Prompt
from stages.worlds.reasoning_gym.source import ReasoningGymPrompts
from stages.worlds.reasoning_gym.source import held_out_sets as held_out_families
from stages.worlds.tiny_world.sources import TinyWorldPrompts, held_out_sets


def is_from_file(data: DataConfig) -> bool:
    """Returns whether the prompts come from outside."""
    return data.name == "file" or bool(data.all_sources)


def make_source(
    data: DataConfig, seed: int, stream: str, split: str = "train"
) -> TinyWorldPrompts | ReasoningGymPrompts | FilePrompts:
    """Returns what supplies the prompts of a data configuration.

    Args:
        data: the configuration.
        seed: seed of the run.
        stream: the stage's name; stages draw different prompts.
        split: "train" or "test"; the tiny world also has "dev".

    Raises:
        ValueError: rows that cannot be used, or families that do not exist.
    """
    if data.name == "reasoning_gym":
        return ReasoningGymPrompts(data, seed, stream, split)
    if not is_from_file(data):
        return TinyWorldPrompts(seed, stream, split)
    return FilePrompts(data, split, seed=seed, stream=stream)


def evaluation_sets(
    data: DataConfig, num_reasoning: int, num_general: int, num_safety: int, split: str = "test"
) -> dict[str, list[Prompt]]:
    """Returns the sets that models are evaluated on: name -> held-out prompts.

    The tiny world has three sets, reasoning-gym one for each family, and data from outside one for each source with
    verifiable answers, by the source's name ("file" where there is only one).

    Args:
        data: the configuration.
        num_reasoning: most prompts of a set with verifiable answers; for reasoning-gym, of all sets together.
        num_general: prompts of the tiny world's set of general prompts.
        num_safety: prompts of the tiny world's set of safety prompts.
        split: "test"; the tiny world also has "dev".
    """
    if data.name == "reasoning_gym":
        return held_out_families(data, num_reasoning)
    if not is_from_file(data):
        return held_out_sets(num_reasoning, num_general, num_safety, split)
    source = FilePrompts(data, split, seed=0, stream="evaluate")
    return {name: prompts[:num_reasoning] for name, prompts in source.prompts("reasoning").items()}
