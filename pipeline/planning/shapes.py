"""What a model is made of, as far as its memory and its speed depend on it: from config.json, or known by its name.

The models that the recipes name are known, so that a plan says what they need before anybody has downloaded them.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.configuration.model_directory import TINY_VOCABULARY, locate
from pipeline.errors import MissingInput
from pipeline.planning import models
from stages.config import ModelConfig
from stages.contract.files import find_json
from stages.contract.linear_layers import Layer, llama_layers
from stages.contract.model_directory import text_config

WIDTHS, LAYERS = ("hidden_size", "n_embd", "d_model"), ("num_hidden_layers", "n_layer", "num_layers")  # by family
HEADS, EXPERTS = ("num_attention_heads", "n_head"), ("n_routed_experts", "num_experts", "num_local_experts")


@dataclass(frozen=True)
class Shape:
    """Sizes of a model; 0 for what nothing tells."""

    parameters: float
    layers: int = 0
    width: int = 0  # elements of a hidden state
    heads: int = 0
    kv_heads: int = 0
    inner: int = 0  # width of the feed-forward layers
    vocabulary: int = 0
    is_tied: bool = False  # whether head and embedding are one matrix
    cached: int = 0  # numbers that the KV cache keeps for a token in one layer
    experts: int = 0  # of a layer
    chosen_experts: int = 0  # that a token goes through
    expert: float = 0.0  # parameters of one of them
    expert_layers: int = 0  # layers that have them

    @property
    def of_layers(self) -> float:
        """Parameters of all layers: without embedding and head."""
        return max(0.0, self.parameters - (1 if self.is_tied else 2) * self.vocabulary * self.width)

    @property
    def active(self) -> float:
        """Parameters that one token goes through."""
        return self.parameters - self.expert_layers * (self.experts - self.chosen_experts) * self.expert

    @property
    def active_of_layers(self) -> float:
        """Those of all layers."""
        return max(0.0, self.of_layers - (self.parameters - self.active))

    @property
    def of_mlp(self) -> float:
        """Parameters of the feed-forward part of a layer without experts: what attention has not."""
        size = self.cached / (2 * self.kv_heads) if self.kv_heads else 0
        attention = 2 * self.width * self.heads * size + self.width * self.cached
        return max(0.0, self.of_layers / max(1, self.layers) - attention) if self.heads else 0.0

    @property
    def largest_layer(self) -> float:
        """Parameters of the largest layer."""
        if self.experts:
            return self.experts * self.expert
        return self.of_layers / max(1, self.layers)

    @property
    def largest_matrix(self) -> float:
        """Parameters of the largest matrix: of the vocabulary, of a layer, or of all experts of a layer together."""
        return max(self.vocabulary * self.width, self.inner * self.width, self.experts * self.expert * 2 / 3)

    def as_layers(self) -> list[Layer]:
        """The linear layers, as a Llama of this shape has them; none where only the number of parameters is known."""
        if not self.heads:
            return []
        return llama_layers(self.width, self.inner, self.layers, self.heads, self.kv_heads, self.vocabulary)


def _dense(
    parameters: float, width: int, layers: int, heads: int, kv_heads: int, inner: int, vocabulary: int, is_tied: bool
) -> Shape:
    cached = 2 * width // max(1, heads) * kv_heads
    return Shape(parameters, layers, width, heads, kv_heads, inner, vocabulary, is_tied, cached)


_QWEN_15B = _dense(1_543_714_304, 1536, 28, 12, 2, 8960, 151_936, True)
_QWEN_7B = _dense(7_615_616_512, 3584, 28, 28, 4, 18_944, 152_064, False)
KNOWN = {  # from the published config.json of each
    "Qwen/Qwen2.5-0.5B": _dense(494_032_768, 896, 24, 14, 2, 4864, 151_936, True),
    "Qwen/Qwen2.5-1.5B": _QWEN_15B,
    "Qwen/Qwen2.5-Math-1.5B": _QWEN_15B,
    "Qwen/Qwen2.5-7B": _QWEN_7B,
    "Qwen/Qwen2.5-Math-7B": _QWEN_7B,
    "Qwen/Qwen2.5-14B": _dense(14_770_033_664, 5120, 48, 40, 8, 13_824, 152_064, False),
    "Qwen/Qwen2.5-32B": _dense(32_763_876_352, 5120, 64, 40, 8, 27_648, 152_064, False),
    "meta-llama/Llama-3.1-8B": _dense(8_030_261_248, 4096, 32, 32, 8, 14_336, 128_256, False),
    "meta-llama/Llama-3.3-70B-Instruct": _dense(70_553_706_496, 8192, 80, 64, 8, 28_672, 128_256, False),
    "models/smollm2-135m": _dense(134_515_008, 576, 30, 9, 3, 1536, 49_152, True),
    "deepseek-ai/DeepSeek-V3-Base": Shape(
        671_026_419_200, 61, 7168, 128, 1, 18_432, 129_280, False,
        cached=512 + 64,  # of multi-head latent attention
        experts=256, chosen_experts=8, expert=3 * 7168 * 2048, expert_layers=58,
    ),
}  # fmt: skip


def shape_of(model: ModelConfig) -> Shape | None:
    """The shape of a model; None where it is neither here nor known.

    Args:
        model: Where it lies; without a path it is the recipe's own.
    """
    parameters = models.num_parameters(model)
    if not model.path:
        own = (model.num_layers, model.hidden_size, model.num_heads, model.num_kv_heads, model.intermediate_size)
        cached = 2 * model.hidden_size // model.num_heads * model.num_kv_heads
        return Shape(parameters, *own, TINY_VOCABULARY, model.tie_embeddings, cached)
    if not parameters:
        return KNOWN.get(model.path)
    try:
        found = find_json(locate(model.path, model.revision) / "config.json")
    except MissingInput:
        return None
    return read_shape(found if isinstance(found, dict) else {}, parameters)


def read_shape(config: dict[str, Any], parameters: float) -> Shape:
    """The shape that a config.json tells.

    Args:
        config: What stands in it.
        parameters: Of the model, as its weight files have them.
    """
    text = text_config(config)
    width, layers, heads, experts = (_first(text, *names) for names in (WIDTHS, LAYERS, HEADS, EXPERTS))
    latent = _first(text, "kv_lora_rank")
    kv_heads = 1 if latent else _first(text, "num_key_value_heads") or heads  # a latent is not divided by heads
    size = _first(text, "head_dim") or (width // heads if heads else 0)
    inner = _first(text, "intermediate_size", "n_inner", "ffn_dim") or 4 * width
    of_expert = _first(text, "moe_intermediate_size") or inner
    tied = config.get("tie_word_embeddings", text.get("tie_word_embeddings", True))  # as transformers has it
    return Shape(
        parameters,
        layers,
        width,
        heads,
        kv_heads,
        inner,
        _first(text, "vocab_size"),
        bool(tied),
        cached=latent + _first(text, "qk_rope_head_dim") if latent else 2 * size * kv_heads,
        experts=experts,
        chosen_experts=_first(text, "num_experts_per_tok", "num_experts_per_token", "moe_topk") if experts else 0,
        expert=3.0 * width * of_expert if experts else 0.0,
        expert_layers=max(0, layers - _first(text, "first_k_dense_replace")) if experts else 0,
    )


def is_here(model: ModelConfig) -> bool:
    """Whether the model is on this machine, or is the recipe's own."""
    if not model.path:
        return True
    try:
        return isinstance(locate(model.path, model.revision), Path)
    except MissingInput:
        return False


def _first(text: dict[str, Any], *names: str) -> int:
    """The first of these keys that is a number above 0; 0 where none is."""
    return next((text[name] for name in names if isinstance(text.get(name), int) and text[name] > 0), 0)
