"""Feed-forward layers that compute a long row in parts, one after the other, so that what they hold is that of a part.

By DeepSpeed's TiledMLP (Arctic Long Sequence Training, arXiv 2506.13996): of the whole row a layer keeps its input, and
computes each part again in the backward pass.
"""

from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import nn

from stages.modeling.dropout import has_dropout
from stages.runtime.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def tile_mlps(model: "PreTrainedModel", count: int) -> None:
    """Makes every feed-forward layer of a model compute its tokens in `count` parts.

    Raises:
        InputError: The model has none that takes tokens one by one and gives as many; or dropout acts within them.
    """
    found = [part for name, part in model.named_modules() if _is_mlp(name, part)]
    if not found:
        raise InputError(
            f"deepspeed.mlp_tiles: {type(model).__name__} has no feed-forward layer that can be computed in parts (a "
            "module `mlp` of a class ...MLP in its layers): use deepspeed.mlp_tiles=1"
        )
    if any(map(has_dropout, found)):
        raise InputError(
            "deepspeed.mlp_tiles: each part is computed again in the backward pass, where dropout would leave out "
            "others: use dropout=false and lora.dropout=0, or deepspeed.mlp_tiles=1"
        )
    for mlp in found:
        mlp.forward = _Tiled(mlp, count)


def _is_mlp(name: str, module: nn.Module) -> bool:
    return name.rpartition(".")[2] == "mlp" and type(module).__name__.endswith("MLP")


class _Tiled:
    """Stands for the forward pass of a layer."""

    def __init__(self, mlp: nn.Module, count: int):
        self.mlp, self.plain, self.count = mlp, mlp.forward, count

    def __call__(self, hidden: torch.Tensor) -> torch.Tensor:
        """[B, T, D] -> [B, T, D], in parts of which all ranks have as many: under ZeRO 3 each is a collective."""
        from deepspeed.runtime.sequence_parallel.ulysses_sp import TiledMLP

        num_tokens = hidden.shape[-2]
        padded = F.pad(hidden, (0, 0, 0, -num_tokens % self.count))  # torch.chunk makes fewer parts of uneven ones
        trained = [parameter for parameter in self.mlp.parameters() if parameter.requires_grad]
        if trained and torch.is_grad_enabled() and not padded.requires_grad:
            padded = padded.detach().requires_grad_()  # else autograd would not see that the layer is trained
        output: torch.Tensor = TiledMLP.apply(self._part, self.mlp, padded, self.count, trained)
        return output[..., :num_tokens, :]

    def _part(self, _: nn.Module, hidden: torch.Tensor) -> Any:
        return self.plain(hidden)
