"""What DeepSpeed holds of a model that is trained, on one rank: weights, gradients, optimizer, in bytes.

The arithmetic follows DeepSpeed 0.19. Sizes are in numbers of parameters: T are trained, of P in all, W ranks share.
"""

from dataclasses import dataclass

from pipeline.planning.shapes import Shape
from stages.config import DeepSpeedConfig, LoraConfig

BUCKET = 500_000_000  # numbers that gradients are gathered in before they are sent (reduce_bucket_size)
LIVE = 1_000_000_000  # gathered parameters that ZeRO 3 keeps at once (stage3_max_live_parameters)
BYTES_IN_4_BITS = 0.56  # a parameter of a quantised model: 4 bits, and a scale for every 64 of them
MOMENTS, MASTER = 8, 4  # bytes a parameter: both moments of Adam, and the fp32 copy of a weight


@dataclass(frozen=True)
class TrainingState:
    """One model under DeepSpeed, and how it is divided."""

    shape: Shape
    config: DeepSpeedConfig
    trained: float  # parameters with a gradient
    ranks: int  # that share it
    is_on_gpu: bool
    lora: LoraConfig

    @property
    def number_bytes(self) -> int:
        """Of a weight, a gradient or an activation."""
        return 4 if self.config.precision == "fp32" else 2

    @property
    def is_ours(self) -> bool:
        """Whether our own optimizer steps, without a copy of the weights (stages/engines/training.py)."""
        return self.config.zero_stage == 0 and self.config.precision == "fp32"

    def weights(self) -> float:
        """Of the policy, between two passes. Adapters come on top of weights that nobody trains.

        hpZ keeps them a second time, divided among the ranks of a machine.
        """
        kept = BYTES_IN_4_BITS if self.lora.quantize == "4bit" else self.number_bytes
        frozen = self.shape.parameters if self.lora.is_on else 0.0
        whole = frozen * kept + self.trained * self.number_bytes
        neighbours = self.config.hpz_partition_size
        return whole / self._share(3) + (whole / neighbours if neighbours > 1 else 0.0)

    def gathered(self) -> float:
        """What ZeRO 3 gathers of the weights within a pass: as many as may be live, and the largest layer more."""
        if self.config.zero_stage < 3 or self.ranks == 1:
            return 0.0
        return min(self.shape.parameters, max(LIVE, self.shape.largest_layer)) * self.number_bytes

    def reference(self) -> float:
        """A second model, which is divided as the policy is and has no gradients."""
        return self.shape.parameters * self.number_bytes / self._share(3)

    def gradients(self) -> float:
        """At the last backward pass of a step, with the bucket that ZeRO 2 and 3 send them in as they come."""
        stage = self.config.zero_stage
        own = self.trained * self.number_bytes / self._share(2)
        if stage == 0:
            return own + (0.0 if self.is_ours else 4 * self.trained)  # bf16: they are added up in fp32
        return own + (self._bucket() if stage > 1 or not self.is_on_gpu else 0.0)

    def averaged(self) -> float:
        """While the optimizer steps: what is left of them by then."""
        if self.config.zero_stage == 0:
            return self.gradients() + (self._bucket() if self.ranks > 1 else 0.0)
        is_kept = self.config.zero_stage == 3 or not self.is_on_gpu  # the bucket: a CPU's allocator keeps its pages
        return self.trained * self.number_bytes / self.ranks + (self._bucket() if is_kept else 0.0)

    def optimizer(self) -> float:
        """Moments of Adam, and the fp32 copy of the weights that DeepSpeed's optimizers keep."""
        return self.trained * (MOMENTS + (0 if self.is_ours else MASTER)) / self._share(1)

    def step(self) -> float:
        """What the optimizer needs while it steps: gradients in fp32, and roots of the second moment."""
        if self.config.zero_stage == 0:
            return 0.0
        copies = 2 if self.is_on_gpu else 3  # on a CPU torch's AdamW holds two roots at once
        return copies * 4 * self.trained / self.ranks

    def _bucket(self) -> float:
        """A GPU gives all of it at once, the host's memory what is written to."""
        return float(BUCKET if self.is_on_gpu else min(self.trained, BUCKET)) * self.number_bytes

    def checkpoint(self) -> tuple[float, float]:
        """(bytes of each rank, bytes of rank 0 more) of a checkpoint: with adapters only what is trained."""
        whole = self.trained * self.number_bytes
        if self.config.zero_stage == 0:
            return 0.0, whole + self.optimizer()
        return self.optimizer() + (whole / self.ranks if self.config.zero_stage == 3 else 0.0), (
            0.0 if self.config.zero_stage == 3 else whole
        )

    def _share(self, from_stage: int) -> int:
        """How many ranks share what this ZeRO stage and those above it divide."""
        return self.ranks if self.config.zero_stage >= from_stage else 1
