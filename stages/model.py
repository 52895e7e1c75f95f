"""Loading and saving HF causal LMs, and the forward pass that training needs: logprobs and entropies without [tokens, vocab] logits."""
from pathlib import Path

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from stages.config import ModelConfig
from stages.worker import InputError

LOGITS_PER_CHUNK = 1 << 24  # most logits held at once


def load_tokenizer(model_dir: Path):
    from transformers import AutoTokenizer
    try:
        tokenizer = AutoTokenizer.from_pretrained(model_dir)
    except (OSError, ValueError) as error:
        raise InputError(f"no usable tokenizer in {model_dir}: {error}") from error
    if tokenizer.eos_token_id is None:
        raise InputError(f"the tokenizer in {model_dir} has no end-of-sequence token: set eos_token in its tokenizer_config.json")
    return tokenizer


def load_model(model_dir: Path, precision: str = "fp32") -> nn.Module:
    """A causal LM from safetensors: no pickles, and no code that comes with a model."""
    from transformers import AutoModelForCausalLM
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    try:
        return AutoModelForCausalLM.from_pretrained(model_dir, dtype=dtype, use_safetensors=True)
    except (OSError, ValueError) as error:
        raise InputError(f"no usable model in {model_dir}: {error}") from error


def new_model(config: ModelConfig, tokenizer, seed: int) -> nn.Module:
    """A small Llama with random weights: the recipe's own base. (AutoTokenizer ignores what a Qwen2 directory says of its tokenizer.)"""
    from transformers import LlamaConfig, LlamaForCausalLM
    torch.manual_seed(seed)
    return LlamaForCausalLM(LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=config.hidden_size, intermediate_size=config.intermediate_size, num_hidden_layers=config.num_layers,
        num_attention_heads=config.num_heads, num_key_value_heads=config.num_kv_heads, max_position_embeddings=config.max_positions,
        tie_word_embeddings=config.tie_embeddings, bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id, attention_bias=True, rope_parameters={"rope_type": "default", "rope_theta": 10000.0}))


def save_model(model: nn.Module, state: dict[str, torch.Tensor] | None, tokenizer, directory: Path) -> None:
    """An HF directory that people, vLLM and the next stage read."""
    model.save_pretrained(directory, state_dict=state, safe_serialization=True)
    tokenizer.save_pretrained(directory)


class PolicyModel(nn.Module):
    """A causal LM whose forward gives per-token logprobs and entropies of chosen targets, in chunks over the vocabulary product.

    Rows are padded on the right; with causal attention no real token sees a pad, so there is no attention mask.
    """

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, input_ids: torch.Tensor, is_target: torch.Tensor, temperature: float = 1.0, with_entropy: bool = True):
        """input_ids [B, T]; is_target [B, T-1] marks positions t whose next token is scored. Returns logprobs [N], entropies [N]."""
        hidden = self.model.get_decoder()(input_ids=input_ids, use_cache=False).last_hidden_state  # [B, T, D]
        hidden_ND = hidden[:, :-1][is_target]
        targets_N = input_ids[:, 1:][is_target]
        if len(targets_N) == 0:  # a filler micro-batch: keep every parameter in the graph, for collectives in lockstep
            zero = self.model.get_output_embeddings()(hidden[:, :1]).sum() * 0.0
            return zero + hidden.new_zeros(0), hidden.new_zeros(0)
        head = self.model.get_output_embeddings()
        chunk = max(1, LOGITS_PER_CHUNK // head.weight.shape[0]) if head.weight.numel() else 1024
        if len(targets_N) <= chunk:
            return self._score(hidden_ND, targets_N, temperature, with_entropy)
        parts = [checkpoint(self._score, h, t, temperature, with_entropy, use_reentrant=False)
                 for h, t in zip(hidden_ND.split(chunk), targets_N.split(chunk))]
        return torch.cat([p[0] for p in parts]), torch.cat([p[1] for p in parts])

    def _score(self, hidden_ND, targets_N, temperature: float, with_entropy: bool):
        logits_NV = self.model.get_output_embeddings()(hidden_ND).float()
        softcap = getattr(self.model.config, "final_logit_softcapping", None)
        if softcap:
            logits_NV = torch.tanh(logits_NV / softcap) * softcap
        if temperature != 1.0:
            logits_NV = logits_NV / temperature
        log_probs_NV = torch.log_softmax(logits_NV, -1)
        logprobs_N = log_probs_NV.gather(-1, targets_N[:, None])[:, 0]
        with torch.no_grad():
            entropies_N = -(log_probs_NV.exp() * log_probs_NV).sum(-1) if with_entropy else torch.zeros_like(logprobs_N)
        return logprobs_N, entropies_N
