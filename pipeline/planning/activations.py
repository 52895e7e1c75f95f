"""Memory for what a forward pass keeps for its backward pass: of the layers, and of the logits."""

from pipeline.planning.shapes import Shape

# Numbers that are kept for one token, over the parameters of all layers divided by the width: each matrix of a layer
# keeps its input, and norms, activation functions and attention about as much again. On SmolLM2-135M in fp32 it comes
# to 1.5 MB a token; a step of R1-Zero with micro-batches of 4,096 tokens held 6.3 GiB more than its weights, optimizer
# and sampler, which is 1.6 MB.
KEPT_NUMBERS = 2.0
LOGITS = {"cpu": 2**26, "gpu": 2**29}  # most that exist at once (stages/modeling/policy_model.py)
COPIES_OF_LOGITS = 2  # the logits and their gradient


def layer_bytes(shape: Shape, number_bytes: int, is_recomputed: bool, mlp_tiles: int = 1) -> float:
    """Bytes that the layers keep of one token of a micro-batch; 0 for a model that nothing is known of.

    Args:
        shape: Of the model.
        number_bytes: Of one activation.
        is_recomputed: Whether each layer keeps its input only (gradient checkpointing); one of them is whole at a time.
        mlp_tiles: Parts in which a feed-forward layer computes the tokens: it keeps its input, and one part is whole at
            a time. Experts are left as they are.
    """
    if not (shape.width and shape.layers):
        return 0.0
    of_layer = KEPT_NUMBERS * shape.active_of_layers / shape.width / shape.layers
    part = 0.0
    if mlp_tiles > 1 and not shape.experts:
        of_mlp = KEPT_NUMBERS * shape.of_mlp / shape.width
        of_layer, part = of_layer - of_mlp + shape.width, of_mlp / mlp_tiles
    kept = shape.width * shape.layers + of_layer if is_recomputed else of_layer * shape.layers
    return (kept + part) * number_bytes


def logit_bytes(shape: Shape, number_bytes: int, num_targets: float, is_on_gpu: bool) -> float:
    """Bytes of the logits and their gradient, of which a chunk exists at a time."""
    most = LOGITS["gpu" if is_on_gpu else "cpu"]
    return COPIES_OF_LOGITS * min(num_targets * shape.vocabulary, most) * number_bytes
