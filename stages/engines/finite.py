"""Whether numbers are finite: the weights and the optimizer's state of an engine, and the weight files of a model.

A sum is not finite where one of its terms is not, and it reads a tensor once and makes no copy. Only where a sum is not
finite are the numbers looked at one by one, because a sum of finite numbers can overflow.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from stages.runtime.errors import InputError

if TYPE_CHECKING:
    from stages.runtime.worker import Worker

NUM_NAMED = 3  # tensors that a message names


def is_finite(tensor: torch.Tensor) -> bool:
    """Returns whether a tensor holds neither NaN nor infinity; integers are always finite."""
    if not tensor.is_floating_point() or tensor.numel() == 0:
        return True
    if tensor.dtype.itemsize == 1:
        tensor = tensor.float()  # torch does not add 8-bit floats
    return bool(tensor.sum().isfinite()) or bool(tensor.isfinite().all())


def non_finite_state(module: torch.nn.Module, optimizer: torch.optim.Optimizer) -> list[str]:
    """Names the tensors of this rank's share of the training state that are not finite.

    Args:
        module: its parameters and those buffers that are saved are looked at; of a parameter that ZeRO-3 divides, this
            rank's part. Other buffers may be infinite: masks are.
        optimizer: its fp32 copies and moments are looked at.
    """
    saved = module.state_dict(keep_vars=True).keys()
    tensors = {name: buffer for name, buffer in module.named_buffers() if name in saved}
    tensors |= {name: getattr(p, "ds_tensor", p) for name, p in module.named_parameters()}
    found = [name for name, tensor in tensors.items() if not is_finite(tensor.detach())]
    names = {id(p): name for name, p in module.named_parameters()}
    for state_of in _optimizer_states(optimizer):
        for p, values in state_of.items():
            name = names.get(id(p), "a part of the weights")
            parts = {"fp32 copy": p, **values}
            found += [
                f"{part} of {name} in the optimizer's state"
                for part, value in parts.items()
                if isinstance(value, torch.Tensor) and (part != "fp32 copy" or id(p) not in names)
                if not is_finite(value.detach())
            ]
    return list(dict.fromkeys(found))


def _optimizer_states(optimizer: Any) -> Iterator[dict[torch.Tensor, dict[str, Any]]]:
    """The state of an optimizer, and of the AdamW that ours holds."""
    yield optimizer.state
    if hasattr(optimizer, "adamw"):
        yield optimizer.adamw.state


def named(tensors: list[str]) -> str:
    """The first few names, and how many more there are."""
    more = f" and {len(tensors) - NUM_NAMED} more" if len(tensors) > NUM_NAMED else ""
    return ", ".join(tensors[:NUM_NAMED]) + more


def non_finite_files(directory: Path, rank: int = 0, world_size: int = 1) -> list[str]:
    """Names the tensors in a model's safetensors files that are not finite.

    Args:
        directory: of the model; what lies deeper counts too.
        rank: which share of the tensors is looked at.
        world_size: how many shares there are.
    """
    from safetensors import SafetensorError, safe_open

    found = []
    number = 0
    for path in sorted(directory.rglob("*.safetensors")):
        try:
            with safe_open(path, "pt") as file:
                for name in sorted(file.keys()):
                    number += 1
                    if number % world_size == rank and not is_finite(file.get_tensor(name)):
                        found.append(name)
        except (SafetensorError, OSError):
            continue  # who loads the model says what is wrong with the file
    return found


def require_finite_inputs(worker: "Worker") -> None:
    """Checks the models that a stage starts from; the ranks share the work.

    Raises:
        InputError: one of them has weights that are not finite. It could answer nothing and learn nothing.
    """
    for role, source in worker.inputs.items():
        if source.model_dir is None:
            continue
        found = non_finite_files(Path(source.model_dir), worker.rank, worker.world_size)
        if found:
            made_by = f"the stage {source.stage}" if source.stage else "outside of the run"
            remedy = f"make it anew: +stage={source.stage} force=true" if source.stage else "give a sound copy of it"
            raise InputError(
                f"the model {source.model_dir} ({role} of {worker.stage}, from {made_by}) has weights that are NaN or "
                f"infinite: {named(found)}; every answer of it would be noise: {remedy}, or start from another model"
            )
