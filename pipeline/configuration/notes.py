"""What a configuration implies and a reader of the plan should know."""

from pipeline.configuration.data_sources import sources_of
from pipeline.configuration.schema import RunConfig
from stages.config import BF16_TOLERANCE, GrpoConfig, RolloutConfig
from stages.data.file_selection import shown
from stages.data.hub import pin_advice


def file_notes(config: RunConfig) -> list[str]:
    """One line for each directory or set of the hub that a selected stage reads: which of its files."""
    lines = [
        shown(source, key)
        for stage in config.selection
        for key, source in sources_of(config.stage(stage)).items()
        if source.path
    ]
    return list(dict.fromkeys(line for line in lines if line))


def notes(config: RunConfig) -> list[str]:
    """One line for each thing that this configuration switches off or asks for, and that may not be meant."""
    return _of_data(config) + _of_students(config) + _of_precision(config)


def _of_precision(config: RunConfig) -> list[str]:
    """Stages of reinforcement learning in bf16 with the tolerance of fp32: their first probe would end them."""
    stages = {name: config.stage(name) for name in config.selection}
    names = [
        name
        for name, stage in stages.items()
        if isinstance(stage, GrpoConfig)
        and stage.deepspeed.precision == "bf16"
        and stage.rollout.logprob_tolerance <= RolloutConfig().logprob_tolerance
    ]
    if not names:
        return []
    return [
        f"{', '.join(names)}: bf16 rounds differently in the sampler and in the trainer, by more than "
        f"rollout.logprob_tolerance={RolloutConfig().logprob_tolerance:g} allows, which would stop the stage: set "
        f"rollout.logprob_tolerance={BF16_TOLERANCE:g}"
    ]


def _of_students(config: RunConfig) -> list[str]:
    """Two students whose names differ by one letter: both are trained, where one of them may be a slip."""
    names = list(config.students)
    pairs = [
        (one, other) for place, other in enumerate(names) for one in names[:place] if _are_nearly_equal(one, other)
    ]
    return [f"students {one} and {other} are two students, each with stages of its own" for one, other in pairs]


def _are_nearly_equal(one: str, other: str) -> bool:
    """Whether one name is the other with a letter more, less or doubled; `a` and `b`, `7b` and `8b` are not."""
    short, long = sorted((one, other), key=len)
    return len(long) == len(short) + 1 and any(long[:cut] + long[cut + 1 :] == short for cut in range(len(long)))


def _of_data(config: RunConfig) -> list[str]:
    """What the data switches off or asks for."""
    if config.data.name == "reasoning_gym" and config.data.has_general_prompts:
        return []
    if config.data.name == "reasoning_gym":
        return [
            f"data from reasoning-gym ({', '.join(config.data.tasks)}): no general or safety prompts, "
            "so preference rewards are off"
        ]
    if config.data.name != "file":
        return []
    lines = []
    sources = config.data.all_sources
    if not config.data.has_general_prompts:
        where = ", ".join(str(source.path) for source in sources.values())
        lines.append(
            f"data from {where}: no general or safety prompts, so their shares and counts are 0 and preference "
            "rewards are off"
        )
    for name, source in sources.items():
        key = f"data.sources.{name}" if config.data.sources else "data"
        advice = pin_advice(source, key)
        if advice:
            lines.append(advice)
    if not config.model.path:
        lines.append(
            "the recipe's own base knows only the words of the tiny world: other data needs model.path=DIRECTORY"
        )
    return lines
