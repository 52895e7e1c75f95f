"""Learning rates beside the size of the model that they are for: what the plan refuses, and what it says of them."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from pipeline.configuration.model_directory import num_parameters, width_of
from pipeline.configuration.schema import RunConfig
from pipeline.errors import MessageAndFix
from stages.config.learning_rates import OF_KIND, for_adapters, usual_rate

if TYPE_CHECKING:
    from pipeline.planning.plan import Step

SLOW = 10  # a rate so many times below the usual one is said


def check_rates(config: RunConfig, steps: Iterable["Step"]) -> list[MessageAndFix]:
    """The stages that are going to train a model from outside at a rate that is plainly too high for its size."""
    errors = []
    for step, size in _from_outside(config, steps):
        rate, usual = step.config.optim.lr, _usual(config, step, size)
        if rate > step.config.health.max_lr_ratio * usual:
            key = _key(config, step.stage)
            message = (
                f"{key} {rate:g} is {rate / usual:.0f} times what is usual for {_trained(step)} of {_millions(size)} "
                f"parameters ({usual:g}): such a step destroys what the model knows"
            )
            errors.append((message, f"{key}={usual:g}; health.max_lr_ratio={rate / usual + 1:.0f} allows it"))
    return errors


def rate_notes(config: RunConfig, steps: Iterable["Step"]) -> list[str]:
    """A line on the rates that follow from the size of a model, and on those that are far below what is usual."""
    by_size: dict[tuple[float, str], list[str]] = {}
    slow = []
    for step, size in _from_outside(config, steps):
        rate, usual = step.config.optim.lr, _usual(config, step, size)
        if rate == usual:
            by_size.setdefault((size, _trained(step)), []).append(f"{step.stage} {rate:g}")
        elif rate * SLOW <= usual:
            slow.append(
                f"{_key(config, step.stage)} {rate:g} is far below what is usual for {_trained(step)} of "
                f"{_millions(size)} parameters ({usual:g}): it may learn very slowly"
            )
    return [
        f"learning rates for {trained} of {_millions(size)} parameters: {', '.join(stages)}; "
        "stages.NAME.optim.lr sets another one"
        for (size, trained), stages in by_size.items()
    ] + slow


def _usual(config: RunConfig, step: "Step", size: float) -> float:
    """The usual learning rate of a stage: of all weights, or of adapters."""
    return for_adapters(usual_rate(step.kind, size), step.config.lora.rank, width_of(config.model_of(step.stage)))


def _trained(step: "Step") -> str:
    """What a stage trains, for a message that goes on with the size."""
    return "adapters on a model" if step.config.lora.is_on else "a model"


def _from_outside(config: RunConfig, steps: Iterable["Step"]) -> list[tuple["Step", float]]:
    """The stages that are going to train a model from outside, each with the parameters of that model."""
    found = []
    for step in steps:
        if step.is_made or step.kind not in OF_KIND:
            continue
        model = config.model_of(step.stage)
        size = num_parameters(model) if model.path else 0
        if size:
            found.append((step, size))
    return found


def _key(config: RunConfig, stage: str) -> str:
    """The key of a stage's learning rate."""
    node = config.node(stage)
    if node.family == "distill" and node.student:
        return f"students.{node.student}.distill.optim.lr"
    return f"stages.{node.family or stage}.optim.lr"


def _millions(size: float) -> str:
    """134.5M for 134,515,008; 7.6B for 7,615,616,512."""
    return f"{size / 1e9:.1f}B" if size >= 1e9 else f"{size / 1e6:.1f}M"
