"""Sampling with transformers alone: the fallback where vLLM does not run, and the oracle that tests vLLM.

Draws as vLLM's CPU sampler does (one generator a sequence, Gumbel noise hashed from a number of its), so that both give
the same tokens from the same seed.
"""

import inspect
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from transformers import TopPLogitsWarper

from stages.config import RolloutConfig
from stages.engines.sampling import Completion, OnGroup
from stages.engines.weights import named_weights
from stages.modeling.model import load_model
from stages.runtime.deadline import Deadline, deadline

if TYPE_CHECKING:
    from transformers import Cache

    from stages.modeling.adapters import Adapters


class TransformersSampler:
    """See `stages.engines.sampling.Sampler`."""

    takes_checkpoint_names = False

    def __init__(
        self,
        config: RolloutConfig,
        model_dir: Path,
        max_prompt_tokens: int,
        max_completion_tokens: int,
        precision: str,
        can_sleep: bool = False,
        adapters: "Adapters | None" = None,
    ):
        self.model = load_model(model_dir, precision).eval()
        self.adds_adapters = adapters is not None
        if adapters is not None:
            adapters.put_on(self.model)
        if torch.cuda.is_available():
            self.model.cuda()
        parameters = inspect.signature(self.model.forward).parameters
        self.cache_name = "cache_params" if "cache_params" in parameters else "past_key_values"
        self.max_sequences = config.max_sequences
        self.top_p = config.top_p
        self.limit_s = config.engine_timeout_s
        self.stop_ids: list[int] = []  # `make_sampler` sets them

    def sample(
        self,
        prompts: list[list[int]],
        seeds: list[int],
        n: int,
        temperature: float,
        max_tokens: int,
        on_group: OnGroup | None = None,
        top_p: float | None = None,
        with_logprobs: bool = True,
    ) -> list[list[Completion]]:
        """See `Sampler.sample`; logprobs cost nothing here, and are always there."""
        rows = [(prompt, seed + k) for prompt, seed in zip(prompts, seeds) for k in range(n)]
        done: list[Completion] = []
        groups: list[list[Completion]] = []
        for start in range(0, len(rows), self.max_sequences):
            with deadline("a decoding step of transformers", self.limit_s) as limit:
                done += self._decode(
                    rows[start : start + self.max_sequences], temperature, max_tokens, top_p or self.top_p, limit
                )
            for i in range(len(groups), len(done) // n):
                groups.append(done[i * n : (i + 1) * n])
                if on_group:
                    on_group(i, groups[i])
        return groups

    @torch.no_grad()
    def _decode(
        self,
        rows: list[tuple[list[int], int]],
        temperature: float,
        max_tokens: int,
        top_p: float,
        limit: Deadline,
    ) -> list[Completion]:
        """Draws a completion for each row, (prompt, seed), all rows at once; finished rows leave the batch."""
        numbers = torch.stack(
            [torch.randint(2**31, (max_tokens,), generator=torch.Generator().manual_seed(seed)) for _, seed in rows]
        ).to(self.model.device)
        token_ids: list[list[int]] = [[] for _ in rows]
        logprobs: list[list[float]] = [[] for _ in rows]
        is_truncated = [True] * len(rows)
        alive = list(range(len(rows)))
        logits, cache, mask = self._read([prompt for prompt, _ in rows])
        for step in range(max_tokens):
            limit.renew()
            tokens, drawn = self._draw(logits / temperature, numbers[:, step], top_p)
            for row, token, logprob in zip(alive, tokens.tolist(), drawn.tolist()):
                token_ids[row].append(token)
                logprobs[row].append(logprob)
                is_truncated[row] = token not in self.stop_ids
            kept = [place for place, row in enumerate(alive) if is_truncated[row]]
            if not kept or step + 1 == max_tokens:
                break
            if len(kept) < len(alive):
                index = torch.tensor(kept, device=self.model.device)
                cache.reorder_cache(index)
                tokens, mask, numbers = tokens[index], mask[index], numbers[index]
                alive = [alive[place] for place in kept]
            mask = torch.cat([mask, mask.new_ones(len(alive), 1)], 1)
            output = self.model(
                input_ids=tokens[:, None],
                # a model of states alone has forgotten the pads, and takes a mask to be that of these tokens
                attention_mask=mask if self.cache_name == "past_key_values" else None,
                position_ids=mask.sum(1, keepdim=True) - 1,
                use_cache=True,
                **{self.cache_name: cache},
            )
            logits = output.logits[:, -1].float()
        return [
            Completion(np.asarray(ids, np.int32), np.asarray(values, np.float32), is_cut)
            for ids, values, is_cut in zip(token_ids, logprobs, is_truncated)
        ]

    def _read(self, prompts: list[list[int]]) -> "tuple[torch.Tensor, Cache, torch.Tensor]":
        """Next-token logits [B, V], cache and attention mask [B, T] after the prompts, padded on the left.

        Each distinct prompt is read once, and its cache shared out to its rows.
        """
        device = self.model.device
        distinct = {tuple(prompt): None for prompt in prompts}
        places = {prompt: place for place, prompt in enumerate(distinct)}
        width = max(map(len, distinct))
        ids = torch.tensor([[0] * (width - len(prompt)) + list(prompt) for prompt in distinct], device=device)
        mask = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in distinct], device=device)
        output = self.model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=(mask.cumsum(1) - 1).clamp(min=0),
            use_cache=True,
            logits_to_keep=1,
        )
        index = torch.tensor([places[tuple(prompt)] for prompt in prompts], device=device)
        cache = output[self.cache_name]
        cache.reorder_cache(index)  # the one way to choose rows that caches of states (Mamba, Falcon-H1) have too
        return output.logits[:, -1].float()[index], cache, mask[index]

    def _draw(self, logits: torch.Tensor, numbers: torch.Tensor, top_p: float) -> tuple[torch.Tensor, torch.Tensor]:
        """Tokens [B] and their logprobs [B] under the tempered, perhaps cut, distribution."""
        if top_p < 1:
            logits = TopPLogitsWarper(top_p)(None, logits)
        tokens = (logits + gumbel_noise(numbers, logits.shape[1])).argmax(-1)
        return tokens, torch.log_softmax(logits, -1).gather(1, tokens[:, None])[:, 0]

    def sync(self, weights: Iterable[tuple[str, torch.Tensor]]) -> None:
        """See `Sampler.sync`."""
        own = dict(named_weights(self.model))
        for name, tensor in weights:
            if own[name].dtype == tensor.dtype and own[name].device == tensor.device:
                own[name].data = tensor.data  # the trainer's own memory: one copy of the weights serves both
            else:
                own[name].data.copy_(tensor)

    def sleep(self) -> bool:
        """See `Sampler.sleep`; this engine never does."""
        return False

    def close(self) -> None:
        """See `Sampler.close`."""
        del self.model


