"""Model directories of real sizes without their numbers: headers of the weights, and holes in the place of the rest."""

import json
import math
from pathlib import Path

SIZES = {  # width, layers, heads, key-value heads, feed-forward width, vocabulary, tied
    "qwen25_7b": (3584, 28, 28, 4, 18944, 152064, False),
    "qwen25_math_15b": (1536, 28, 12, 2, 8960, 151936, True),
    "qwen25_05b": (896, 24, 14, 2, 4864, 151936, True),
    "smollm2_135m": (576, 30, 9, 3, 1536, 49152, True),
}


def hollow_model(path: Path, size: str, dtype: str = "BF16") -> Path:
    """Writes a directory that takes no room on the disk and looks like a model; the driver reads only headers."""
    width, layers, heads, kv_heads, inner, vocabulary, is_tied = SIZES[size]
    keys = width // heads * kv_heads
    in_layer = {
        "self_attn.q_proj": (width, width),
        "self_attn.k_proj": (keys, width),
        "self_attn.v_proj": (keys, width),
        "self_attn.o_proj": (width, width),
        "mlp.gate_proj": (inner, width),
        "mlp.up_proj": (inner, width),
        "mlp.down_proj": (width, inner),
    }
    shapes = {"model.embed_tokens.weight": (vocabulary, width)}
    if not is_tied:
        shapes["lm_head.weight"] = (vocabulary, width)
    shapes |= {f"model.layers.{i}.{name}.weight": shape for i in range(layers) for name, shape in in_layer.items()}
    header, end, element = {}, 0, {"BF16": 2, "F32": 4}[dtype]
    for name, shape in shapes.items():
        begin, end = end, end + math.prod(shape) * element
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    path.mkdir(parents=True, exist_ok=True)
    with open(path / "model.safetensors", "wb") as stream:
        stream.write(len(text).to_bytes(8, "little") + text)
        stream.truncate(8 + len(text) + end)
    config = {
        "model_type": "qwen2",
        "architectures": ["Qwen2ForCausalLM"],
        "hidden_size": width,
        "num_attention_heads": heads,
        "num_hidden_layers": layers,
        "num_key_value_heads": kv_heads,
        "intermediate_size": inner,
        "vocab_size": vocabulary,
        "tie_word_embeddings": is_tied,
    }
    (path / "config.json").write_text(json.dumps(config))
    (path / "tokenizer.json").write_text('{"model": {"vocab": {"a": 0}}, "added_tokens": []}')
    (path / "tokenizer_config.json").write_text('{"chat_template": "{{ messages }}", "eos_token": "a"}')
    return path
