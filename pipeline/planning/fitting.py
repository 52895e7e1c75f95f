"""Whether the stages fit into the memory that there is; where one does not, the smallest change with which it does."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from pipeline.configuration.schema import RunConfig
from pipeline.errors import MessageAndFix
from pipeline.planning import capacity, memory
from pipeline.planning.changes import Stage, smallest
from pipeline.planning.shapes import shape_of

if TYPE_CHECKING:
    from pipeline.planning.plan import Step

ERROR = 0.15  # of the prediction: where less than this is left, a note says so
MOST_NAMED = 4  # parts that a message names
OVERRIDE = "force_memory=true starts it all the same"


def check_memory(config: RunConfig, steps: Iterable["Step"]) -> list[MessageAndFix]:
    """An error for each stage that is going to run and does not fit; the last has the fix, one for all of them."""
    if config.force_memory:
        return []
    stages = _too_large(config, steps)
    if not stages:
        return []
    messages = [f"{stage.name} does not fit: {why}" for stage, why in stages]
    experts = next((stage for stage, _ in stages if stage.shape is not None and stage.shape.experts), None)
    if experts is not None:
        messages.append(_of_experts(experts))
        fix = f"train a dense model, as recipe=paper_32b does; {OVERRIDE}"
    else:
        fix = _fix([stage for stage, _ in stages])
    return [(message, fix if message == messages[-1] else "") for message in messages]


def _of_experts(stage: Stage) -> str:
    """Why no change of the configuration makes a large model of experts fit."""
    assert stage.shape is not None
    return (
        f"{stage.run.model_of(stage.name).path} has {stage.shape.parameters / 1e9:.0f}B parameters in layers of "
        f"{stage.shape.experts} experts: only expert parallelism would divide such a layer, and DeepSpeed exports no "
        "weights under it today"
    )


def memory_notes(config: RunConfig, steps: Sequence["Step"]) -> list[str]:
    """A line for each stage that is forced to start, and for each that fits by less than the prediction's error."""
    forced = [
        f"{stage.name} does not fit, and starts because of force_memory=true: {why}"
        for stage, why in (_too_large(config, steps) if config.force_memory else [])
    ]
    return [*forced, *_tight(config, steps), *_unknown(config, steps)]


def _tight(config: RunConfig, steps: Iterable["Step"]) -> list[str]:
    """Lines for stages that have hardly room."""
    lines = []
    for stage, found in _measured(config, steps):
        for gib, there, what in _sizes(stage, found):
            if there and there * (1 - ERROR) < gib <= there:
                lines.append(
                    f"{stage.name} has little room: about {gib:.0f} of the {there:.0f} GiB of {what}, and a prediction "
                    f"may be off by {ERROR:.0%}"
                )
    return lines


def _unknown(config: RunConfig, steps: Iterable["Step"]) -> list[str]:
    """A line where nobody has said what GPUs elsewhere have."""
    needs = [found for _, found in _measured(config, steps) if found.gpu]
    if not needs or capacity.gpu_gib(config):
        return []
    most = max(found.gpu_gib for found in needs)
    return [
        f"whether {most:.0f} GiB fit a GPU is not checked: launcher.gpu_memory_gib=N says what yours have (79 of a "
        "card that is sold with 80 GB)"
    ]


def _measured(config: RunConfig, steps: Iterable["Step"]) -> list[tuple[Stage, memory.Needed]]:
    """The stages that are going to run, each with the memory that it needs, where that is known."""
    found = []
    for step in steps:
        if step.is_made or step.memory is None:
            continue
        if step.config is not None:
            shape = shape_of(config.model_of(step.stage))
            found.append((Stage(config.node(step.stage), step.config, config, shape), step.memory))
    return found


def _too_large(config: RunConfig, steps: Iterable["Step"]) -> list[tuple[Stage, str]]:
    """The stages that do not fit, each with the reason."""
    pairs = [(stage, _why_not(stage, found)) for stage, found in _measured(config, steps)]
    return [(stage, why) for stage, why in pairs if why]


def _sizes(stage: Stage, found: memory.Needed) -> list[tuple[float, float | None, str]]:
    """(GiB that are needed, GiB that there are, of what)."""
    return [
        (found.gpu_gib, capacity.gpu_gib(stage.run), "each GPU"),
        (found.host_gib, capacity.host_gib(stage.run), "each machine"),
    ]


def _why_not(stage: Stage, found: memory.Needed) -> str:
    """Why a stage does not fit, in words; "" where it does."""
    card = capacity.gpu_gib(stage.run)
    least = max(found.sampler_share, found.server_share if _starts_servers(stage) else 0.0)
    if card and least and least > card * stage.config.rollout.gpu_memory_fraction:
        share = stage.config.rollout.gpu_memory_fraction
        also = "; rollout.server.tensor_parallel divides it among GPUs" if found.server_share else ""
        return (
            f"vLLM needs {least:.1f} GiB of each GPU for its weights and one longest sequence, and "
            f"rollout.gpu_memory_fraction={share:g} of {card:.0f} GiB is {card * share:.1f}{also}"
        )
    tables = ((found.gpu, found.gpu_moment), (found.host, found.host_moment))
    for (gib, there, what), (parts, moment) in zip(_sizes(stage, found), tables):
        if there and gib > there:
            largest = sorted(parts.items(), key=lambda part: -part[1])[:MOST_NAMED]
            named = ", ".join(f"{name} {size:.1f}" for name, size in largest)
            return f"it needs {gib:.1f} GiB of {what} ({moment}: {named}), which has {there:.1f}"
    return ""


def _starts_servers(stage: Stage) -> bool:
    """Whether a stage starts rollout servers; of those that run already nobody knows the GPUs."""
    rollout = getattr(stage.config, "rollout", None)
    return rollout is not None and rollout.engine == "server" and not rollout.server.urls


def _fix(stages: Sequence[Stage]) -> str:
    """The smallest change with which all of them fit, as overrides; what is left to do where there is none."""
    found = smallest(stages, fits)
    if found is not None:
        return f"{' '.join(found[0])} fits by the same arithmetic; {OVERRIDE}"
    return (
        "no three changes of sizes, ZeRO, parallelism, offloading and LoRA are enough: take a smaller model or more "
        f"machines; {OVERRIDE}"
    )


def fits(stage: Stage) -> bool:
    """Whether a stage fits into the memory that its launcher has."""
    found = memory.needed(stage.node, stage.config, stage.run, stage.shape)
    return found is None or not _why_not(stage, found)
