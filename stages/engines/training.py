"""DeepSpeed behind a small interface: forward, backward, step, weights out, checkpoints in and out.

Gradients are sums over micro-batches and ranks: callers scale each loss by global counts, so that the same batch gives
the same gradient however it is split. `managed_gradient_accumulation: false` makes step() the only boundary.
"""

import copy
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist

from stages.config import DeepSpeedConfig, OptimConfig
from stages.engines import patches
from stages.engines.finite import named, non_finite_state
from stages.engines.optimizers import ReplicatedOptimizer, adamw, learning_rate_factor, set_learning_rate
from stages.engines.weight_files import without, write_weights
from stages.engines.weights import checkpoint_layout, has_names_of_its_own, named_weights, with_checkpoint_names
from stages.modeling.adapters import REFERENCE
from stages.modeling.divided import gathering, shape_of, whole
from stages.modeling.model import save_model
from stages.modeling.patches import names_not_saved
from stages.modeling.policy_model import PolicyModel
from stages.modeling.reward_model import ScalarModel
from stages.modeling.sequences import Share, sequence_group
from stages.modeling.tiles import tile_mlps
from stages.runtime.disk import GIB, all_or_nothing
from stages.runtime.distributed import collective_timeout

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from stages.engines.sampling import Sampler


def init_distributed() -> torch.device:
    """Joins the ranks (gloo on CPU, NCCL on GPU) without compiling anything, and returns this rank's device."""
    import deepspeed

    patches.without_shared_memory_collectives()
    deepspeed.utils.logger.setLevel("WARNING")  # below that it reports its settings at every start, line after line
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    patches.set_default_timeout(collective_timeout())
    if not dist.is_initialized():
        deepspeed.init_distributed(
            dist_backend="nccl" if torch.cuda.is_available() else "gloo", verbose=False, timeout=collective_timeout()
        )
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        return torch.device("cuda", int(os.environ["LOCAL_RANK"]))
    return torch.device("cpu")


def has_own_optimizer(config: DeepSpeedConfig) -> bool:
    """Whether our own optimizer steps and clips, and not DeepSpeed's.

    Not in bf16: there DeepSpeed puts fp32 copies in the place of the parameters, which ours would not see.
    """
    return config.zero_stage == 0 and config.precision == "fp32"


def deepspeed_settings(config: DeepSpeedConfig, optim: OptimConfig) -> dict[str, Any]:
    """The dictionary for deepspeed.initialize."""
    zero: dict[str, Any] = {"stage": config.zero_stage}
    if config.offload_optimizer:
        zero["offload_optimizer"] = {"device": "cpu"}
    if config.hpz_partition_size > 1:
        zero["zero_hpz_partition_size"] = config.hpz_partition_size
    if config.offload_parameters:
        zero["offload_param"] = {"device": "cpu"}
    return {
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 1,
        "managed_gradient_accumulation": False,
        "gradient_clipping": 0.0 if has_own_optimizer(config) else optim.grad_clip,
        "zero_optimization": zero,
        "bf16": {"enabled": config.precision == "bf16"},
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
        "steps_per_print": 10**9,
        "wall_clock_breakdown": False,
    }


def share_rows(module: PolicyModel | ScalarModel, config: DeepSpeedConfig) -> Share:
    """Makes the ranks of a group hold their rows together, if they are to; says which part of a batch this rank has.

    DeepSpeed is told nothing of the groups (`mpu`): it adds up the gradients of all ranks, of their own rows or of
    slices, and its checkpoints are those of as many ranks without groups.
    """
    module.is_partitioned = config.zero_stage == 3
    if config.sequence_parallel == 1:
        return Share(dist.get_world_size(), dist.get_rank(), True)
    module.sequences = sequence_group(config.sequence_parallel)
    return module.sequences.share


