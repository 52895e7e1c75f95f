"""Which models the ranks of a sequence group can hold together: what the driver plans with and the worker refuses."""

from typing import Any


def why_not_split(config: dict[str, Any], size: int) -> str | None:
    """Why attention cannot be divided over `size` ranks, as a clause that goes on after "the model"; None: it can.

    Each rank takes an equal part of the query heads. Key-value heads are divided too, or repeated where there are fewer
    of them than ranks. Between tokens nothing may act but plain causal attention, because a rank has only some of them.

    Args:
        config: The model's config.json, or the part of it that describes its decoder.
        size: Ranks that hold a row together: `deepspeed.sequence_parallel`.

    >>> why_not_split({"num_attention_heads": 28, "num_key_value_heads": 4}, 8)
    'has 28 attention heads, which 8 does not divide; 2, 4, 28 would do'
    >>> why_not_split({"num_attention_heads": 28, "num_key_value_heads": 4}, 4)
    """
    if config.get("kv_lora_rank"):
        return "has latent attention, whose keys and values differ in size; DeepSpeed's Ulysses wants them alike"
    num_heads = config.get("num_attention_heads") or config.get("n_head") or config.get("num_heads")
    if not isinstance(num_heads, int):
        return "has no attention heads to divide over ranks"
    if set(config.get("layer_types") or ["full_attention"]) != {"full_attention"}:
        return "has layers without full attention"
    if config.get("sliding_window") and config.get("use_sliding_window", True):
        return "has attention with a sliding window"
    if config.get("attn_logit_softcapping"):
        return "caps its attention scores"
    num_kv_heads = config.get("num_key_value_heads") or num_heads
    sizes = [n for n in range(2, num_heads + 1) if divides(n, num_heads, num_kv_heads)]
    if size in sizes:
        return None
    ways = f"{', '.join(map(str, sizes))} would do" if sizes else "no number would do"
    if num_heads % size:
        return f"has {num_heads} attention heads, which {size} does not divide; {ways}"
    return f"has {num_kv_heads} key-value heads for {size} ranks, and neither number divides the other; {ways}"


def divides(size: int, num_heads: int, num_kv_heads: int) -> bool:
    """Whether each of `size` ranks can have the same number of query heads, and of key-value heads, repeated if few."""
    return num_heads % size == 0 and (num_kv_heads % size == 0 or size % num_kv_heads == 0)
