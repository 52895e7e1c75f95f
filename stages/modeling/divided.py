"""Models whose parameters DeepSpeed has divided over the ranks (ZeRO 3) before there is a training engine.

Such a parameter holds no numbers of its own: each rank keeps a part beside it. What needs them whole gathers a few at a
time, and a forward pass before training begins borrows the hooks that DeepSpeed's own engine has.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext

import torch
from torch import nn

from stages.modeling.patches import forget_engine
from stages.runtime.host_memory import giving_back


def is_divided(module: nn.Module) -> bool:
    """Whether a module has parameters that are parts."""
    return any(hasattr(parameter, "ds_id") for parameter in module.parameters())


def shape_of(tensor: torch.Tensor) -> torch.Size:
    """The shape of a whole tensor, also where ZeRO 3 has left only a part of it on this rank."""
    return getattr(tensor, "ds_shape", tensor.shape)


@contextmanager
def whole(tensors: Iterable[torch.Tensor], modifier: int | None = None) -> Iterator[bool]:
    """Within the block these tensors are whole on every rank; gives whether any is a part outside of it. Collective.

    `modifier`: the rank whose changes count, where there are any.
    """
    parts = [tensor for tensor in tensors if hasattr(tensor, "ds_id")]
    if not parts:
        yield False
        return
    import deepspeed

    with deepspeed.zero.GatheredParameters(parts, modifier_rank=modifier):
        yield True


@contextmanager
def gathering(module: nn.Module) -> Iterator[None]:
    """Within the block what is gathered of a divided module goes back to the machine as soon as it is freed."""
    with giving_back() if is_divided(module) else nullcontext():
        yield


@contextmanager
def forward_possible(module: nn.Module) -> Iterator[None]:
    """Within the block a divided module computes: DeepSpeed gathers each layer as it comes. Collective.

    For trials before training. A module that is whole, or that has an engine already, is left as it is.
    """
    if not is_divided(module) or any(hasattr(part, "ds_inflight_param_registry") for part in module.modules()):
        yield
        return
    import deepspeed

    settings = {
        "train_micro_batch_size_per_gpu": 1,
        "zero_optimization": {
            "stage": 3,
            "stage3_max_live_parameters": 0,  # a layer goes when it is done: nothing is kept for the next pass
            "stage3_max_reuse_distance": 0,
            "stage3_prefetch_bucket_size": 0,
            "stage3_param_persistence_threshold": 0,
        },
        "bf16": {"enabled": next(module.parameters()).dtype == torch.bfloat16},
    }
    engine, *_ = deepspeed.initialize(model=module, config=settings)
    with giving_back():
        try:
            yield
        finally:
            engine.empty_partition_cache()
            engine.destroy()
            forget_engine(module)


@contextmanager
def peft_gathers(module: nn.Module) -> Iterator[None]:
    """Within the block peft gathers the parameters that it reads, where the module is divided."""
    if not is_divided(module):
        yield
        return
    from transformers.integrations.deepspeed import HfDeepSpeedConfig, unset_hf_deepspeed_config

    settings = HfDeepSpeedConfig({"zero_optimization": {"stage": 3}})
    try:
        yield
    finally:
        unset_hf_deepspeed_config()
        del settings