def gumbel_noise(numbers: torch.Tensor, vocabulary_size: int) -> torch.Tensor:
    """Gumbel(0, 1) noise [B, V] in fp64: a hash of the row's number [B] and the token id, as in vLLM's CPU kernel.

    The argmax of logits plus such noise is a draw from their softmax.
    """
    places = torch.arange(1, vocabulary_size + 1, device=numbers.device) * _signed(0x9E3779B97F4A7C15)
    bits = _shift_right(_splitmix64(_splitmix64(numbers)[:, None] + places), 11)
    return -(-((bits.double() + 0.5) * 2.0**-53).log()).log()


def _splitmix64(x: torch.Tensor) -> torch.Tensor:
    """The finalizer of SplitMix64, Steele et al. 2014, on int64 tensors that stand for unsigned numbers."""
    x = (x ^ _shift_right(x, 30)) * _signed(0xBF58476D1CE4E5B9)
    x = (x ^ _shift_right(x, 27)) * _signed(0x94D049BB133111EB)
    return x ^ _shift_right(x, 31)


def _shift_right(x: torch.Tensor, count: int) -> torch.Tensor:
    """A logical shift: zeros come in on the left."""
    return (x >> count) & ((1 << (64 - count)) - 1)


def _signed(x: int) -> int:
    """The signed 64-bit integer with the bits of an unsigned one."""
    return x - 2**64 if x >= 2**63 else x
