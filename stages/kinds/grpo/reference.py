"""The frozen KL anchor: a copy of the policy, refreshed every N steps [N].

Each refresh is kept on disk, so that a resume finds it.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from stages.config import DeepSpeedConfig
from stages.contract import files
from stages.engines.loading import load_policy
from stages.engines.safetensors_writer import SafetensorsWriter
from stages.engines.training import TrainEngine, init_distributed, share_rows
from stages.engines.weights import named_weights
from stages.modeling.batching import TokenBatch
from stages.modeling.divided import gathering, shape_of, whole
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
    def _layout_of(self, engine: TrainEngine) -> Iterator[tuple[str, torch.Tensor]]:
        """The names of what is kept of the policy, each with a tensor of its type and, perhaps divided, its shape."""

    @abstractmethod
    def _weights_of(self, engine: TrainEngine) -> Iterator[tuple[str, torch.Tensor]]:
        """What is kept of the policy, one whole tensor at a time. Collective under ZeRO-3."""

    @abstractmethod
    def _own(self) -> Iterator[tuple[str, torch.Tensor]]:
        """The reference's own tensors by the same names; under ZeRO-3 its parameters are parts."""

    @abstractmethod
    def _go_to_input(self) -> None:
        """Takes the weights of the stage's input policy. Collective under ZeRO-3."""

    def refresh(self, engine: TrainEngine, step: int) -> None:
        """Makes the policy of `step` the reference; rank 0 keeps it as references/step_N.safetensors. Collective.

        One tensor at a time is whole: it goes into the reference where it is, and through rank 0's memory to the disk.
        """
        self.identity = {"step": step}
        with gathering(engine.module):
            self._refresh(engine, step)

    def _refresh(self, engine: TrainEngine, step: int) -> None:
        if dist.get_rank() != 0:
            self._set(self._weights_of(engine))
            return
        self.directory.mkdir(exist_ok=True)
        files.remove_temporaries(self.directory)
        layout = {
            name: torch.empty(shape_of(tensor), dtype=tensor.dtype, device="meta")
            for name, tensor in self._layout_of(engine)
        }
        with SafetensorsWriter(self.path(step), layout) as writer:
            self._set(_written(writer, self._weights_of(engine)))
        self.identity["sha256"] = files.sha256(self.path(step))

    def restore(self, identity: dict[str, Any]) -> None:
        """Takes the weights of an earlier refresh, or those of the stage's input. Collective under ZeRO-3.

        Args:
            identity: what a checkpoint noted: its "step", 0 for the stage's input.
        """
        if identity["step"]:
            self._set(_read(self.path(identity["step"])))
        elif self.identity["step"]:  # a rollback to before the first refresh
            self._go_to_input()
        self.identity = identity

    @torch.no_grad()
    def _set(self, weights: Iterable[tuple[str, torch.Tensor]]) -> None:
        """Copies whole tensors into the reference as they come, all of them. Collective under ZeRO-3."""
        own = dict(self._own())
        for name, tensor in weights:
            target = own.pop(name)
            with whole([target], modifier=0) as is_part:
                if not is_part or dist.get_rank() == 0:
                    target.copy_(tensor)
        assert not own, f"the reference got no {', '.join(own)}"

    def why_unusable(self, identity: dict[str, Any]) -> str | None:
        """Why the reference that a checkpoint noted cannot be restored; None where it can. Rank 0 reads the file."""
        path = self.path(identity["step"])
        if not identity["step"] or (dist.is_initialized() and dist.get_rank() != 0):
            return None  # the ranks tell each other, see `newest_checkpoint`
        if path.is_file() and files.sha256(path) == identity["sha256"]:
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
        self.model_dir, self.config, self.packed = model_dir, config, packed
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
        once = replace(self.config, hpz_partition_size=1)  # its weights have no backward pass to gather for
        return PolicyModel(load_policy(self.model_dir, once), self.packed)

    @torch.no_grad()
    def logprobs(self, batch: TokenBatch, temperature: float) -> torch.Tensor:
        """[N] logprobs of the batch's targets at this temperature. Collective under ZeRO-3."""
        return self.forward(*batch.inputs, temperature=temperature, with_entropy=False)[0]

    def _layout_of(self, engine: TrainEngine) -> Iterator[tuple[str, torch.Tensor]]:
        return named_weights(engine.module)

    def _weights_of(self, engine: TrainEngine) -> Iterator[tuple[str, torch.Tensor]]:
        return engine.full_weights(prefix="")

    def _own(self) -> Iterator[tuple[str, torch.Tensor]]:
        return named_weights(self.module)

    def _go_to_input(self) -> None:
        self._set(_gathered(named_weights(self._input_policy())))


def _written(
    writer: SafetensorsWriter, weights: Iterable[tuple[str, torch.Tensor]]
) -> Iterator[tuple[str, torch.Tensor]]:
    """The weights as they come, each after it was written."""
    for name, tensor in weights:
        writer.write(name, tensor)
        yield name, tensor


def _read(path: Path) -> Iterator[tuple[str, torch.Tensor]]:
    """The tensors of a file, one at a time."""
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        for name in list(file.keys()):
            yield name, file.get_tensor(name)


def _gathered(weights: Iterable[tuple[str, torch.Tensor]]) -> Iterator[tuple[str, torch.Tensor]]:
    """Weights, each whole while it is looked at. Collective under ZeRO-3."""
    for name, tensor in weights:
        with whole([tensor]):
            yield name, tensor.detach()
