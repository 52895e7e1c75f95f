"""The KL anchor of a policy with adapters: the trained model itself, with other adapters or with none.

There is no second copy of the weights. Until the first refresh the reference is the model without adapters, which is
the stage's input policy. A refresh copies the adapters as they are into a second set of them.
"""

from collections.abc import Iterator
from pathlib import Path

import torch

from stages.engines.training import TrainEngine
from stages.kinds.grpo.reference import KeptReference
from stages.modeling.adapters import REFERENCE, Adapters
from stages.modeling.batching import TokenBatch
from stages.modeling.checks import evaluating


class AdapterReference(KeptReference):
    """The reference policy of a stage that trains adapters."""

    def __init__(self, engine: TrainEngine, directory: Path):
        """Takes the policy, whose weights are the reference's too.

        Args:
            engine: of the policy.
            directory: `references/` of the stage, where the adapters of refreshes are kept.
        """
        super().__init__(directory)
        self.engine = engine

    @torch.no_grad()
    def logprobs(self, batch: TokenBatch, temperature: float) -> torch.Tensor:
        """[N] logprobs of the batch's targets at this temperature. Collective under ZeRO-3."""
        adapters = self._adapters(self.engine)
        with evaluating(self.engine.engine), adapters.using(REFERENCE if self.identity["step"] else None):
            return self.engine(*batch.inputs, temperature=temperature, with_entropy=False)[0]

    def _layout_of(self, engine: TrainEngine) -> Iterator[tuple[str, torch.Tensor]]:
        return self._adapters(engine).state(engine.module)

    def _weights_of(self, engine: TrainEngine) -> Iterator[tuple[str, torch.Tensor]]:
        return engine.adapter_weights()

    def _own(self) -> Iterator[tuple[str, torch.Tensor]]:
        return self._adapters(self.engine).state(self.engine.module, REFERENCE)

    def _adapters(self, engine: TrainEngine) -> Adapters:
        assert engine.module.adapters is not None
        return engine.module.adapters

    def _go_to_input(self) -> None:
        """Nothing needs to be loaded: the input policy is the model without adapters."""
