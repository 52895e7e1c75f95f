"""Tiny models of other people's families, with random weights: what a configuration of a few thousand parameters is."""

from typing import Any

VOCABULARY = 96

SHAPE: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
GPT = {
    "vocab_size": VOCABULARY,
    "n_embd": 32,
    "n_layer": 2,
    "n_head": 4,
    "n_positions": 128,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
MAMBA = {"vocab_size": VOCABULARY, "hidden_size": 32, "num_hidden_layers": 2, "state_size": 8, "pad_token_id": 0}
MIXTURE = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24}
SMALL_MAMBA = {"mamba_d_ssm": 32, "mamba_n_heads": 4, "mamba_d_head": 8, "mamba_d_state": 8, "mamba_chunk_size": 16}
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("Llama", {}),
    "llama_tied": ("Llama", {"tie_word_embeddings": True}),
    "qwen2": ("Qwen2", {}),
    "qwen3": ("Qwen3", {"head_dim": 8}),
    "qwen3_moe": ("Qwen3Moe", dict(head_dim=8, **MIXTURE)),
    "qwen2_moe": ("Qwen2Moe", dict(shared_expert_intermediate_size=24, **MIXTURE)),
    "mixtral": ("Mixtral", {"num_local_experts": 4, "router_jitter_noise": 0.1}),
    "gemma": ("Gemma", {"head_dim": 8}),
    "gemma2": ("Gemma2", {"head_dim": 8, "sliding_window": 64}),
    "gemma3": ("Gemma3Text", {"head_dim": 8, "sliding_window": 64}),
    "mistral": ("Mistral", {"sliding_window": None}),
    "mistral_window": ("Mistral", {"sliding_window": 8}),
    "phi": ("Phi", {"resid_pdrop": 0.1}),
    "phi3": ("Phi3", {}),
    "granite": ("Granite", {"logits_scaling": 8.0, "embedding_multiplier": 12.0, "residual_multiplier": 0.22}),
    "cohere": ("Cohere", {"logit_scale": 0.0625}),
    "cohere2": ("Cohere2", {"logit_scale": 0.25, "sliding_window": 8}),
    "falcon_h1": ("FalconH1", dict(lm_head_multiplier=0.25, **SMALL_MAMBA)),
    "nemotron": ("Nemotron", {}),
    "olmo2": ("Olmo2", {}),
    "gpt_neox": ("GPTNeoX", {"hidden_dropout": 0.1, "attention_dropout": 0.1}),
    "gpt2": ("GPT2", GPT),
    "gptj": ("GPTJ", dict(rotary_dim=4, **GPT)),
    "gpt_neo": (
        "GPTNeo",
        {"num_layers": 2, "num_heads": 4, "attention_types": [[["global", "local"], 1]], "window_size": 8},
    ),
    "opt": ("OPT", {"ffn_dim": 48, "word_embed_proj_dim": 32, "dropout": 0.1, "layerdrop": 0.1}),
    "bloom": ("Bloom", {"n_layer": 2, "n_head": 4}),
    "falcon": ("Falcon", {"alibi": True, "attention_dropout": 0.1}),
    "mpt": ("Mpt", {"vocab_size": VOCABULARY, "d_model": 32, "n_heads": 4, "n_layers": 2}),
    "mamba": ("Mamba", MAMBA),
    "mamba2": ("Mamba2", dict(num_heads=8, head_dim=8, n_groups=1, chunk_size=16, **MAMBA)),
    "smollm3": ("SmolLM3", {}),
    "glm4": ("Glm4", {"head_dim": 8}),
    "deepseek_v3": (
        "DeepseekV3",
        {
            "num_key_value_heads": 4,
            "moe_intermediate_size": 24,
            "n_routed_experts": 4,
            "num_experts_per_tok": 2,
            "n_group": 1,
            "topk_group": 1,
            "first_k_dense_replace": 1,
            "q_lora_rank": 16,
            "kv_lora_rank": 16,
            "qk_rope_head_dim": 8,
            "qk_nope_head_dim": 8,
            "v_head_dim": 8,
        },
    ),
    "gpt_oss": ("GptOss", {"head_dim": 8, "num_local_experts": 4, "num_experts_per_tok": 2, "sliding_window": 8}),
    "llama4": (
        "Llama4Text",
        {"head_dim": 8, "intermediate_size_mlp": 48, "num_local_experts": 2, "attention_chunk_size": 8},
    ),
    "recurrent_gemma": ("RecurrentGemma", {"num_hidden_layers": 3, "lru_width": 32, "attention_window_size": 8}),
    "jamba": (
        "Jamba",
        {
            "attn_layer_period": 2,
            "attn_layer_offset": 1,
            "expert_layer_period": 2,
            "num_experts": 2,
            "use_mamba_kernels": False,
            "mamba_d_state": 8,
        },
    ),
    "bamba": (
        "Bamba",
        {
            "mamba_n_heads": 8,
            "mamba_d_head": 8,
            "mamba_d_state": 8,
            "mamba_n_groups": 1,
            "mamba_chunk_size": 16,
            "attn_layer_indices": [1],
            "attn_rotary_emb": 8,
        },
    ),
    "rwkv": (
        "Rwkv",
        {"vocab_size": VOCABULARY, "hidden_size": 32, "num_hidden_layers": 2, "attention_hidden_size": 32},
    ),
    "codegen": ("CodeGen", dict(rotary_dim=4, **GPT)),
    "stablelm": ("StableLm", {}),
    "starcoder2": ("Starcoder2", {"residual_dropout": 0.1, "embedding_dropout": 0.1}),
    "olmoe": ("Olmoe", {"num_experts": 4, "num_experts_per_tok": 2}),
    "minicpm3": (
        "MiniCPM3",
        {
            "num_key_value_heads": 4,
            "q_lora_rank": 16,
            "kv_lora_rank": 16,
            "qk_rope_head_dim": 8,
            "qk_nope_head_dim": 8,
            "v_head_dim": 8,
        },
    ),
    "ernie4_5": ("Ernie4_5", {}),
    "exaone4": ("Exaone4", {}),
    "lfm2": ("Lfm2", {"full_attn_idxs": [1]}),
    "qwen3_next": (
        "Qwen3Next",
        dict(
            layer_types=["linear_attention", "full_attention"],
            head_dim=8,
            linear_num_key_heads=2,
            linear_num_value_heads=4,
            linear_key_head_dim=8,
            linear_value_head_dim=8,
            shared_expert_intermediate_size=24,
            **MIXTURE,
        ),
    ),
    "granite_moe": ("GraniteMoe", {"logits_scaling": 4.0, "num_local_experts": 4, "num_experts_per_tok": 2}),
    "granite_hybrid": (
        "GraniteMoeHybrid",
        {
            "logits_scaling": 4.0,
            "num_local_experts": 4,
            "num_experts_per_tok": 2,
            "layer_types": ["mamba", "attention"],
            "mamba_n_heads": 8,
            "mamba_d_head": 8,
            "mamba_d_state": 8,
            "mamba_n_groups": 1,
            "mamba_chunk_size": 16,
            "shared_intermediate_size": 48,
        },
    ),
    "xglm": (
        "XGLM",
        {
            "vocab_size": VOCABULARY,
            "d_model": 32,
            "ffn_dim": 48,
            "num_layers": 2,
            "attention_heads": 4,
            "pad_token_id": 0,
        },
    ),
    "biogpt": ("BioGpt", {}),
    "bert_decoder": ("Bert", {"is_decoder": True}),
    "bert": ("Bert", {}),
    "xlnet": ("XLNet", {"vocab_size": VOCABULARY, "d_model": 32, "n_layer": 2, "n_head": 4, "d_inner": 48}),
    "nanochat": ("NanoChat", {}),
    "gpt_bigcode": ("GPTBigCode", GPT),
    "diffllama": ("DiffLlama", {}),
    "helium": ("Helium", {"head_dim": 8}),
    "arcee": ("Arcee", {}),
    "apertus": ("Apertus", {}),
    "seed_oss": ("SeedOss", {"head_dim": 8}),
    "hunyuan": ("HunYuanDenseV1", {"head_dim": 8}),
    "vaultgemma": ("VaultGemma", {"head_dim": 8}),
    "persimmon": ("Persimmon", {}),
    "doge": ("Doge", {}),
    "bitnet": ("BitNet", {}),
}


def configuration(family: str, **changes: Any) -> Any:
    """The configuration of a family, of a few thousand parameters."""
    import transformers

    name, own = FAMILIES[family]
    shape = {} if "vocab_size" in own else SHAPE
    return getattr(transformers, f"{name}Config")(**{**shape, **own, **changes})


def tiny(family: str, seed: int = 0, **changes: Any) -> Any:
    """A causal LM of a family, a function of the seed."""
    import torch
    import transformers

    torch.manual_seed(seed)
    return transformers.AutoModelForCausalLM.from_config(configuration(family, **changes))


def classifier(family: str, seed: int = 0, **changes: Any) -> Any:
    """A sequence classifier of a family with one output."""
    import torch
    import transformers

    torch.manual_seed(seed)
    config = configuration(family, num_labels=1, pad_token_id=0, **changes)
    return transformers.AutoModelForSequenceClassification.from_config(config)
