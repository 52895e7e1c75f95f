"""Model families as tiny random models, which need no download: two layers, a width of 64, the tiny world's tokens."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_GROUPED = {"num_key_value_heads": 1}
_HEADS = {**_GROUPED, "head_dim": 32}
_EXPERTS = {**_GROUPED, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
_LATENT = {  # multi-head latent attention
    "q_lora_rank": 32,
    "kv_lora_rank": 512,  # this and the next give the one shape that vLLM has for latent attention
    "qk_nope_head_dim": 32,
    "qk_rope_head_dim": 64,
    "v_head_dim": 32,
    "num_key_value_heads": 2,
}
_ROUTED = {  # experts behind a sigmoid router with a correction of its scores, one dense layer first
    "n_routed_experts": 8,
    "n_shared_experts": 1,
    "n_group": 2,
    "topk_group": 1,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 32,
    "first_k_dense_replace": 1,
}
_MAMBA = {"mamba_d_ssm": 64, "mamba_n_heads": 4, "mamba_d_head": 16, "mamba_d_state": 16, "mamba_n_groups": 1}
_OLD = {"n_embd": 64, "n_layer": 2, "n_head": 2}  # GPT-2's names

# Name people know: (transformers' model_type, what differs from SHAPE). None as a value leaves a key of SHAPE out.
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "Llama": ("llama", {**_GROUPED, "tie_word_embeddings": False}),
    "Llama, tied": ("llama", {**_GROUPED, "tie_word_embeddings": True}),
    "Qwen2": ("qwen2", {**_GROUPED, "tie_word_embeddings": True}),
    "Qwen2-MoE": ("qwen2_moe", {**_EXPERTS, "num_experts": 4, "shared_expert_intermediate_size": 32}),
    "Qwen3": ("qwen3", {**_HEADS, "tie_word_embeddings": True}),
    "Qwen3-MoE": ("qwen3_moe", {**_EXPERTS, "head_dim": 32, "num_experts": 4}),
    "Gemma 2": ("gemma2", {**_HEADS, "query_pre_attn_scalar": 32}),
    "Gemma 3": ("gemma3_text", {**_HEADS, "query_pre_attn_scalar": 32}),
    "Mistral": ("mistral", {**_HEADS, "sliding_window": 16}),
    "Mixtral": ("mixtral", {**_GROUPED, "num_local_experts": 4, "num_experts_per_tok": 2}),
    "Phi-3": ("phi3", {**_GROUPED, "pad_token_id": 0}),
    "GPT-NeoX": ("gpt_neox", {"tie_word_embeddings": False}),
    "GPT-2": ("gpt2", {**_OLD, "n_positions": 512}),
    "OPT": ("opt", {"ffn_dim": 96, "word_embed_proj_dim": 64}),
    "Granite": (
        "granite",
        {**_GROUPED, "logits_scaling": 8.0, "embedding_multiplier": 4.0, "residual_multiplier": 0.3},
    ),
    "Cohere": ("cohere", {**_GROUPED, "logit_scale": 0.25}),
    "OLMo 2": ("olmo2", _GROUPED),
    "OLMoE": ("olmoe", {**_GROUPED, "num_experts": 4, "num_experts_per_tok": 2}),
    "Falcon-H1": ("falcon_h1", {**_HEADS, **_MAMBA, "lm_head_multiplier": 0.5}),
    "Nemotron": ("nemotron", {**_GROUPED, "head_dim": 32}),
    "DeepSeek-V3": ("deepseek_v3", {**_LATENT, **_ROUTED, "topk_method": "noaux_tc", "scoring_func": "sigmoid"}),
    "GLM-4": ("glm4", _HEADS),
    "GLM-4-MoE": ("glm4_moe", {**_HEADS, **_ROUTED}),
    "SmolLM3": ("smollm3", {**_GROUPED, "no_rope_layer_interval": 2}),
    "StableLM": ("stablelm", _GROUPED),
    "Starcoder 2": ("starcoder2", _GROUPED),
    "gpt-oss": ("gpt_oss", {**_HEADS, "num_local_experts": 4, "num_experts_per_tok": 2, "sliding_window": 16}),
    "Mamba": ("mamba", {"state_size": 16, "conv_kernel": 4}),
}
SHAPE: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": 512,
}


def make_model(name: str, seed: int = 0) -> "PreTrainedModel":
    """A random model of a family in fp32; a function of the seed.

    Where a real model's values would be all zeros or all ones (biases, norms, buffers), it has random ones, so that a
    value that gets lost shows.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    from stages.worlds.tiny_world.tokenizer import build_tokenizer

    tokenizer = build_tokenizer()
    model_type, own = FAMILIES[name]
    settings = {
        **SHAPE,
        "vocab_size": len(tokenizer),
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        **own,
    }
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(model_type, **settings), dtype=torch.float32)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in {id(t): t for t in model.state_dict(keep_vars=True).values()}.values():
            if tensor.is_floating_point():
                tensor.add_(0.05 * torch.randn(tensor.shape, generator=generator))
    # Any of these ends a completion, so that some of a random model's end early and some late.
    model.generation_config.eos_token_id = [tokenizer.eos_token_id, *range(200, 240)]
    return model.eval()


def write_model(name: str, directory: Path, seed: int = 0) -> Path:
    """Writes a random model of a family with its tokenizer; returns the directory."""
    from stages.worlds.tiny_world.tokenizer import build_tokenizer

    make_model(name, seed).save_pretrained(directory)
    build_tokenizer().save_pretrained(directory)
    return directory
