"""What a configuration implies and a reader of the plan should know."""

from pipeline.configuration.schema import RunConfig
from stages.data.hub import pin_advice


def notes(config: RunConfig) -> list[str]:
    """One line for each thing that the data of this configuration switches off or asks for."""
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
        advice = pin_advice(source, f"data.sources.{name}" if config.data.sources else "data")
        if advice:
            lines.append(advice)
    if not config.model.path:
        lines.append(
            "the recipe's own base knows only the words of the tiny world: other data needs model.path=DIRECTORY"
        )
    return lines
