"""All weights of a model, not only its parameters: what is exported, refreshed, synced and compared.

A model's weights are its parameters and its persistent buffers, as `state_dict` has them: the correction of a router's
scores (DeepSeek-V3, GLM-4-MoE) is a buffer, and without it the model is another one. A tensor that two names share
(a head that is tied to the embedding) counts once, by its first name.

They have two sets of names. The module's are those of `state_dict`. The checkpoint's are those that files have and
that vLLM knows: transformers renames some families as it loads them, and makes one tensor of the experts of a layer.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from itertools import groupby
from typing import TYPE_CHECKING

import torch
from torch import nn

from stages.modeling.divided import shape_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Weights = Iterable[tuple[str, torch.Tensor]]  # (name, tensor), in layer order


class StepWeights:
    """The weights of a step; every pass over them is a new one, so that they can be sent again.

    Args:
        step: Optimizer steps done.
        make: Starts a pass. It gives the weights that the trainer has then.
    """

    def __init__(self, step: int, make: Callable[[], Weights]):
        self.step, self.make = step, make

    def __iter__(self) -> Iterator[tuple[str, torch.Tensor]]:
        return iter(self.make())


def named_weights(module: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    """Yields (name in the module, tensor) of each parameter and persistent buffer once, in layer order.

    The tensors are the module's own; under ZeRO-3 its parameters are parts.
    """
    seen = set()
    for name, tensor in module.state_dict(keep_vars=True).items():
        if isinstance(tensor, torch.Tensor) and id(tensor) not in seen:
            seen.add(id(tensor))
            yield name, tensor


def has_names_of_its_own(model: "PreTrainedModel", weights: Weights | None = None) -> bool:
    """Whether the checkpoint of this model has other names or other tensors than the module.

    `weights`: those of the model, by their names in it; None: as the module has them, which is without adapters.
    """
    names = dict(named_weights(model) if weights is None else weights)
    return set(checkpoint_layout(model, names.items())) != set(names)


def checkpoint_layout(model: "PreTrainedModel", weights: Weights) -> dict[str, torch.Tensor]:
    """The names that these weights have in the model's checkpoint, each with a tensor of its type and shape alone.

    Args:
        model: The model that they are of; only its kind counts.
        weights: By their names in the module; of a parameter that ZeRO-3 divides the part is enough.
    """
    from transformers.core_model_loading import revert_weight_conversion

    meta = {name: torch.empty(shape_of(tensor), dtype=tensor.dtype, device="meta") for name, tensor in weights}
    return dict(revert_weight_conversion(model, meta))


def with_checkpoint_names(model: "PreTrainedModel", weights: Weights) -> Iterator[tuple[str, torch.Tensor]]:
    """Gives the module's weights the names, and the form, that they have in the model's checkpoint.

    Args:
        model: The model that they are of; only its kind counts.
        weights: All its weights by the names in the module, in layer order. Those of one layer are held at a time.
    """
    from transformers.core_model_loading import revert_weight_conversion

    for _, group in groupby(weights, key=lambda pair: _layer_of(pair[0])):
        yield from revert_weight_conversion(model, dict(group)).items()


def _layer_of(name: str) -> str:
    """The beginning of a name up to its first number; empty for what is in no layer."""
    found = re.match(r".*?\.\d+\.", name)
    return found.group() if found else ""
