"""How fast GPUs train and sample: seconds of an update, of a rollout, of moving weights. Estimates, most not measured.

What was measured is a model of 0.5B on one H200 (docs/benchmarks/gpu.md): 0.21 of the peak in updates, and 5 ms for a
decoding step of 128 sequences. The rest is arithmetic on published numbers of the cards.
"""

import math
from dataclasses import dataclass

from pipeline.planning.shapes import Shape


@dataclass(frozen=True)
class Card:
    """A GPU by its data sheet."""

    name: str
    flops: float  # dense bf16, a second
    bandwidth: float  # of its memory, bytes a second
    link: float  # to the other GPUs of its machine, bytes a second in each direction
    network: float  # to other machines, bytes a second


CARDS = {
    "a100": Card("A100", 312e12, 2.0e12, 300e9, 25e9),
    "h100": Card("H100", 989e12, 3.35e12, 450e9, 50e9),
    "h200": Card("H200", 989e12, 4.8e12, 450e9, 50e9),
    "h800": Card("H800", 989e12, 3.35e12, 200e9, 50e9),
}
USED_BANDWIDTH, USED_FLOPS_OF_SAMPLING, USED_LINK = 0.7, 0.5, 0.7  # shares of the peak that are reached
FP32_SHARE = 0.1  # fp32 goes past the tensor cores
MFU = ((494e6, 0.21), (7e9, 0.40))  # parameters -> share of the peak in an update: measured; usual for large models
EXPERTS_SHARE = 0.6  # of that where a layer has experts
SCHEDULER_S, SCHEDULER_OF_SEQUENCE_S = 2e-3, 2e-5  # of a decoding step: what vLLM does in Python
MESSAGE_S = 1.5e-5  # a small sum over the GPUs of a machine; two in each layer
PIECES = 32  # that the end of a rollout is cut into, where fewer and fewer sequences are left
COPY = 20e9  # bytes a second from a GPU to its host


@dataclass(frozen=True)
class Speeds:
    """A model on GPUs.

    Attributes:
        shape: of the model.
        card: the GPU.
        ranks: GPUs that train together.
        nodes: machines that they are in.
        number_bytes: of a weight.
        zero_stage: what ranks share out.
    """

    shape: Shape
    card: Card
    ranks: int
    nodes: int
    number_bytes: int = 2
    zero_stage: int = 0

    def update(self, tokens: float, longest: float, passes: float, micro_batch_tokens: float) -> float:
        """Seconds of one optimizer step.

        Args:
            tokens: of the whole batch.
            longest: tokens of a usual sequence, over which attention goes.
            passes: forward passes that it costs, of 2 FLOP a parameter and a token: 3, and 1 more with a reference.
            micro_batch_tokens: of a rank's forward pass; under ZeRO 3 each of them gathers all weights.
        """
        shape = self.shape
        work = 2 * (shape.active + shape.layers * shape.width * longest) * passes * tokens
        computed = work / (self.ranks * self._useful_flops())
        if shape.experts or self.ranks == 1:  # how experts are sent is not known here
            return computed
        weights = shape.parameters * self.number_bytes
        count = math.ceil(tokens / self.ranks / micro_batch_tokens) if self.zero_stage == 3 else 1
        sent = weights * count * (passes if self.zero_stage == 3 else 2)
        return max(computed, sent / self._link())

    def forward(self, tokens: float) -> float:
        """Seconds of a forward pass over so many tokens, shared by all ranks."""
        return 2 * self.shape.active * tokens / (self.ranks * self._useful_flops())

    def sample(
        self, rows: float, mean: float, limit: float, prompt: float, parallel: int, most: float, cache_bytes: float
    ) -> float:
        """Seconds until all completions are there. Lengths are taken as exponential, cut at the limit.

        Args:
            rows: completions, on all engines.
            mean: their mean length.
            limit: the longest.
            prompt: tokens of a prompt.
            parallel: GPUs of an engine.
            most: sequences that an engine decodes at once.
            cache_bytes: for keys and values on each GPU; 0: as much as is wanted.
        """
        engines = max(1, self.ranks // parallel)
        waiting = max(1.0, rows / engines)
        if cache_bytes:
            most = min(most, max(1.0, cache_bytes / (self._cached(parallel) * (prompt + mean))))
        batch = min(waiting, most)
        full = (waiting - batch) * mean / batch * self._decode(batch, prompt + mean / 2, parallel)
        longest = min(limit, mean * (math.log(max(rows, 1)) + 0.58))
        piece = longest / PIECES
        tail = 0.0
        for number in range(PIECES):
            done = (number + 0.5) * piece
            left = max(1.0, batch * math.exp(-done / mean))
            tail += piece * self._decode(left, prompt + done, parallel)
        return full + tail

    def sync(self, parallel: int) -> float:
        """Seconds in which the sampler gets the weights: gathered, and written once more."""
        weights = self.shape.parameters * self.number_bytes
        gathered = weights / self._link() if self.zero_stage == 3 and self.ranks > 1 else 0.0
        return gathered + 2 * weights / parallel / (self.card.bandwidth * USED_BANDWIDTH)

    def _decode(self, batch: float, context: float, parallel: int) -> float:
        """Seconds of a decoding step of so many sequences."""
        shape = self.shape
        read = shape.parameters
        if shape.experts:  # those that no token of the batch goes through are not read
            missed = (1 - shape.chosen_experts / shape.experts) ** batch
            read -= shape.expert_layers * shape.experts * shape.expert * missed
        moved = read * self.number_bytes / parallel + batch * context * self._cached(parallel)
        in_memory = moved / (self.card.bandwidth * USED_BANDWIDTH)
        computed = 2 * shape.active * batch / (parallel * self.card.flops * USED_FLOPS_OF_SAMPLING)
        messages = 2 * shape.layers * MESSAGE_S if parallel > 1 else 0.0
        return max(in_memory, computed) + SCHEDULER_S + SCHEDULER_OF_SEQUENCE_S * batch + messages

    def _cached(self, parallel: int) -> float:
        """Bytes of keys and values of a token on each GPU of an engine."""
        shape = self.shape
        return shape.layers * shape.cached * self.number_bytes / min(parallel, max(1, shape.kv_heads))

    def _useful_flops(self) -> float:
        """Of a rank in an update, a second."""
        (small, low), (large, high) = MFU
        size = min(max(self.shape.active, small), large)
        share = low * (high / low) ** (math.log(size / small) / math.log(large / small))
        share *= EXPERTS_SHARE if self.shape.experts else 1.0
        return self.card.flops * share * (FP32_SHARE if self.number_bytes == 4 else 1.0)

    def _link(self) -> float:
        """Bytes a second that a rank gets from the others."""
        return (self.card.network if self.nodes > 1 else self.card.link) * USED_LINK
