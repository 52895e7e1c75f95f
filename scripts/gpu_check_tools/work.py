"""What is measured: shapes of random models, prompts, training pairs, and how much of each by device."""

import json
import random
import string
from pathlib import Path

QWEN25 = {
    "vocab_size": 151936,
    "tie_word_embeddings": True,
    "max_position_embeddings": 32768,
    "num_key_value_heads": 2,
    "rope_parameters": {"rope_type": "default", "rope_theta": 1e6},
}


SHAPES = {
    "tiny": {
        **QWEN25,
        "vocab_size": 1024,
        "hidden_size": 128,
        "intermediate_size": 256,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
    },
    "41m": {
        **QWEN25,
        "vocab_size": 32000,
        "hidden_size": 512,
        "intermediate_size": 1536,
        "num_hidden_layers": 8,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
    },
    "86m": {  # as in bench_grpo.py
        **QWEN25,
        "vocab_size": 32000,
        "hidden_size": 768,
        "intermediate_size": 2048,
        "num_hidden_layers": 9,
        "num_attention_heads": 12,
        "num_key_value_heads": 6,
    },
    "0.5b": {
        **QWEN25,
        "hidden_size": 896,
        "intermediate_size": 4864,
        "num_hidden_layers": 24,
        "num_attention_heads": 14,
    },
    "1.5b": {
        **QWEN25,
        "hidden_size": 1536,
        "intermediate_size": 8960,
        "num_hidden_layers": 28,
        "num_attention_heads": 12,
    },
    "7b": {
        **QWEN25,
        "vocab_size": 152064,
        "tie_word_embeddings": False,
        "hidden_size": 3584,
        "intermediate_size": 18944,
        "num_hidden_layers": 28,
        "num_attention_heads": 28,
        "num_key_value_heads": 4,
    },
}


PEAKS = {
    r"H200": 989e12,
    r"H100 (?!PCIe|NVL)": 989e12,
    r"A100": 312e12,
    r"\bL4\b": 121e12,
    r"RTX 4090": 165e12,
}  # dense bf16 FLOP/s


WORK = {  # by device
    "cuda": {
        "prompts": 8,
        "group": 16,
        "tokens": 4096,
        "prompt_tokens": 128,
        "micro_batch_tokens": 16384,
        "sft_batch": 16,
        "sft_tokens": 16384,
        "threads": 8,
    },
    "cpu": {
        "prompts": 4,
        "group": 4,
        "tokens": 32,
        "prompt_tokens": 24,
        "micro_batch_tokens": 512,
        "sft_batch": 8,
        "sft_tokens": 256,
        "threads": 1,
    },
}


BETA = 0.001


PHASES = ("sync", "rollout", "reward", "probe", "log", "train")


NEEDED = ("torch", "transformers", "tokenizers", "safetensors", "vllm", "deepspeed", "datasets", "pyarrow")


def make_model(shape: str, directory: Path, precision: str) -> Path:
    """Makes a random Qwen2 and a tokenizer of one token a byte.

    A directory of Qwen2 gets Qwen2's byte-level tokenizer whatever its files say: a word-level one would read every
    prompt as empty.
    """
    import torch
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import Qwen2Config, Qwen2ForCausalLM, Qwen2Tokenizer

    torch.manual_seed(0)
    names = ["<|endoftext|>", *sorted(ByteLevel.alphabet())]
    names += [f"w{i}" for i in range(len(names), SHAPES[shape]["vocab_size"])]
    Qwen2Tokenizer(vocab={name: i for i, name in enumerate(names)}, merges=[]).save_pretrained(directory)
    model = Qwen2ForCausalLM(Qwen2Config(**SHAPES[shape], eos_token_id=0, pad_token_id=0))
    model.to(torch.bfloat16 if precision == "bf16" else torch.float32).save_pretrained(directory)
    return directory


def random_text(rng: random.Random, num_tokens: int) -> str:
    return "".join(rng.choices(string.ascii_lowercase + " ", k=num_tokens - 1)) + "."


def write_prompts(path: Path, num: int, num_tokens: int) -> Path:
    """Prompts that are `num_tokens` long in the plain template, which adds "User:" and "Assistant:"."""
    rng = random.Random(0)
    path.write_text(
        "".join(json.dumps({"prompt": random_text(rng, num_tokens - 15), "answer": "none"}) + "\n" for _ in range(num))
    )
    return path


def write_samples(directory: Path, num: int, max_tokens: int) -> Path:
    """Writes training pairs from an eighth of max_tokens to max_tokens long, more short ones than long ones.

    The prompt is a tenth of a pair.
    """
    import pyarrow
    import pyarrow.parquet

    rng, rows = random.Random(0), []
    for _ in range(num):
        length = int(max_tokens * (1 + 7 * rng.random() ** 2) / 8) - 1  # and the end-of-sequence token
        rows.append({"prompt": random_text(rng, length // 10), "completion": random_text(rng, length - length // 10)})
    (directory / "data").mkdir(parents=True)
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), directory / "data" / "train.parquet")
    return directory


def reward_of(completion_ids: list[int], vocabulary: int) -> float:
    """Share of tokens in the lower half of the vocabulary: differs within every group."""
    return sum(token < vocabulary / 2 for token in completion_ids) / max(1, len(completion_ids))
