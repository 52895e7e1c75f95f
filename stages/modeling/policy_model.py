"""The forward pass that training needs: logprobs and entropies of chosen tokens, never all logits at once."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from stages.modeling.adapters import Adapters
from stages.modeling.attention import use_packed_attention
from stages.modeling.divided import whole
from stages.modeling.head import Kind, beside_decoder, capped, decoder_of, head_kind, own_logits, softcap_of
from stages.modeling.logprobs import FusedTokenLogprobs, TokenLogprobs

if TYPE_CHECKING:
    from transformers import PreTrainedModel

LOGITS_PER_CHUNK = {"cpu": 1 << 26, "cuda": 1 << 29}  # most logits held at once: 256 MiB in fp32, 1 GiB in bf16


class PolicyModel(nn.Module):
    """A causal LM whose forward gives logprobs and entropies of chosen tokens.

    At most LOGITS_PER_CHUNK logits exist at once: with more targets than that, the product with the vocabulary is made
    in chunks, again in the backward pass.

    Padded rows [B, T] need no attention mask: pads are on the right, and with causal attention no real token sees one.
    Packed rows [1, total] need `use_packed_attention`.

    Logits are what the family's own forward pass makes of the decoder's hidden states (stages/modeling/head.py).
    """

    def __init__(self, model: "PreTrainedModel", packed: bool = False):
        super().__init__()
        self.model: PreTrainedModel = model
        self.packed = packed
        self.adapters: Adapters | None = None  # None: all weights are trained
        with whole(beside_decoder(model)):
            self.head: Kind = head_kind(model)
        if packed:
            use_packed_attention(model)

    @contextmanager
    def taking_packed_rows(self) -> Iterator[None]:
        """Within the block rows are packed, whatever attention the model has."""
        before, self.packed = self.packed, True
        try:
            yield
        finally:
            self.packed = before

    def forward(
        self,
        input_ids: torch.Tensor,
        places_N: torch.Tensor,
        targets_N: torch.Tensor,
        position_ids: torch.Tensor | None = None,
        boundaries: torch.Tensor | None = None,
        longest: int = 0,
        prefixes: torch.Tensor | None = None,
        temperature: float = 1.0,
        with_entropy: bool = True,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Computes the logprobs of N target tokens; the first seven arguments are `TokenBatch.inputs`.

        Args:
            input_ids: Token ids, [B, T] padded on the right, or [1, total] packed.
            places_N: [N] where each target is predicted from: an index into the flattened `input_ids`.
            targets_N: [N] the token ids of the targets.
            position_ids: [1, total] of packed rows.
            boundaries: [S + 1] int32, where each segment of packed rows begins, and the end.
            longest: Tokens of the longest sequence of packed rows.
            prefixes: [S] int32, the segment that each segment of packed rows sees too.
            temperature: What logits are divided by.
            with_entropy: Whether entropies are wanted.

        Returns:
            Logprobs [N] and entropies [N] (nats; zeros unless wanted), both fp32.
        """
        packing = (
            {"position_ids": position_ids, "boundaries": boundaries, "longest": longest, "prefixes": prefixes}
            if self.packed
            else {}
        )
        output = decoder_of(self.model)(input_ids=input_ids, use_cache=False, **packing)
        hidden = output.last_hidden_state.flatten(0, 1)  # [B * T, D]
        if len(targets_N) == 0:  # a filler micro-batch: keep every parameter in the graph, for collectives in lockstep
            zero = self._logits(hidden[:1]).sum() * 0.0
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

    def _score(
        self, hidden_ND: torch.Tensor, targets_N: torch.Tensor, temperature: float, with_entropy: bool
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Logprobs [N] and entropies [N] of the targets after these hidden states."""
        logits_NV = self._logits(hidden_ND)
        if logits_NV.is_cuda:
            return FusedTokenLogprobs.apply(logits_NV, targets_N, temperature, with_entropy)
        logits_NV = logits_NV.float()
        return TokenLogprobs.apply(
            logits_NV / temperature if temperature != 1.0 else logits_NV, targets_N, with_entropy
        )

    def _logits(self, hidden_ND: torch.Tensor) -> torch.Tensor:
        """The family's logits [N, V] after these hidden states; their memory belongs to the caller."""
        head = self.model.get_output_embeddings()
        if self.head == "own" or hidden_ND.dtype != head.weight.dtype:  # Mamba adds up in fp32
            return own_logits(self.model, hidden_ND).clone()  # autograd may still need the family's last result
        cap = softcap_of(self.model)
        return capped(head(hidden_ND).float(), cap) if self.head == "capped" and cap else head(hidden_ND)
