"""Memory for what the forward pass of a model from outside keeps for its backward pass."""

from typing import Any

from pipeline.configuration.model_directory import locate, num_parameters
from pipeline.errors import MissingInput
from stages.config import ModelConfig
from stages.contract.files import find_json

# Numbers that are kept for one token, over the parameters of all layers divided by the width: each matrix of a layer
# keeps its input, and norms, activation functions and attention about as much again. On SmolLM2-135M in fp32 it comes
# to 1.5 MB a token; a step of R1-Zero with micro-batches of 4,096 tokens held 6.3 GiB more than its weights, optimizer
# and sampler, which is 1.6 MB.
KEPT_NUMBERS = 2.0
WIDTHS, LAYERS = ("hidden_size", "n_embd"), ("num_hidden_layers", "n_layer")  # as families name them


def activation_bytes(model: ModelConfig, number_bytes: int, is_recomputed: bool) -> float:
    """Bytes that one token of a micro-batch takes; 0 where the model is not there, or is the recipe's own, tiny one.

    Args:
        model: Where it lies.
        number_bytes: Of one activation.
        is_recomputed: Whether each layer keeps its input only (gradient checkpointing).
    """
    if not model.path:
        return 0.0
    try:
        config = find_json(locate(model.path, model.revision) / "config.json")
    except MissingInput:
        return 0.0
    if not isinstance(config, dict):
        return 0.0
    shape = config.get("text_config") or config
    width, layers, words = (_first(shape, *names) for names in (WIDTHS, LAYERS, ("vocab_size",)))
    if not (width and layers and words):
        return 0.0
    if is_recomputed:
        return float(width * layers * number_bytes)
    tables = 1 if config.get("tie_word_embeddings", shape.get("tie_word_embeddings")) else 2
    of_layers = max(0.0, num_parameters(model) - tables * words * width)
    return KEPT_NUMBERS * of_layers / width * number_bytes


def _first(shape: dict[str, Any], *names: str) -> int:
    """The first of these keys that is a number above 0; 0 where none is."""
    return next((shape[name] for name in names if isinstance(shape.get(name), int) and shape[name] > 0), 0)
