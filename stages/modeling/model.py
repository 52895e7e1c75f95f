"""Loading and saving HF causal LMs, and the forward pass that training needs: logprobs and entropies without [tokens,
vocab] logits.
"""

import functools
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from stages.config import ModelConfig
from stages.modeling.attention import can_pack, use_packed_attention
from stages.runtime.errors import InputError

LOGITS_PER_CHUNK = {"cpu": 1 << 26, "cuda": 1 << 29}  # most logits held at once: 256 MiB in fp32, 1 GiB in bf16
LOGITS_PER_BLOCK = 1 << 19  # of those, what one pass of log-softmax works on on the CPU: what the caches hold


def load_tokenizer(model_dir: Path):
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(model_dir)
    except (OSError, ValueError) as error:
        raise InputError(f"no usable tokenizer in {model_dir}: {error}") from error
    if tokenizer.eos_token_id is None:
        raise InputError(
            f"the tokenizer in {model_dir} has no end-of-sequence token: set eos_token in its tokenizer_config.json"
        )
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
    """A small Llama with random weights: the recipe's own base. (AutoTokenizer ignores what a Qwen2 directory says of
    its tokenizer.)
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


def save_model(model: nn.Module, state: dict[str, torch.Tensor] | None, tokenizer, directory: Path) -> None:
    """An HF directory that people, vLLM and the next stage read."""
    model.save_pretrained(directory, state_dict=state, safe_serialization=True)
    tokenizer.save_pretrained(directory)


def uses_packing(choice: str, model: nn.Module, precision: str) -> bool:
    """What `packing` (auto, on, off) means for this model on this machine. Raises InputError where it is on and cannot
    be.
    """
    if choice == "on" and not can_pack(model):
        raise InputError(
            f"packing=on, but the attention of {type(model).__name__} is not plain causal attention: use packing=off"
        )
    has_kernel = precision == "bf16" or not torch.cuda.is_available()
    return choice == "on" or (choice == "auto" and has_kernel and can_pack(model))


class PolicyModel(nn.Module):
    """A causal LM whose forward gives logprobs and entropies of chosen tokens. At most LOGITS_PER_CHUNK logits exist at
    once: with more targets than that, the vocabulary product is made in chunks, again in the backward pass.

    Padded rows [B, T] need no attention mask: pads are on the right, and with causal attention no real token sees one.
    Packed rows [1, total] need `use_packed_attention`.
    """

    def __init__(self, model: nn.Module, packed: bool = False):
        super().__init__()
        self.model, self.packed = model, packed
        if packed:
            use_packed_attention(model)

    def forward(
        self,
        input_ids,
        places_N,
        targets_N,
        position_ids=None,
        boundaries=None,
        longest=0,
        prefixes=None,
        temperature: float = 1.0,
        with_entropy: bool = True,
    ):
        """The first seven are TokenBatch.inputs. Returns logprobs [N], entropies [N] (nats; zeros unless wanted), both
        fp32.
        """
        packing = (
            {"position_ids": position_ids, "boundaries": boundaries, "longest": longest, "prefixes": prefixes}
            if self.packed
            else {}
        )
        hidden = self.model.get_decoder()(input_ids=input_ids, use_cache=False, **packing).last_hidden_state.flatten(
            0, 1
        )  # [B * T, D]
        head = self.model.get_output_embeddings()
        if len(targets_N) == 0:  # a filler micro-batch: keep every parameter in the graph, for collectives in lockstep
            zero = head(hidden[:1]).sum() * 0.0
            return zero + hidden.new_zeros(0), hidden.new_zeros(0)
        hidden_ND = hidden.index_select(0, places_N)
        chunk = max(1, LOGITS_PER_CHUNK[input_ids.device.type] // self.model.config.get_text_config().vocab_size)
        if len(targets_N) <= chunk:
            return self._score(hidden_ND, targets_N, temperature, with_entropy)
        parts = [
            checkpoint(self._score, h, t, temperature, with_entropy, use_reentrant=False)
            for h, t in zip(hidden_ND.split(chunk), targets_N.split(chunk))
        ]
        return torch.cat([p[0] for p in parts]), torch.cat([p[1] for p in parts])

    def _score(self, hidden_ND, targets_N, temperature: float, with_entropy: bool):
        logits_NV = self.model.get_output_embeddings()(hidden_ND)
        softcap = getattr(self.model.config, "final_logit_softcapping", None)
        if softcap:
            logits_NV = torch.tanh(logits_NV.float() / softcap) * softcap
        if logits_NV.is_cuda:
            return FusedTokenLogprobs.apply(logits_NV, targets_N, temperature, with_entropy)
        logits_NV = logits_NV.float()
        return TokenLogprobs.apply(
            logits_NV / temperature if temperature != 1.0 else logits_NV, targets_N, with_entropy
        )


class TokenLogprobs(torch.autograd.Function):
    """Log-softmax at the targets, and entropies, on a CPU. The logits' memory becomes the probabilities' and then the
    gradient's, block by block, where autograd's own formulas keep four such buffers.
    """

    @staticmethod
    def forward(ctx, logits_NV: torch.Tensor, targets_N: torch.Tensor, with_entropy: bool):
        logits_NV = logits_NV.detach()
        rows = max(1, LOGITS_PER_BLOCK // logits_NV.shape[1])
        logprobs, entropies = [], []
        for shifted_bV, targets_b in zip(logits_NV.split(rows), targets_N.split(rows)):
            shifted_bV.sub_(shifted_bV.max(1, keepdim=True).values)
            chosen_b = shifted_bV.gather(1, targets_b[:, None])[:, 0]
            exponentials_bV = shifted_bV.exp()
            sums_b = exponentials_bV.sum(1)
            log_sums_b = sums_b.log()
            logprobs.append(chosen_b - log_sums_b)
            if with_entropy:
                entropies.append(log_sums_b - shifted_bV.mul_(exponentials_bV).sum(1) / sums_b)
            torch.div(exponentials_bV, sums_b[:, None], out=shifted_bV)
        logprobs_N = torch.cat(logprobs)
        entropies_N = torch.cat(entropies) if with_entropy else torch.zeros_like(logprobs_N)
        ctx.save_for_backward(logits_NV, targets_N)  # probabilities by now
        ctx.mark_non_differentiable(entropies_N)
        return logprobs_N, entropies_N

    @staticmethod
    def backward(ctx, gradient_N: torch.Tensor, _):
        """d log p(t) / d logits = onehot(t) - p."""
        probs_NV, targets_N = ctx.saved_tensors
        gradient_NV = probs_NV.mul_(-gradient_N[:, None])
        return gradient_NV.scatter_add_(1, targets_N[:, None], gradient_N[:, None]), None, None


class FusedTokenLogprobs(torch.autograd.Function):
    """The same on a GPU, where memory traffic is what it costs: logits are read twice forward and once backward, in the
    precision they have, and only their gradient is written. Arithmetic is in fp32.
    """

    @staticmethod
    def forward(ctx, logits_NV: torch.Tensor, targets_N: torch.Tensor, temperature: float, with_entropy: bool):
        logits_NV = logits_NV.detach()
        log_sums_N, entropies_N = compiled(_log_sums)(logits_NV, temperature, with_entropy)
        ctx.save_for_backward(logits_NV, targets_N, log_sums_N)
        ctx.temperature = temperature
        ctx.mark_non_differentiable(entropies_N)
        return logits_NV.gather(1, targets_N[:, None])[:, 0].float() / temperature - log_sums_N, entropies_N

    @staticmethod
    def backward(ctx, gradient_N: torch.Tensor, _):
        return compiled(_logits_gradient)(*ctx.saved_tensors, gradient_N, ctx.temperature), None, None, None


@functools.cache
def compiled(function: Callable) -> Callable:
    """Made when it is first needed: torch.compile takes a second to import, and a CPU never comes here."""
    return torch.compile(function, dynamic=True)


def _log_sums(logits_NV: torch.Tensor, temperature: float, with_entropy: bool):
    """log sum exp [N] and entropies [N] (zeros unless wanted) of logits / temperature."""
    scaled_NV = logits_NV.float() / temperature
    largest_N1 = scaled_NV.amax(1, keepdim=True)
    exponentials_NV = (scaled_NV - largest_N1).exp()
    sums_N = exponentials_NV.sum(1)
    log_sums_N = sums_N.log()
    entropies_N = (
        log_sums_N - ((scaled_NV - largest_N1) * exponentials_NV).sum(1) / sums_N
        if with_entropy
        else torch.zeros_like(log_sums_N)
    )
    return log_sums_N + largest_N1[:, 0], entropies_N


def _logits_gradient(
    logits_NV: torch.Tensor,
    targets_N: torch.Tensor,
    log_sums_N: torch.Tensor,
    gradient_N: torch.Tensor,
    temperature: float,
):
    """d log p(t) / d logits = (onehot(t) - p) / temperature."""
    probs_NV = (logits_NV.float() / temperature - log_sums_N[:, None]).exp()
    is_target_NV = torch.arange(logits_NV.shape[1], device=logits_NV.device) == targets_N[:, None]
    return ((is_target_NV.float() - probs_NV) * (gradient_N / temperature)[:, None]).to(logits_NV.dtype)
