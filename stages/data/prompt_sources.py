"""The door to prompts: which source a data config names, and the held-out prompts that it is evaluated on."""

from stages.config import DataConfig
from stages.data.file_prompts import FilePrompts
from stages.prompting.prompt import Prompt
from stages.worlds.reasoning_gym.source import ReasoningGymPrompts
from stages.worlds.reasoning_gym.source import held_out_sets as held_out_families
from stages.worlds.tiny_world.sources import TinyWorldPrompts, held_out_sets


def is_from_file(data: DataConfig) -> bool:
    return data.name == "file" or bool(data.all_sources)


def make_source(
    data: DataConfig, seed: int, stream: str, split: str = "train"
) -> TinyWorldPrompts | ReasoningGymPrompts | FilePrompts:
    """The prompts of a data config; `stream` (the stage's name) makes stages draw different ones."""
    if data.name == "reasoning_gym":
        return ReasoningGymPrompts(data, seed, stream, split)
    if not is_from_file(data):
        return TinyWorldPrompts(seed, stream, split)
    return FilePrompts(data, split, seed=seed, stream=stream)


def evaluation_sets(
    data: DataConfig, num_reasoning: int, num_general: int, num_safety: int, split: str = "test"
) -> dict[str, list[Prompt]]:
    """Set name -> held-out prompts: the tiny world's three sets, one for each family of reasoning-gym, or the held-out
    rows of each source with verifiable answers by its name (`file` where there is only one).
    """
    if data.name == "reasoning_gym":
        return held_out_families(data, num_reasoning)
    if not is_from_file(data):
        return held_out_sets(num_reasoning, num_general, num_safety, split)
    source = make_source(data, seed=0, stream="evaluate", split=split)
    return {name: prompts[:num_reasoning] for name, prompts in source.prompts("reasoning").items()}
