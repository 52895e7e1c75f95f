"""A reward model: a causal LM with a scalar head, read at the last token [N]."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from stages.modeling.adapters import Adapters
from stages.modeling.batching import micro_batches, pad_id, pad_rows
from stages.modeling.loading import load_classifier
from stages.modeling.quantized import require_four_bits

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


class ScalarModel(nn.Module):
    """An HF sequence classifier with one output, wrapped so that DeepSpeed names its parameters as elsewhere."""

    def __init__(self, model: "PreTrainedModel"):
        super().__init__()
        self.model: PreTrainedModel = model
        self.adapters: Adapters | None = None  # None: all weights are trained

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        """[B, T] rows ending in end-of-sequence, padded on the right -> [B] rewards, read at the last real token."""
        return self.model(input_ids=input_ids, use_cache=False).logits[:, 0].float()


def load_reward_model(
    directory: Path, pad: int | None = None, is_new: bool = False, quantize: str = "none"
) -> "PreTrainedModel":
    """Loads an HF sequence classifier with one output in fp32, verified.

    Args:
        directory: Of a reward model; or of the causal LM that a new one starts from.
        pad: The id of the token that pads its rows; None: as the directory says.
        is_new: Whether its head is drawn at random.
        quantize: none, or 4bit: `lora.quantize`.
    """
    if quantize == "4bit":
        require_four_bits()
    model = load_classifier(directory, torch.float32, has_head=not is_new, in_four_bits=quantize == "4bit")
    if pad is not None:
        model.config.pad_token_id = pad
    return model


@torch.no_grad()
def reward_scores(
    model: Any, rows: list[list[int]], tokenizer: "PreTrainedTokenizerBase", micro_batch_tokens: int
) -> list[float]:
    """Rewards of token rows, in their order, computed in batches of similar length.

    Args:
        model: The engine of a ScalarModel, or an HF classifier.
        rows: Token ids that end in the end-of-sequence token.
        tokenizer: Says which token pads.
        micro_batch_tokens: Most tokens of a batch, padding included.
    """
    scores = [0.0] * len(rows)
    device = getattr(model, "device", torch.device("cpu"))
    if not rows:
        return scores
    for indices in micro_batches([len(row) for row in rows], 1, 0, micro_batch_tokens):
        output = model(pad_rows([rows[i] for i in indices], pad_id(tokenizer), device))
        values = output if isinstance(output, torch.Tensor) else output.logits[:, 0]
        for i, value in zip(indices, values.float().tolist()):
            scores[i] = value
    return scores
