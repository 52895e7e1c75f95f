"""A reward model: a causal LM with a scalar head, read at the last token that does not pad [N]."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from stages.modeling.adapters import Adapters
from stages.modeling.attention import CannotPack
from stages.modeling.batching import (
    group_micro_batches_of_ranks,
    lay_out,
    lay_out_groups,
    micro_batches,
    pad_rows,
)
from stages.modeling.loading import load_classifier
from stages.modeling.quantized import require_four_bits
from stages.modeling.sequences import SequenceGroup

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class ScalarModel(nn.Module):
    """An HF sequence classifier with one output, wrapped so that DeepSpeed names its parameters as elsewhere."""

    def __init__(self, model: "PreTrainedModel"):
        super().__init__()
        self.model: PreTrainedModel = model
        self.adapters: Adapters | None = None  # None: all weights are trained
        self.packed = False  # whether its rows are packed, for ranks that hold them together
        self.sequences: SequenceGroup | None = None  # these ranks; None: each has rows of its own
        self.is_partitioned = False  # whether ZeRO 3 divides its weights over the ranks

    @property
    def pad_id(self) -> int:
        """The token that pads its rows, by its own configuration: transformers looks for it where it reads rewards."""
        return self.model.config.get_text_config().pad_token_id

    def forward(
        self,
        input_ids: torch.Tensor,
        places_B: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        boundaries: torch.Tensor | None = None,
        longest: int = 0,
        prefixes: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Rows ending in end-of-sequence -> [B] rewards, each read at the last token that does not pad.

        Args:
            input_ids: Token ids, [B, T] padded on the right; or packed, [1, total], with the rest of the arguments.
            places_B: [B] where the reward of each row is read.
            position_ids: [1, total] of packed rows.
            boundaries: [S + 1] int32, where each segment of packed rows begins, and the end.
            longest: Tokens of the longest of the packed rows.
            prefixes: [S] int32, the segment that each segment of packed rows sees too, see `TokenBatch`.
        """
        if places_B is None:
            return self.model(input_ids=input_ids, use_cache=False).logits[:, 0].float()
        assert position_ids is not None and boundaries is not None, "packed rows come with their boundaries"
        if self.sequences is None:
            return self._packed_rewards(input_ids, places_B, position_ids, boundaries, longest, prefixes=prefixes)
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
    places = [begin + last_real(ids, pad_id) for begin, ids in zip(row.boundaries.tolist(), rows)]
    places_B = torch.tensor(places, dtype=torch.long, device=device)
    return row.input_ids, places_B, row.position_ids, row.boundaries, row.longest


def laid_out_groups(prompts: list[list[int]], completions: list[list[int]], pad_id: int) -> tuple[Any, ...]:
    """What `ScalarModel.forward` takes for completions that share their prompts, see `lay_out_groups`."""
    row = lay_out_groups(prompts, completions, pad_id)
    assert row.boundaries is not None and row.prefixes is not None
    begins, shared = row.boundaries.tolist(), row.prefixes.tolist()
    segments = [segment for segment, prefix in enumerate(shared) if prefix >= 0]  # of the completions
    places = []
    for segment, prompt, completion in zip(segments, prompts, completions):
        place = last_real([*prompt, *completion], pad_id)
        is_in_prompt = place < len(prompt)
        places.append(begins[shared[segment]] + place if is_in_prompt else begins[segment] + place - len(prompt))
    return row.input_ids, torch.tensor(places), row.position_ids, row.boundaries, row.longest, row.prefixes


def last_real(ids: list[int], pad_id: int) -> int:
    """The place in a row where its reward is read, as transformers has it: of the last token that does not pad.

    Where a tokenizer pads with its end of sequence, that is the token before the end.
    """
    return next((place for place in range(len(ids) - 1, -1, -1) if ids[place] != pad_id), 0)


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
        model.config.pad_token_id = model.config.get_text_config().pad_token_id = pad  # the latter is read
    return model


@torch.no_grad()
def reward_scores(model: Any, rows: list[list[int]], micro_batch_tokens: int) -> list[float]:
    """Rewards of token rows, in their order, computed in batches of similar length.

    Args:
        model: A ScalarModel, or its engine.
        rows: Token ids that end in the end-of-sequence token.
        micro_batch_tokens: Most tokens of a batch, padding included.
    """
    scores = [0.0] * len(rows)
    if not rows:
        return scores
    scalar = getattr(model, "module", model)
    device = getattr(model, "device", None) or next(scalar.parameters()).device
    for indices in micro_batches([len(row) for row in rows], 1, 0, micro_batch_tokens, scalar.packed):
        rewards = model(*laid_out([rows[i] for i in indices], scalar.pad_id, device, scalar.packed))
        for i, value in zip(indices, rewards.tolist()):
            scores[i] = value
    return scores


@torch.no_grad()
def rewards_of_groups(
    model: ScalarModel,
    prompts: list[list[int]],
    completions: list[list[int]],
    micro_batch_tokens: int,
) -> list[float]:
    """What `reward_scores` gives for prompts followed by their completions, in their order.

    Completions of one prompt share its tokens, so that it is computed once. On the CPU only.

    Args:
        model: A model whose rows are packed.
        prompts: Token ids, for each completion.
        completions: Token ids that end in the end-of-sequence token.
        micro_batch_tokens: Most tokens of a batch.
    """
    scores = [0.0] * len(prompts)
    known_by, lengths = [tuple(ids) for ids in prompts], [len(ids) for ids in completions]
    (batches,) = group_micro_batches_of_ranks(known_by, [len(ids) for ids in prompts], lengths, 1, micro_batch_tokens)
    for indices in filter(None, batches):
        chosen = [prompts[i] for i in indices], [completions[i] for i in indices]
        rewards = model(*laid_out_groups(*chosen, model.pad_id))
        for i, value in zip(indices, rewards.tolist()):
            scores[i] = value
    return scores
