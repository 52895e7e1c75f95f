"""Chooses what supplies the prompts of a data configuration: a world of ours, or rows from outside."""

from stages.config import DataConfig
from stages.data.file_prompts import FilePrompts
from stages.data.general_prompts import WithGeneralPrompts
from stages.prompting.prompt import Prompt
from stages.worlds.english.sources import EnglishPrompts
from stages.worlds.english.sources import held_out_sets as held_out_english
from stages.worlds.reasoning_gym.source import ReasoningGymPrompts
from stages.worlds.reasoning_gym.source import held_out_sets as held_out_families
from stages.worlds.tiny_world.sources import TinyWorldPrompts, held_out_sets


def is_from_file(data: DataConfig) -> bool:
    """Returns whether the prompts come from outside."""
    return data.name == "file" or bool(data.all_sources)


def make_source(
    data: DataConfig, seed: int, stream: str, split: str = "train"
) -> TinyWorldPrompts | ReasoningGymPrompts | FilePrompts | WithGeneralPrompts:
    """Returns what supplies the prompts of a data configuration.

    Args:
        data: the configuration.
        seed: seed of the run.
        stream: the stage's name; stages draw different prompts.
        split: "train" or "test"; the tiny world also has "dev".

    Raises:
        ValueError: rows that cannot be used, or families that do not exist.
    """
    own: ReasoningGymPrompts | FilePrompts
    if data.name == "reasoning_gym":
        own = ReasoningGymPrompts(data, seed, stream, split)
    elif not is_from_file(data):
        return TinyWorldPrompts(seed, stream, split)
    else:
        own = FilePrompts(data, split, seed=seed, stream=stream)
    return own if data.general == "none" else WithGeneralPrompts(own, EnglishPrompts(seed, stream, split))


def evaluation_sets(
    data: DataConfig, num_reasoning: int, num_general: int, num_safety: int, split: str = "test"
) -> dict[str, list[Prompt]]:
    """Returns the sets that models are evaluated on: name -> held-out prompts.

    The tiny world has three sets, reasoning-gym one for each family, and data from outside one for each source with
    verifiable answers, by the source's name ("file" where there is only one). Where general prompts are added
    (data.general), the sets english_general and english_safety come last.

    Args:
        data: the configuration.
        num_reasoning: most prompts of a set with verifiable answers; for reasoning-gym, of all sets together.
        num_general: prompts of the set of general prompts.
        num_safety: prompts of the set of safety prompts.
        split: "test"; the tiny world also has "dev".
    """
    if data.name != "reasoning_gym" and not is_from_file(data):
        return held_out_sets(num_reasoning, num_general, num_safety, split)
    if data.name == "reasoning_gym":
        sets = held_out_families(data, num_reasoning)
    else:
        source = FilePrompts(data, split, seed=0, stream="evaluate")
        sets = {name: prompts[:num_reasoning] for name, prompts in source.prompts("reasoning").items()}
    return sets if data.general == "none" else sets | held_out_english(num_general, num_safety)
