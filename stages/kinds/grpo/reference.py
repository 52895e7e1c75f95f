"""The frozen KL anchor: a copy of the policy, refreshed every N steps [N], each refresh kept on disk so that a resume
finds it.
"""

import os
from contextlib import nullcontext
from pathlib import Path

import torch
import torch.distributed as dist

from stages.config import DeepSpeedConfig
from stages.contract import files
from stages.engines.training import TrainEngine, init_distributed
from stages.modeling.batching import TokenBatch
from stages.modeling.model import load_model
from stages.modeling.policy_model import PolicyModel


class Reference:
    """Whole on every rank, or partitioned like the policy under ZeRO-3."""

    def __init__(self, model_dir: Path, config: DeepSpeedConfig, directory: Path, packed: bool = False):
        import deepspeed

        device = init_distributed()
        self._start = lambda: PolicyModel(load_model(model_dir, config.precision), packed)
        self.directory, self.is_partitioned = directory, config.zero_stage == 3
        self.identity = {
            "step": 0
        }  # what a checkpoint notes of the reference it belongs to; the checksum is known to rank 0
        self.module = self._start().to(device).eval().requires_grad_(False)
        self.forward = self.module
        if self.is_partitioned:
            settings = {
                "train_micro_batch_size_per_gpu": 1,
                "zero_optimization": {"stage": 3},
                "bf16": {"enabled": config.precision == "bf16"},
            }
            self.forward, *_ = deepspeed.initialize(model=self.module, config=settings)

    @torch.no_grad()
    def logprobs(self, batch: TokenBatch, temperature: float) -> torch.Tensor:
        """[N] logprobs of the batch's targets."""
        return self.forward(*batch.inputs, temperature=temperature, with_entropy=False)[0]

    def refresh(self, engine: TrainEngine, step: int) -> None:
        """The policy of `step` becomes the reference; rank 0 keeps it as references/step_N.safetensors. Collective."""
        from safetensors.torch import save_file

        weights = {name: tensor.cpu().clone() for name, tensor in engine.full_weights(prefix="")}
        self._set(weights)
        self.identity = {"step": step}
        if dist.get_rank() == 0:
            self.directory.mkdir(exist_ok=True)
            temporary = self.directory / f".step_{step:06d}.tmp"
            save_file(weights, temporary)
            files.fsync_file(temporary)
            self.identity["sha256"] = files.sha256(temporary)
            os.replace(temporary, self.path(step))
            files.fsync_directory(self.directory)

    def restore(self, identity: dict) -> None:
        """The reference of an earlier refresh (step 0: the stage's input)."""
        from safetensors.torch import load_file

        if identity["step"]:
            self._set(load_file(self.path(identity["step"])))
        elif self.identity["step"]:  # a rollback to before the first refresh
            self._set(dict(self._start().named_parameters()))
        self.identity = identity

    def problem(self, identity: dict) -> str | None:
        """What is wrong with the file of this reference, or None."""
        path = self.path(identity["step"])
        if not identity["step"] or (path.is_file() and files.sha256(path) == identity["sha256"]):
            return None
        return f"its reference {path} is {'damaged' if path.exists() else 'gone'}"

    def path(self, step: int) -> Path:
        return self.directory / f"step_{step:06d}.safetensors"

    def drop_before(self, step: int) -> None:
        for path in self.directory.glob("step_*.safetensors"):
            if int(path.stem.split("_")[1]) < step:
                path.unlink()

    @torch.no_grad()
    def _set(self, weights: dict[str, torch.Tensor]) -> None:
        import deepspeed

        for name, parameter in self.module.named_parameters():
            with (
                deepspeed.zero.GatheredParameters([parameter], modifier_rank=0)
                if self.is_partitioned
                else nullcontext()
            ):
                if not self.is_partitioned or dist.get_rank() == 0:
                    parameter.copy_(weights[name])
