"""A reward model: a causal LM with a scalar head, read at the last token [N]."""

from pathlib import Path

import torch
from torch import nn

from stages.modeling.batching import micro_batches, pad_id, pad_rows


class ScalarModel(nn.Module):
    """An HF sequence classifier with one output, wrapped so that DeepSpeed names its parameters as elsewhere."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        """[B, T] rows ending in end-of-sequence, padded on the right -> [B] rewards, read at the last real token."""
        return self.model(input_ids=input_ids, use_cache=False).logits[:, 0].float()


def load_reward_model(directory: Path, pad: int | None = None) -> nn.Module:
    from transformers import AutoModelForSequenceClassification

    model = AutoModelForSequenceClassification.from_pretrained(
        directory, num_labels=1, use_safetensors=True, dtype=torch.float32
    )
    if pad is not None:
        model.config.pad_token_id = pad
    return model


@torch.no_grad()
def reward_scores(model, rows: list[list[int]], tokenizer, micro_batch_tokens: int) -> list[float]:
    """Rewards of token rows, in order, computed in length-sorted batches. `model`: a ScalarModel's engine or an HF
    classifier.
    """
    scores = [0.0] * len(rows)
    device = getattr(model, "device", torch.device("cpu"))
    for indices in micro_batches([len(row) for row in rows], 1, 0, micro_batch_tokens) if rows else []:
        output = model(pad_rows([rows[i] for i in indices], pad_id(tokenizer), device))
        values = output if isinstance(output, torch.Tensor) else output.logits[:, 0]
        for i, value in zip(indices, values.float().tolist()):
            scores[i] = value
    return scores
