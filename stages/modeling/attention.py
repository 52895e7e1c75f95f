"""Attention over packed sequences: one row of tokens, cut at `boundaries`, without padding and without one sequence
seeing another.

On CUDA in half precision the kernel is PyTorch's variable-length flash attention; elsewhere each sequence goes through
SDPA by itself, which is exact and serves as the kernel's test. There the completions of a group may share their
prompt's tokens. Registered with transformers under the name PACKED.
"""

import inspect

import torch
import torch.nn.functional as F
from torch import nn

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
    **_,
):
    """query [1, H, N, D]; key and value [1, K, N, D] with K dividing H; boundaries [S + 1] int32; longest: tokens of
    the longest sequence; prefixes [S] int32 or None, see TokenBatch. Returns ([1, N, H, D], None).
    """
    if query.is_cuda and query.dtype in (torch.float16, torch.bfloat16) and prefixes is None:
        return _varlen(*(x[0].transpose(0, 1) for x in (query, key, value)), boundaries, longest, scaling)[None], None
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


def _varlen(query, key, value, boundaries, longest, scaling):
    """torch.nn.attention.varlen in the forms of PyTorch 2.11 (is_causal, equal heads) and later (a window that ends at
    the token, grouped heads).
    """
    from torch.nn.attention.varlen import varlen_attn

    known = inspect.signature(varlen_attn).parameters
    options = {"is_causal": True} if "is_causal" in known else {"window_size": (-1, 0)}
    if "enable_gqa" in known:
        options["enable_gqa"] = True
    else:
        key, value = (x.repeat_interleave(query.shape[1] // x.shape[1], 1) for x in (key, value))
    return varlen_attn(query, key, value, boundaries, boundaries, longest, longest, scale=scaling, **options)


def can_pack(model: nn.Module) -> bool:
    """Whether the model's attention is plain causal attention that transformers lets us replace."""
    config = model.config.get_text_config()
    slides = getattr(config, "sliding_window", None) and getattr(config, "use_sliding_window", True)
    is_plain = set(getattr(config, "layer_types", None) or ["full_attention"]) == {"full_attention"}
    return bool(
        model.is_backend_compatible()
        and is_plain
        and not slides
        and not getattr(config, "attn_logit_softcapping", None)
    )


def use_packed_attention(model: nn.Module) -> None:
    """From now on the model takes packed rows only, with `boundaries` among its arguments."""
    from transformers import AttentionInterface

    AttentionInterface.register(PACKED, packed_attention)
    model.set_attn_implementation(PACKED)