class TrainEngine:
    """One trained module on all ranks. Every method but the properties is collective under ZeRO 1-3.

    Args:
        module: The module; its `model` is an HF model.
        optim: Optimizer, schedule and clipping.
        config: ZeRO stage, precision and offloading.
        num_steps: Optimizer steps that the schedule spans.

    `share` is the part of a global batch that this rank trains on.
    """

    def __init__(self, module: PolicyModel | ScalarModel, optim: OptimConfig, config: DeepSpeedConfig, num_steps: int):
        import deepspeed

        self.optim, self.config, self.num_steps = optim, config, num_steps
        self.device = init_distributed()
        self.world_size = dist.get_world_size()
        self.share = share_rows(module, config)
        if config.gradient_checkpointing:
            module.model.gradient_checkpointing_enable()
        if config.mlp_tiles > 1:
            tile_mlps(module.model, config.mlp_tiles)
        module.to(self.device)
        optimizer: torch.optim.Optimizer
        if has_own_optimizer(config):
            optimizer = ReplicatedOptimizer(module.named_parameters(), optim)
        else:
            optimizer = adamw([p for p in module.parameters() if p.requires_grad], optim)
        self.engine, *_ = deepspeed.initialize(
            model=module, optimizer=optimizer, config=deepspeed_settings(config, optim)
        )
        if has_own_optimizer(config) and self.world_size == 1:
            patches.skip_allreduce(self.engine)
        self._collected_parts = patches.collect_parts(self.engine)
        self._has_names_of_its_own: bool | None = None  # None: nobody has asked for the checkpoint's names yet

    @property
    def module(self) -> PolicyModel | ScalarModel:
        """The bare module (under ZeRO-3 its parameters are partitioned: go through forward or full_weights)."""
        return self.engine.module

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The module's forward pass."""
        return self.engine(*args, **kwargs)

    def train(self) -> None:
        """Puts the module into training mode."""
        self.engine.train()

    def eval(self) -> None:
        """Puts the module into evaluation mode."""
        self.engine.eval()

    def backward(self, loss: torch.Tensor) -> None:
        """Adds the gradient of this micro-batch's share [] of the loss of the whole step, over all ranks.

        DeepSpeed averages over ranks, ours is a sum: hence the factor.
        """
        self.engine.backward(loss * self.world_size)

    def step(self, step: int) -> tuple[float, float]:
        """Makes one optimizer step (`step` counts from 0).

        Returns:
            The norm of the gradient before clipping, and the learning rate. The norm is infinite where the gradient is
            not finite: DeepSpeed then leaves the step out, and so does our own optimizer.
        """
        lr = set_learning_rate(self._optimizer(), learning_rate_factor(step, self.num_steps, self.optim))
        self.engine.step()
        norm = self.engine.get_global_grad_norm()
        if norm is None or norm < 0 or not self.engine.was_step_applied():  # -1: what ZeRO makes of one that overflowed
            return float("inf"), lr
        return float(norm), lr

    def _optimizer(self) -> torch.optim.Optimizer:
        """The optimizer whose learning rate counts: ours, or the one that DeepSpeed's wraps."""
        return self.engine.optimizer if has_own_optimizer(self.config) else self.engine.optimizer.optimizer

    def full_weights(self, prefix: str = "model.") -> Iterator[tuple[str, torch.Tensor]]:
        """Yields (name in the module, whole tensor) of all parameters and persistent buffers, in layer order.

        Under ZeRO-3 they are gathered one by one, on every rank in lockstep. Adapters are added to the weights that
        they belong to, which have the names that they would have without. `prefix`: what is cut off the names.
        """
        if self.module.adapters is not None:
            for weight in self.module.adapters.weights(self.module):
                with whole(weight.parts) as is_divided:
                    tensor = weight.compute()
                    yield (
                        weight.name.removeprefix(prefix),
                        tensor.clone() if is_divided and not weight.is_new else tensor,
                    )
            return
        yield from self._own_weights(prefix)

    def _own_weights(self, prefix: str = "model.") -> Iterator[tuple[str, torch.Tensor]]:
        """Yields what the module holds, adapters apart from the weights that they belong to; none of the reference."""
        for name, tensor in named_weights(self.module):
            if self.module.adapters is not None and f".{REFERENCE}." in name:
                continue
            with whole([tensor] if isinstance(tensor, torch.nn.Parameter) else []) as is_divided:
                yield name.removeprefix(prefix), tensor.data.clone() if is_divided else tensor.detach()

    def weights_for(self, sampler: "Sampler") -> Iterator[tuple[str, torch.Tensor]]:
        """The weights of this step, in the form in which `sampler.sync` takes them. Collective under ZeRO-3."""
        if sampler.adds_adapters:
            return self.adapter_weights() if sampler.takes_checkpoint_names else self._own_weights()
        return self.checkpoint_weights() if sampler.takes_checkpoint_names else self.full_weights()

    def adapter_weights(self) -> Iterator[tuple[str, torch.Tensor]]:
        """Yields (name, whole tensor, a copy) of the adapters and of the modules that are trained whole beside them."""
        assert self.module.adapters is not None
        for name, parameter in self.module.adapters.state(self.module):
            with whole([parameter]):
                yield name, parameter.detach().clone()

    def checkpoint_weights(self) -> Iterator[tuple[str, torch.Tensor]]:
        """Yields what `full_weights` does, under the names and in the form that the model's checkpoint has."""
        if self._has_names_of_its_own is None:
            self._has_names_of_its_own = has_names_of_its_own(self.module.model, self._layout())
        weights = self.full_weights()
        yield from with_checkpoint_names(self.module.model, weights) if self._has_names_of_its_own else weights

    def non_finite(self) -> list[str]:
        """Names what is not finite of this rank's share of the weights and of the optimizer's state."""
        return non_finite_state(self.module, self._optimizer())

    def export(self, tokenizer: "PreTrainedTokenizerBase", directory: Path) -> None:
        """Writes the HF directory on rank 0, one tensor at a time. Collective under ZeRO-3.

        What is larger than `deepspeed.export_shard_gib` becomes several files with an index, which is written last.

        Raises:
            RuntimeError: the weights or the optimizer's state are not finite. Loops find that before
                (`stages/training/health.py`); no model leaves a stage by another way.
        """
        if broken := self.non_finite():
            raise RuntimeError(f"the model cannot be exported, because it is not finite: {named(broken)}")
        model = self.module.model
        ignored = names_not_saved(model)
        layout = checkpoint_layout(model, without(ignored, self._layout()))
        weights = with_checkpoint_names(model, without(ignored, self.full_weights()))
        with gathering(model):
            self._write_model(layout, weights, tokenizer, directory)

    def _write_model(
        self,
        layout: dict[str, torch.Tensor],
        weights: Iterator[tuple[str, torch.Tensor]],
        tokenizer: "PreTrainedTokenizerBase",
        directory: Path,
    ) -> None:
        """Writes an HF directory on rank 0, the weights as they come. Collective."""
        if dist.get_rank() != 0:
            for _ in weights:  # takes part in the gathering
                pass
            return
        with all_or_nothing(directory, sum(tensor.nbytes for tensor in layout.values())):
            save_model(self.module.model, {}, tokenizer, directory)  # everything but the weights
            shard_bytes = int(self.config.export_shard_gib * GIB)
            write_weights(directory, layout, weights, shard_bytes, self._num_parameters())

    def _layout(self) -> Iterator[tuple[str, torch.Tensor]]:
        """Yields the names of `full_weights` without gathering anything, with tensors of the right type."""
        adapters, model = self.module.adapters, self.module.model
        if adapters is None:
            yield from named_weights(model)
        else:
            yield from ((weight.name, weight.like) for weight in adapters.weights(model))

    def _num_parameters(self) -> int:
        """The parameters of the model as it is exported."""
        adapters, model = self.module.adapters, self.module.model
        if adapters is None:
            return sum(map(patches.num_elements, model.parameters()))
        return sum(math.prod(shape_of(weight.like)) for weight in adapters.weights(model) if weight.parts)

    def checkpoint_bytes(self) -> int:
        """Bytes of a checkpoint, all ranks: weights, two moments, and DeepSpeed's fp32 copy under ZeRO 1-3 or bf16.

        Of a model with adapters only what is trained is saved.
        """
        weight_bytes = 4 if self.config.precision == "fp32" else 2
        has_copy = self.config.zero_stage > 0 or self.config.precision == "bf16"
        saved = [p for p in self.module.parameters() if p.requires_grad or self.module.adapters is None]
        num_parameters = sum(map(patches.num_elements, saved))
        return num_parameters * (weight_bytes + 8 + 4 * has_copy)

    def parts(self, directory: Path, is_copied: bool) -> list[tuple[Path, dict[str, Any]]]:
        """What this rank has to write of a checkpoint: files, and what goes into each, for torch.save. Collective.

        Args:
            directory: The checkpoint's; DeepSpeed makes the folders and small files itself.
            is_copied: Whether the contents get memory of their own, so that training can go on.
        """
        self._collected_parts.clear()
        has_adapters = self.module.adapters is not None
        self.engine.save_checkpoint(
            str(directory), tag="engine", save_latest=False, exclude_frozen_parameters=has_adapters
        )
        parts = list(self._collected_parts)
        self._collected_parts.clear()  # what a part holds is freed as soon as it is written
        return [(path, in_memory(state) if is_copied else state) for path, state in parts]

    def load(self, directory: Path, is_universal: bool = False) -> None:
        """Loads a checkpoint. Collective.

        Args:
            directory: The checkpoint's.
            is_universal: It was written by `to_universal`, from the checkpoint of any number of processes.
        """
        with patches.reading_universal_checkpoint(self.engine, is_universal):
            is_complete = self.module.adapters is None  # else it has only what is trained
            path, _ = self.engine.load_checkpoint(str(directory), tag="engine", load_module_strict=is_complete)
        assert path is not None, f"DeepSpeed found no checkpoint in {directory}"

    @torch.no_grad()
    def set_buffers(self, buffers: dict[str, torch.Tensor]) -> None:
        """Gives the module's persistent buffers these values."""
        for name, value in buffers.items():
            self.module.get_buffer(name).copy_(value)


def in_memory(value: Any, seen: dict[tuple, torch.Tensor] | None = None) -> Any:
    """A copy of nested containers with all tensors in host memory; a tensor that is there twice stays one.

    `seen`: the copies that were made so far, by where their originals lie.
    """
    seen = {} if seen is None else seen
    if isinstance(value, torch.Tensor):
        key = (
            value.device,
            value.untyped_storage().data_ptr(),
            value.storage_offset(),
            value.shape,
            value.stride(),
            value.dtype,
        )
        if key not in seen:
            seen[key] = value.detach().to("cpu", copy=True)
        return seen[key]
    if isinstance(value, dict):
        copied = copy.copy(value)
        for name in copied:
            copied[name] = in_memory(value[name], seen)
        return copied
    if isinstance(value, (list, tuple)) and not hasattr(value, "_fields"):
        return type(value)(in_memory(item, seen) for item in value)
    return value
