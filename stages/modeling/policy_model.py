"""The forward pass that training needs: logprobs and entropies of chosen tokens, never all logits at once."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from torch import nn
from torch.utils.checkpoint import checkpoint

from stages.modeling.adapters import Adapters
from stages.modeling.attention import use_packed_attention
from stages.modeling.divided import whole
from stages.modeling.head import Kind, beside_decoder, capped, decoder_of, head_kind, own_logits, softcap_of
from stages.modeling.logprobs import FusedTokenLogprobs, TokenLogprobs
from stages.modeling.sequences import SequenceGroup

if TYPE_CHECKING:
    from transformers import PreTrainedModel

LOGITS_PER_CHUNK = {"cpu": 1 << 26, "cuda": 1 << 29}  # most logits held at once: 256 MiB in fp32, 1 GiB in bf16
LARGE_TABLE = 1 << 22  # weights of an embedding from which on a second gradient of that size is worth avoiding


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
        self.sequences: SequenceGroup | None = None  # the ranks that hold its rows together; None: each its own
        self.is_partitioned = False  # whether ZeRO 3 divides its weights over the ranks
        with whole(beside_decoder(model)):
            self.head: Kind = head_kind(model)
        if packed:
            use_packed_attention(model)
        _embed_sparsely(model)

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
        if self.sequences is None:
            return self._own_tokens(
                input_ids, places_N, targets_N, position_ids, boundaries, longest, prefixes, temperature, with_entropy
            )
        assert position_ids is not None and boundaries is not None, "only packed rows are cut"
        own = self.sequences.cut(input_ids, position_ids, boundaries, longest, places_N)
        logprobs_n, entropies_n = self._own_tokens(
            own.input_ids,
            own.places_n,
            targets_N[own.is_own_N],
            own.position_ids,
            own.boundaries,
            own.longest,
            prefixes,
            temperature,
            with_entropy,
        )
        logprobs_N = self.sequences.joined(logprobs_n, own.is_own_N)
        entropies_N = torch.zeros_like(logprobs_N)
        return logprobs_N, self.sequences.joined(entropies_n.detach(), own.is_own_N) if with_entropy else entropies_N

    def _own_tokens(
        self,
        input_ids: torch.Tensor,
        places_N: torch.Tensor,
        targets_N: torch.Tensor,
        position_ids: torch.Tensor | None,
        boundaries: torch.Tensor | None,
        longest: int,
        prefixes: torch.Tensor | None,
        temperature: float,
        with_entropy: bool,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """`forward` for the tokens that this rank has."""
        packing: dict[str, Any] = {}
        if self.packed:
            packing = {"position_ids": position_ids, "boundaries": boundaries, "longest": longest, "prefixes": prefixes}
        if self.sequences is not None:
            packing["sequences"] = self.sequences
        output = decoder_of(self.model)(input_ids=input_ids, use_cache=False, **packing)
        hidden = output.last_hidden_state.flatten(0, 1)  # [B * T, D]
        chunk = max(1, LOGITS_PER_CHUNK[input_ids.device.type] // self.model.config.get_text_config().vocab_size)
        num_chunks = self._agreed(max(1, math.ceil(len(targets_N) / chunk)), input_ids.device)
        if num_chunks == 1:
            if len(targets_N) == 0:  # every parameter stays in the graph, for collectives in lockstep
                return self._nothing(hidden) + hidden.new_zeros(0), hidden.new_zeros(0)
            return self._score(hidden.index_select(0, places_N), targets_N, temperature, with_entropy)
        hidden_ND = hidden.index_select(0, places_N)
        parts = [
            checkpoint(self._score, h, t, temperature, with_entropy, use_reentrant=False)
            for h, t in zip(hidden_ND.split(chunk), targets_N.split(chunk))
            if len(t)
        ]
        fillers = [checkpoint(self._nothing, hidden, use_reentrant=False) for _ in range(num_chunks - len(parts))]
        none = hidden.new_zeros(0, dtype=torch.float32)
        logprobs_N = torch.cat([none, *(p[0] for p in parts)])
        return sum(fillers, logprobs_N), torch.cat([none, *(p[1] for p in parts)])

    def _nothing(self, hidden: torch.Tensor) -> torch.Tensor:
        """[] 0, computed by the head, so that it takes part in what others do with theirs."""
        return self._logits(hidden[:1]).sum() * 0.0

    def _agreed(self, num_chunks: int, device: torch.device) -> int:
        """The most chunks that any rank has, where ZeRO 3 gathers the head for each of them; else this rank's own."""
        if not self.is_partitioned or dist.get_world_size() == 1:
            return num_chunks
        most = torch.tensor(num_chunks, device=device)
        dist.all_reduce(most, op=dist.ReduceOp.MAX)
        return int(most)

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


def _embed_sparsely(model: "PreTrainedModel") -> None:
    """Lets a large embedding on a CPU add only the rows of its tokens to the gradient of the head that it is tied to.

    By itself it would fill a gradient as large as the vocabulary with zeros, and add the whole of it to the head's,
    which is there in any case.
    """
    embedding, head = model.get_input_embeddings(), model.get_output_embeddings()
    is_plain = type(embedding) is nn.Embedding and not torch.cuda.is_available()
    if is_plain and head is not None and embedding.weight is head.weight and embedding.weight.numel() >= LARGE_TABLE:
        embedding.sparse = True
