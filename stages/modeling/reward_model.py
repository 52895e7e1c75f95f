"""A reward model: a causal LM with a scalar head, read at the last token [N]."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from stages.modeling.adapters import Adapters
from stages.modeling.attention import CannotPack
from stages.modeling.batching import lay_out, micro_batches, pad_id, pad_rows
from stages.modeling.loading import load_classifier
from stages.modeling.quantized import require_four_bits
from stages.modeling.sequences import SequenceGroup

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


class ScalarModel(nn.Module):
    """An HF sequence classifier with one output, wrapped so that DeepSpeed names its parameters as elsewhere."""

    def __init__(self, model: "PreTrainedModel"):
        super().__init__()
        self.model: PreTrainedModel = model
        self.adapters: Adapters | None = None  # None: all weights are trained
        self.packed = False  # whether its rows are packed, for ranks that hold them together
        self.sequences: SequenceGroup | None = None  # these ranks; None: each has rows of its own
        self.is_partitioned = False  # whether ZeRO 3 divides its weights over the ranks

    def forward(
        self,
        input_ids: torch.Tensor,
        places_B: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        boundaries: torch.Tensor | None = None,
        longest: int = 0,
    ) -> torch.Tensor:
        """Rows ending in end-of-sequence -> [B] rewards, read at the last real token.

        Args:
            input_ids: Token ids, [B, T] padded on the right; or packed, [1, total], with the rest of the arguments.
            places_B: [B] where the last token of each row is.
            position_ids: [1, total] of packed rows.
            boundaries: [B + 1] int32, where each of the packed rows begins, and the end.
            longest: Tokens of the longest of the packed rows.
        """
        if places_B is None:
            return self.model(input_ids=input_ids, use_cache=False).logits[:, 0].float()
        assert position_ids is not None and boundaries is not None, "packed rows come with their boundaries"
        if self.sequences is None:
            return self._packed_rewards(input_ids, places_B, position_ids, boundaries, longest)
        own = self.sequences.cut(input_ids, position_ids, boundaries, longest, places_B)
        rewards_b = self._packed_rewards(
            own.input_ids, own.places_n, own.position_ids, own.boundaries, own.longest, sequences=self.sequences
        )
        return self.sequences.joined(rewards_b, own.is_own_N)

    def _packed_rewards(
        self, input_ids: torch.Tensor, places_b: torch.Tensor, *packing: torch.Tensor | int, **more: Any
    ) -> torch.Tensor:
        """[b] rewards at these places of a packed row, of which this rank may have a slice."""
        body = getattr(self.model, self.model.base_model_prefix)
        named = dict(zip(("position_ids", "boundaries", "longest"), packing))
        hidden = body(input_ids=input_ids, use_cache=False, **named, **more).last_hidden_state[0]
        # A rank without a last token computes a reward too: every parameter stays in the graph.
        places = places_b if len(places_b) else places_b.new_zeros(1)
        rewards = head_of(self.model)(hidden.index_select(0, places))[:, 0].float()
        return rewards if len(places_b) else rewards.sum() * 0.0 + rewards.new_zeros(0)


def head_of(model: "PreTrainedModel") -> nn.Module:
    """The head of a classifier.

    Raises:
        CannotPack: It is not one linear layer after the body.
    """
    body = model.base_model_prefix
    heads = [module for name, module in model.named_children() if name != body and list(module.parameters())]
    if len(heads) != 1:
        raise CannotPack("its head is not one layer")
    return heads[0]


def laid_out(rows: list[list[int]], pad_id: int, device: torch.device, packed: bool) -> tuple[Any, ...]:
    """What `ScalarModel.forward` takes for these token rows."""
    if not packed:
        return (pad_rows(rows, pad_id, device),)
    row = lay_out(rows, [[False] * len(ids) for ids in rows], pad_id, device, packed=True)
    assert row.boundaries is not None
    places_B = row.boundaries[1:].long() - 1 if rows else row.boundaries.new_zeros(0).long()
    return row.input_ids, places_B, row.position_ids, row.boundaries, row.longest


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
    packed = getattr(getattr(model, "module", None), "packed", False)
    for indices in micro_batches([len(row) for row in rows], 1, 0, micro_batch_tokens, packed):
        output = model(*laid_out([rows[i] for i in indices], pad_id(tokenizer), device, packed))
        values = output if isinstance(output, torch.Tensor) else output.logits[:, 0]
        for i, value in zip(indices, values.float().tolist()):
            scores[i] = value
    return scores
