"""The frozen KL anchor: a copy of the policy, refreshed every N steps [N].

Each refresh is kept on disk, so that a resume finds it.
"""

import os
from abc import ABC, abstractmethod
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from stages.config import DeepSpeedConfig
from stages.contract import files
from stages.engines.training import TrainEngine, init_distributed, share_rows
from stages.engines.weights import named_weights
from stages.modeling.batching import TokenBatch
from stages.modeling.model import load_model
from stages.modeling.policy_model import PolicyModel


class KeptReference(ABC):
    """A reference policy whose refreshes are kept as files."""

    def __init__(self, directory: Path):
        """Begins with the stage's input policy; `directory`: `references/` of the stage."""
        self.directory = directory
        self.identity: dict[str, Any] = {"step": 0}  # what a checkpoint notes of it; rank 0 also knows its "sha256"

    @abstractmethod
    def logprobs(self, batch: TokenBatch, temperature: float) -> torch.Tensor:
        """[N] logprobs of the batch's targets at this temperature. Collective under ZeRO-3."""

    @abstractmethod
    def _weights_of(self, engine: TrainEngine) -> dict[str, torch.Tensor]:
        """What is kept of the policy, in host memory. Collective under ZeRO-3."""

    @abstractmethod
    def _set(self, weights: dict[str, torch.Tensor]) -> None:
        """Takes what `_weights_of` gave. Collective under ZeRO-3."""

    @abstractmethod
    def _go_to_input(self) -> None:
        """Takes the weights of the stage's input policy. Collective under ZeRO-3."""

    def refresh(self, engine: TrainEngine, step: int) -> None:
        """Makes the policy of `step` the reference; rank 0 keeps it as references/step_N.safetensors. Collective."""
        from safetensors.torch import save_file

        weights = self._weights_of(engine)
        self._set(weights)
        self.identity = {"step": step}
        if dist.get_rank() == 0:
            self.directory.mkdir(exist_ok=True)
            temporary = self.directory / f".step_{step:06d}.tmp"
            save_file(weights, temporary)
            files.follow_umask(temporary)
            files.fsync_file(temporary)
            self.identity["sha256"] = files.sha256(temporary)
            os.replace(temporary, self.path(step))
            files.fsync_directory(self.directory)

    def restore(self, identity: dict[str, Any]) -> None:
        """Takes the weights of an earlier refresh, or those of the stage's input. Collective under ZeRO-3.

        Args:
            identity: what a checkpoint noted: its "step", 0 for the stage's input.
        """
        from safetensors.torch import load_file

        if identity["step"]:
            self._set(load_file(self.path(identity["step"])))
        elif self.identity["step"]:  # a rollback to before the first refresh
            self._go_to_input()
        self.identity = identity

    def why_unusable(self, identity: dict[str, Any]) -> str | None:
        """Why the reference that a checkpoint noted cannot be restored; None where it can."""
        path = self.path(identity["step"])
        if not identity["step"] or (path.is_file() and files.sha256(path) == identity["sha256"]):
            return None
        return f"its reference {path} is {'damaged' if path.exists() else 'gone'}"

    def path(self, step: int) -> Path:
        """The file of the refresh at `step`."""
        return self.directory / f"step_{step:06d}.safetensors"

    def drop_before(self, step: int) -> None:
        """Removes the files of refreshes before `step`."""
        for path in self.directory.glob("step_*.safetensors"):
            if int(path.stem.split("_")[1]) < step:
                path.unlink()


class Reference(KeptReference):
    """A copy of the policy: whole on every rank, or partitioned like the policy under ZeRO-3."""

    def __init__(self, model_dir: Path, config: DeepSpeedConfig, directory: Path, packed: bool = False):
        """Loads the stage's input policy.

        Args:
            model_dir: HF directory of that policy.
            config: its ZeRO stage and precision are the reference's too.
            directory: `references/` of the stage, where refreshes are kept.
            packed: whether batches come without padding, see `stages/modeling/attention.py`.
        """
        import deepspeed

        super().__init__(directory)
        device = init_distributed()
        self.model_dir, self.precision, self.packed = model_dir, config.precision, packed
        self.is_partitioned = config.zero_stage == 3
        self.module = self._input_policy().to(device).eval().requires_grad_(False)
        share_rows(self.module, config)
        self.forward = self.module
        if self.is_partitioned:
            settings = {
                "train_micro_batch_size_per_gpu": 1,
                "zero_optimization": {"stage": 3},
                "bf16": {"enabled": config.precision == "bf16"},
            }
            self.forward, *_ = deepspeed.initialize(model=self.module, config=settings)

    def _input_policy(self) -> PolicyModel:
        return PolicyModel(load_model(self.model_dir, self.precision), self.packed)

    @torch.no_grad()
    def logprobs(self, batch: TokenBatch, temperature: float) -> torch.Tensor:
        """[N] logprobs of the batch's targets at this temperature. Collective under ZeRO-3."""
        return self.forward(*batch.inputs, temperature=temperature, with_entropy=False)[0]

    def _weights_of(self, engine: TrainEngine) -> dict[str, torch.Tensor]:
        return {name: tensor.cpu().clone() for name, tensor in engine.full_weights(prefix="")}

    def _go_to_input(self) -> None:
        self._set(dict(named_weights(self._input_policy())))

    @torch.no_grad()
    def _set(self, weights: dict[str, torch.Tensor]) -> None:
        """Copies whole tensors, by their names in the module, into the reference: parameters and buffers."""
        import deepspeed

        for name, tensor in named_weights(self.module):
            is_divided = self.is_partitioned and isinstance(tensor, torch.nn.Parameter)
            with deepspeed.zero.GatheredParameters([tensor], modifier_rank=0) if is_divided else nullcontext():
                if not is_divided or dist.get_rank() == 0:
                    tensor.copy_(weights[name])
