"""Attention over packed sequences: one row of tokens without padding, in which no sequence sees another.

The row is cut at `boundaries`. On CUDA in half precision the kernel is PyTorch's variable-length flash attention;
elsewhere each sequence goes through SDPA by itself, which is exact and serves as the kernel's test. There the
completions of a group may share their prompt's tokens. Registered with transformers under the name PACKED.
"""

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import nn

from stages.runtime.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from stages.modeling.sequences import SequenceGroup

PACKED = "r1_packed"
TRIAL = "r1_packed_trial"  # the same, but it refuses what the other would ignore

# What attention layers are called with besides what `packed_attention` reads, and what changes no weight.
HARMLESS = {"position_ids", "use_cache", "output_attentions", "output_hidden_states", "output_router_logits"}


class CannotPack(Exception):
    """The model's attention does something that packed rows would lose; the message is a phrase that says what."""


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
    sequences: "SequenceGroup | None" = None,
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
        sequences: The ranks that have the other tokens of the row, where this one has a slice of N; None: it has all.

    Returns:
        ([1, N, H, D], None).
    """
    assert boundaries is not None, "packed rows come with their boundaries"
    if sequences is not None:
        assert prefixes is None, "a prompt that rows share is in one slice only"
        whole = {"dropout": dropout, "scaling": scaling, "boundaries": boundaries, "longest": longest}
        return sequences.attention(packed_attention, module, query, key, value, **whole)
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


def attention_on_trial(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None = None,
    **settings: Any,
) -> tuple[torch.Tensor, None]:
    """`packed_attention`, but it raises CannotPack where a layer asks for what that function would not do."""
    if attention_mask is not None:
        raise CannotPack("its attention has a window, or a mask of its own")
    if not getattr(module, "is_causal", True) or settings.pop("is_causal", None) is False:
        raise CannotPack("its attention is not causal")
    known = set(inspect.signature(packed_attention).parameters) | HARMLESS
    asked = sorted(name for name, value in settings.items() if value is not None and name not in known)
    if asked:
        raise CannotPack(f"its attention has {', '.join(asked)}")
    if settings.get("boundaries") is None:
        raise CannotPack("its layers do not tell their attention where sequences begin")
    return packed_attention(module, query, key, value, None, **settings)


def mask_on_trial(local_size: int | None = None, use_vmap: bool = False, **sizes: Any) -> torch.Tensor | None:
    """Stands for the making of attention masks: one that is more than causal is a tensor, which layers then refuse.

    transformers asks for a mask of `local_size` for sliding windows and chunks, with `use_vmap` for masks of its own.
    Families make masks too that none of their layers takes (Qwen2-MoE, without windows).
    """
    if local_size is None and not use_vmap:
        return None
    return torch.ones(sizes["batch_size"], 1, sizes["q_length"], sizes["kv_length"], dtype=torch.bool)


def cannot_pack(model: "PreTrainedModel") -> str | None:
    """Why the model's attention cannot be packed, as far as its class and its configuration say; None: it may be.

    What they do not say is found by trying (`stages/modeling/checks.py`).
    """
    config = model.config.get_text_config()
    if not model.is_backend_compatible():
        return "transformers cannot replace its attention"
    if set(getattr(config, "layer_types", None) or ["full_attention"]) != {"full_attention"}:
        return "not all of its layers have full attention"
    if getattr(config, "sliding_window", None) and getattr(config, "use_sliding_window", True):
        return "its attention has a sliding window"
    if getattr(config, "attn_logit_softcapping", None):
        return "its attention scores are capped"
    return None


def can_pack(model: "PreTrainedModel") -> bool:
    """Whether nothing in the model's class and configuration says that its attention is not plain and causal."""
    return cannot_pack(model) is None


def uses_packing(choice: str, model: "PreTrainedModel", precision: str) -> bool:
    """Whether rows are to be packed, for the value of `packing` (auto, on, off) with this model on this machine.

    Raises:
        InputError: It is on, and the model's attention cannot be replaced.
    """
    why = cannot_pack(model)
    if choice == "on" and why:
        raise packing_refused(model, why)
    return choice == "on" or (choice == "auto" and has_packed_kernel(precision) and why is None)


def has_packed_kernel(precision: str) -> bool:
    """Whether packed rows are worth while on this machine in this precision (fp32 or bf16)."""
    return precision == "bf16" or not torch.cuda.is_available()


def packing_refused(model: "PreTrainedModel", why: str) -> InputError:
    """The error where packing=on and the model cannot."""
    return InputError(
        f"packing=on, but {type(model).__name__} cannot be trained on packed rows: {why}; use packing=off"
    )


def use_packed_attention(model: "PreTrainedModel") -> None:
    """From now on the model takes packed rows only, with `boundaries` among its arguments."""
    from transformers import AttentionInterface

    AttentionInterface.register(PACKED, packed_attention)
    model.set_attn_implementation(PACKED)


@contextmanager
def packed_attention_on_trial(model: "PreTrainedModel") -> Iterator[None]:
    """Within the block the model takes packed rows, and raises CannotPack where they would lose something.

    After it the attention is the one that models are loaded with.
    """
    from transformers import AttentionInterface, AttentionMaskInterface

    AttentionInterface.register(TRIAL, attention_on_trial)
    AttentionMaskInterface.register(TRIAL, mask_on_trial)
    try:
        model.set_attn_implementation(TRIAL)
        yield
    finally:
        try:
            model.set_attn_implementation("sdpa")
        except ValueError:
            model.set_attn_implementation("eager")
