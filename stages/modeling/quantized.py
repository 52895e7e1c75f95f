"""A model whose linear layers are kept in four bits, below adapters that are trained (QLoRA, arXiv 2305.14314).

bitsandbytes packs the weights (NF4, with its scales quantised too) and computes with them in the precision of the
stage. Nothing else sees packed numbers: what a sampler gets, what is merged and what is exported is dequantised, one
layer at a time.
"""

import importlib.util
from typing import TYPE_CHECKING, Any

import torch

from stages.runtime.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def require_four_bits() -> None:
    """Raises InputError, with the way out, where no model can be kept in four bits."""
    if importlib.util.find_spec("bitsandbytes") is None:
        why = "the package bitsandbytes, which is not installed: pip install bitsandbytes, or use"
    elif not torch.cuda.is_available():
        why = "an NVIDIA GPU, and this process sees none: use"
    else:
        return
    raise InputError(f"lora.quantize=4bit needs {why} lora.quantize=none")


def loading_options(dtype: torch.dtype) -> dict[str, Any]:
    """What `from_pretrained` is told to load a model in four bits; `dtype`: of computations, and of all other weights.

    Weights are packed as they arrive on the device, so the whole model is never there unpacked.
    """
    from transformers import BitsAndBytesConfig

    settings = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )
    device = torch.cuda.current_device() if torch.cuda.is_available() else "cpu"
    return {"quantization_config": settings, "device_map": {"": device}}


def forget_quantizer(model: "PreTrainedModel") -> None:
    """Makes the configuration say what is exported: a model whose weights are plain numbers."""
    del model.config.quantization_config
    model.hf_quantizer = None


def is_packed(tensor: torch.Tensor) -> bool:
    """Whether a weight is one that bitsandbytes has packed."""
    return hasattr(tensor, "quant_state") and not tensor.is_floating_point()


def shaped_like(tensor: Any) -> torch.Tensor:
    """A tensor of the shape and type that a weight has as numbers; the weight itself where it is not packed."""
    if not is_packed(tensor):
        plain: torch.Tensor = tensor
        return plain
    return torch.empty(tensor.quant_state.shape, dtype=tensor.quant_state.dtype, device="meta")


def unpacked(weight: Any) -> torch.Tensor:
    """The weight as numbers, in memory of its own where it was packed."""
    if not is_packed(weight):
        plain: torch.Tensor = weight.detach()
        return plain
    from bitsandbytes.functional import dequantize_4bit

    numbers: torch.Tensor = dequantize_4bit(weight.data, weight.quant_state)
    return numbers
