"""Attention over packed sequences: one row of tokens without padding, in which no sequence sees another.

The row is cut at `boundaries`. On CUDA in half precision the kernel is PyTorch's variable-length flash attention;
elsewhere each sequence goes through SDPA by itself, which is exact and serves as the kernel's test. There the
completions of a group may share their prompt's tokens. Registered with transformers under the name PACKED.
"""

import inspect
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import nn

from stages.runtime.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

PACKED = "r1_packed"


def packed_attention(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: None,
    dropout: float = 0.0,
    scaling: float | None = None,
    boundaries: torch.Tensor | None = None,
    longest: int = 0,
    prefixes: torch.Tensor | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """Causal attention within each segment of a packed row, as transformers calls attention functions.

    Args:
        module: The attention layer; not used.
        query: [1, H, N, D].
        key: [1, K, N, D], with K dividing H.
        value: [1, K, N, D].
        attention_mask: None.
        dropout: Share of attention weights that are dropped.
        scaling: What scores are multiplied by; None: 1 / sqrt(D).
        boundaries: [S + 1] int32, where each segment begins, and the end.
        longest: Tokens of the longest sequence.
        prefixes: [S] int32 or None, see `TokenBatch`.

    Returns:
        ([1, N, H, D], None).
    """
    assert boundaries is not None, "packed rows come with their boundaries"
    if query.is_cuda and query.dtype in (torch.float16, torch.bfloat16) and prefixes is None:
        query, key, value = (x[0].transpose(0, 1) for x in (query, key, value))
        return _varlen(query, key, value, boundaries, longest, scaling)[None], None
    lengths = boundaries.diff().tolist()
    queries, keys, values = (x.split(lengths, 2) for x in (query, key, value))
    parts = []
    for i, prefix in enumerate(prefixes.tolist() if prefixes is not None else [-1] * len(lengths)):
        k, v, mask = keys[i], values[i], None
        if prefix >= 0:  # all of the prompt, and its own tokens up to this one
            k, v = torch.cat([keys[prefix], k], 2), torch.cat([values[prefix], v], 2)
            mask = torch.ones(lengths[i], k.shape[2], dtype=torch.bool, device=k.device).tril(lengths[prefix])
        parts.append(
            F.scaled_dot_product_attention(
                queries[i], k, v, mask, dropout, is_causal=mask is None, scale=scaling, enable_gqa=True
            )
        )
    return torch.cat(parts, 2).transpose(1, 2), None


def _varlen(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    boundaries: torch.Tensor,
    longest: int,
    scaling: float | None,
) -> torch.Tensor:
    """Causal variable-length attention [N, H, D] by torch.nn.attention.varlen.

    It has two forms: in PyTorch 2.11 `is_causal` and as many key heads as query heads; later a window that ends at the
    token, and grouped heads.
    """
    from torch.nn.attention.varlen import varlen_attn

    known = inspect.signature(varlen_attn).parameters
    options: dict[str, Any] = {"is_causal": True} if "is_causal" in known else {"window_size": (-1, 0)}
    if "enable_gqa" in known:
        options["enable_gqa"] = True
    else:
        key, value = (x.repeat_interleave(query.shape[1] // x.shape[1], 1) for x in (key, value))
    output = varlen_attn(query, key, value, boundaries, boundaries, longest, longest, scale=scaling, **options)
    assert isinstance(output, torch.Tensor)  # a pair only where log-sums are asked for
    return output


def can_pack(model: "PreTrainedModel") -> bool:
    """Whether the model's attention is plain causal attention that transformers lets us replace."""
    config = model.config.get_text_config()
    slides = getattr(config, "sliding_window", None) and getattr(config, "use_sliding_window", True)
    is_plain = set(getattr(config, "layer_types", None) or ["full_attention"]) == {"full_attention"}
    has_softcap = bool(getattr(config, "attn_logit_softcapping", None))
    return bool(model.is_backend_compatible() and is_plain and not slides and not has_softcap)


def uses_packing(choice: str, model: "PreTrainedModel", precision: str) -> bool:
    """Whether rows are packed, for the value of `packing` (auto, on, off) with this model on this machine.

    Raises:
        InputError: It is on, and the model's attention cannot be replaced.
    """
    if choice == "on" and not can_pack(model):
        raise InputError(
            f"packing=on, but the attention of {type(model).__name__} is not plain causal attention: use packing=off"
        )
    has_kernel = precision == "bf16" or not torch.cuda.is_available()
    return choice == "on" or (choice == "auto" and has_kernel and can_pack(model))


def use_packed_attention(model: "PreTrainedModel") -> None:
    """From now on the model takes packed rows only, with `boundaries` among its arguments."""
    from transformers import AttentionInterface

    AttentionInterface.register(PACKED, packed_attention)
    model.set_attn_implementation(PACKED)
