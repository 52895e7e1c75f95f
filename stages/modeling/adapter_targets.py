"""Which layers of a model get adapters, found in the model itself."""

import re
from typing import TYPE_CHECKING

import torch
from torch import nn

from stages.config.lora import ends_with
from stages.config.mistakes import hint
from stages.contract.linear_layers import READ_BY_KERNELS
from stages.modeling.batching import lay_out
from stages.modeling.checks import evaluating, short_rows
from stages.modeling.divided import forward_possible
from stages.runtime.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

MOST_NAMED = 12  # names of layers that a message lists


def width_of(model: "PreTrainedModel") -> int:
    """The width of a model: the elements of a hidden state."""
    config = model.config.get_text_config()
    return int(config.hidden_size)


def linear_layers(model: "PreTrainedModel") -> dict[str, nn.Module]:
    """The layers of a model that adapters can be put on, by name."""
    from transformers.pytorch_utils import Conv1D

    return {name: module for name, module in model.named_modules() if isinstance(module, (nn.Linear, Conv1D))}


def default_layers(model: "PreTrainedModel") -> list[str]:
    """The linear layers of the decoder, without heads, routers and embeddings.

    A router, or the gate of shared experts, is a linear layer beside experts: its parent has both.
    """
    body = f"{model.base_model_prefix}."
    has_body = any(name.startswith(body) for name, _ in model.named_modules())
    head = model.get_output_embeddings()
    modules = dict(model.named_modules())
    left_out = READ_BY_KERNELS.get(model.config.model_type, set())
    return [
        name
        for name, module in linear_layers(model).items()
        if module is not head
        and name.rpartition(".")[2] not in left_out
        and (name.startswith(body) or not has_body)
        and not hasattr(modules[name.rpartition(".")[0]], "experts")
    ]


def chosen_layers(model: "PreTrainedModel", wanted: list[str], packed: bool = False) -> list[str]:
    """The names of the layers that get adapters.

    Args:
        model: Without adapters.
        wanted: The ends of their names; nothing: `default_layers`.
        packed: Whether its rows are packed, see `stages/modeling/attention.py`.

    Raises:
        InputError: Something is named that is not there, is no linear layer, or is a head tied to the embeddings.
    """
    if not wanted:
        found = default_layers(model)
        unused = not_called(model, found, packed)
        found = [name for name in found if name not in unused]
        if not found:
            raise InputError(f"{type(model).__name__} has no linear layers that adapters can be put on: train it whole")
        return found
    layers = linear_layers(model)
    chosen: list[str] = []
    for end in wanted:
        found = [name for name in layers if ends_with(name, end)]
        if not found:
            raise InputError(f"lora.targets: {_why_not(model, end)}")
        chosen += found
    if tied := _tied(model, chosen):
        raise InputError(
            f"lora.targets: {tied} is tied to the embeddings, and an adapter of the one would change the other: leave "
            "it out"
        )
    if unused := not_called(model, chosen, packed):
        raise InputError(
            f"lora.targets: {type(model).__name__} reads the weight of {unused[0]} past the layer, where an adapter "
            "would do nothing: leave it out"
        )
    return list(dict.fromkeys(chosen))


@torch.no_grad()
def not_called(model: "PreTrainedModel", names: list[str], packed: bool) -> list[str]:
    """Those of these layers that the model's forward pass does not call: it reads their weights by itself.

    Experts that a few tokens are not sent to count as their like in other layers do.
    """
    called: set[str] = set()
    hooks = [
        model.get_submodule(name).register_forward_hook(lambda *_, name=name: called.add(_kind(name))) for name in names
    ]
    ids = short_rows(model).looked_at
    batch = lay_out([ids], [[False] * len(ids)], 0, next(model.parameters()).device, packed)
    packing = {"position_ids": batch.position_ids, "boundaries": batch.boundaries, "longest": batch.longest}
    try:
        with forward_possible(model), evaluating(model):
            model(input_ids=batch.input_ids, use_cache=False, **(packing if packed else {}))
    finally:
        for hook in hooks:
            hook.remove()
    return [name for name in names if _kind(name) not in called]


def _kind(name: str) -> str:
    """The name of a layer without its numbers."""
    return re.sub(r"\d+", "N", name)


def chosen_whole(model: "PreTrainedModel", wanted: list[str], targets: list[str]) -> list[str]:
    """The names of the modules that are trained whole.

    Args:
        model: Without adapters.
        wanted: The ends of their names.
        targets: The layers that get adapters.

    Raises:
        InputError: Something is named that is not there, is tied to another module, or has a layer with an adapter.
    """
    modules = dict(model.named_modules())
    chosen: list[str] = []
    for end in wanted:
        found = [name for name in modules if name and ends_with(name, end)]
        if not found:
            raise InputError(f"lora.whole: {type(model).__name__} has no module {end!r}{_hint(end, list(modules))}")
        chosen += found
    for name in chosen:
        inside = [one for one in targets if f"{one}.".startswith(f"{name}.")]
        if inside:
            raise InputError(
                f"lora.whole: {name} holds {inside[0]}, which gets an adapter: name the layers that get adapters in "
                "lora.targets, and leave out what is trained whole"
            )
    if tied := _tied(model, chosen):
        raise InputError(
            f"lora.whole: {tied} shares its weights with another module (tie_word_embeddings), and would be trained "
            "apart from it: leave it out"
        )
    return list(dict.fromkeys(chosen))


def _tied(model: "PreTrainedModel", names: list[str]) -> str | None:
    """The first of these modules that shares its weight with another one, or None."""
    head, embedding = model.get_output_embeddings(), model.get_input_embeddings()
    if head is None or getattr(head, "weight", None) is not getattr(embedding, "weight", None):
        return None
    return next((name for name in names if model.get_submodule(name) in (head, embedding)), None)


def _why_not(model: "PreTrainedModel", end: str) -> str:
    """Why no linear layer has a name with this end."""
    modules = dict(model.named_modules())
    other = next((name for name in modules if name and ends_with(name, end)), None)
    if other is None:
        known = list(linear_layers(model))
        return f"{type(model).__name__} has no linear layer {end!r}{_hint(end, known)}"
    kind = type(modules[other]).__name__
    return (
        f"{other} is a {kind}, not a linear layer, so it cannot have a low-rank adapter: lora.whole trains it whole, "
        "or leave it out"
    )


def _hint(end: str, names: list[str]) -> str:
    """The closest end of a name, or what there is."""
    ends = list(dict.fromkeys(name.rpartition(".")[2] for name in names if name))
    ends = [name for name in ends if not name.isdigit()]
    return hint(end.rpartition(".")[2], ends) or f"; there are {', '.join(ends[:MOST_NAMED])}"


def heads_of(classifier: "PreTrainedModel") -> tuple[str, ...]:
    """The names of what a classifier has besides its body: its head, which is trained whole."""
    body = classifier.base_model_prefix
    return tuple(name for name, module in classifier.named_children() if name != body and list(module.parameters()))
