"""Causal language models as Hugging Face directories: loading, making and saving them."""

from pathlib import Path
from typing import TYPE_CHECKING

import torch

from stages.config import ModelConfig
from stages.contract import files
from stages.modeling.loading import load_causal_lm, loading_errors
from stages.modeling.quantized import require_four_bits
from stages.prompting.vocabulary import vocabulary_of
from stages.runtime.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def load_tokenizer(model_dir: Path | str) -> "PreTrainedTokenizerBase":
    """Loads the tokenizer of a model directory.

    Raises:
        InputError: There is none, or neither it nor the model's configuration names an end-of-sequence token.
    """
    from transformers import AutoTokenizer

    with loading_errors(model_dir, "tokenizer"):
        tokenizer = AutoTokenizer.from_pretrained(model_dir, trust_remote_code=False)
    if tokenizer.eos_token_id is None:
        ends = [token for token in vocabulary_of(tokenizer).stop_ids() if token < len(tokenizer)]
        if not ends:
            raise InputError(
                f"the tokenizer in {model_dir} has no end-of-sequence token, and neither generation_config.json nor "
                "config.json names one: set eos_token in its tokenizer_config.json"
            )
        tokenizer.eos_token = tokenizer.convert_ids_to_tokens(ends[0])
    return tokenizer


def load_model(
    model_dir: Path | str, precision: str = "fp32", quantize: str = "none", device: torch.device | None = None
) -> "PreTrainedModel":
    """Loads a causal LM from safetensors in fp32 or bf16, verified (stages/modeling/loading.py).

    Args:
        model_dir: An HF directory.
        precision: fp32 or bf16.
        quantize: none, or 4bit: `lora.quantize`.
        device: Where its tensors go, one by one; None: host memory.

    Raises:
        InputError: The directory has no such model, or not all of it; or this machine has no four bits.
    """
    if quantize == "4bit":
        require_four_bits()
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    return load_causal_lm(model_dir, dtype, quantize == "4bit", device)


def new_model(config: ModelConfig, tokenizer: "PreTrainedTokenizerBase", seed: int) -> "PreTrainedModel":
    """Makes a small Llama with random weights, a function of the seed: the recipe's own base.

    It is no Qwen2, because AutoTokenizer ignores what a Qwen2 directory says of its tokenizer.
    """
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=config.hidden_size,
            intermediate_size=config.intermediate_size,
            num_hidden_layers=config.num_layers,
            num_attention_heads=config.num_heads,
            num_key_value_heads=config.num_kv_heads,
            max_position_embeddings=config.max_positions,
            tie_word_embeddings=config.tie_embeddings,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
            attention_bias=True,
            rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
        )
    )


def save_model(
    model: "PreTrainedModel",
    state: dict[str, torch.Tensor] | None,
    tokenizer: "PreTrainedTokenizerBase",
    directory: Path,
) -> None:
    """Writes an HF directory that people, vLLM and the next stage read.

    Args:
        model: The model; only its configuration is used where `state` is given.
        state: The weights by name in place of the model's own, or None.
        tokenizer: Saved beside the weights.
        directory: Made if it is not there.
    """
    model.save_pretrained(directory, state_dict=state, safe_serialization=True)
    tokenizer.save_pretrained(directory)
    files.follow_umask(directory)
