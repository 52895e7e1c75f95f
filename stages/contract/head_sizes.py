"""Which attention heads vLLM has kernels for on a CPU: what the driver plans with and the sampler refuses."""

from typing import Any

from stages.config import VLLM_CPU_HEAD_SIZES

LATENT_SIZE = 576  # of multi-head latent attention: the only size that vLLM's CPU kernel has


def wrong_heads(config: dict[str, Any]) -> str | None:
    """What is wrong with the size of the attention heads, for vLLM's CPU kernels; it goes on after "the model"."""
    if config.get("kv_lora_rank") and config.get("qk_rope_head_dim"):
        size = config["kv_lora_rank"] + config["qk_rope_head_dim"]
        if size == LATENT_SIZE:
            return None
        return f"has latent attention of {size} (kv_lora_rank + qk_rope_head_dim); vLLM on CPU has {LATENT_SIZE}"
    width = config.get("hidden_size") or config.get("n_embd") or config.get("d_model")
    num_heads = config.get("num_attention_heads") or config.get("n_head") or config.get("num_heads")
    size = config.get("head_dim") or (width // num_heads if width and num_heads else None)
    if size is None or size in VLLM_CPU_HEAD_SIZES:
        return None
    return f"has attention heads of {size}; vLLM on CPU has {VLLM_CPU_HEAD_SIZES}"
