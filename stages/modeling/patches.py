"""Private parts of libraries for loading and saving models; the rules of stages/engines/patches.py hold here too."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedModel


@contextmanager
def dividing_what_is_read(settings: dict[str, Any]) -> Iterator[None]:
    """Makes `from_pretrained` of transformers divide each parameter over the ranks when it is set, inside the block.

    Changes: `transformers.core_model_loading.set_param_for_module` also calls `_convert_to_zero_parameters` of
        `deepspeed.zero.Init` for the parameter; `groups._get_zero_param_intra_parallel_group` gives the ranks of hpZ,
        which a process makes once. Tensors are read one after the other (`HF_DEACTIVATE_ASYNC_LOAD`): threads would
        read ahead, and hold what is not divided yet.
    Reason: transformers' own way (`HfDeepSpeedConfig`) merges the whole checkpoint in the memory of every rank first,
        and does not report unexpected names and wrong shapes.
    Versions: transformers 5.16 to 5.19, DeepSpeed 0.19.
    Remove when: transformers reads tensor by tensor under ZeRO 3, with all its checks.

    Args:
        settings: DeepSpeed's, as for `deepspeed.initialize`. All ranks read the same directory in the same order.
    """
    import deepspeed
    from deepspeed.utils import groups
    from transformers import core_model_loading

    has_second_copy = settings["zero_optimization"].get("zero_hpz_partition_size", 1) > 1
    group = groups._get_zero_param_intra_parallel_group() if has_second_copy else None  # None: nobody has made it yet
    divider = deepspeed.zero.Init(config_dict_or_path=settings, zero_param_parallel_group=group)
    divider._enable_mem_efficient_linear()  # as it does for a module: else each layer stays whole until its backward
    set_param = core_model_loading.set_param_for_module

    def set_and_divide(model: Any, target_name: str, *args: Any, **options: Any) -> None:
        set_param(model, target_name, *args, **options)
        path, _, name = target_name.rpartition(".")
        parameter = model.get_submodule(path)._parameters.get(name)
        if parameter is not None and not parameter.is_meta and not hasattr(parameter, "ds_id"):
            parameter.data = parameter.data.clone()  # of its own: dividing writes to it, and it may be a mapped file
            divider._convert_to_zero_parameters([parameter])

    before = os.environ.get("HF_DEACTIVATE_ASYNC_LOAD")
    os.environ["HF_DEACTIVATE_ASYNC_LOAD"] = "1"
    core_model_loading.set_param_for_module = set_and_divide
    try:
        yield
    finally:
        core_model_loading.set_param_for_module = set_param
        if before is None:
            del os.environ["HF_DEACTIVATE_ASYNC_LOAD"]
        else:
            os.environ["HF_DEACTIVATE_ASYNC_LOAD"] = before


LEFT_BY_AN_ENGINE = ("ds_inflight_param_registry", "pre_bwd_fn", "post_bwd_fn")


def forget_engine(module: "nn.Module") -> None:
    """Removes what a DeepSpeed engine that is gone left on a module, so that the next one finds it as it was loaded.

    Changes: deletes the attributes LEFT_BY_AN_ENGINE of all submodules.
    Reason: under ZeRO 3 DeepSpeed keeps the functions that gather a layer for its backward pass where there are some:
        those of the engine that is gone. A copy of such a layer even gathered the layer that it was copied from.
    Versions: DeepSpeed 0.19.
    Remove when: `DeepSpeedEngine.destroy` removes them.
    """
    for part in module.modules():
        for name in LEFT_BY_AN_ENGINE:
            part.__dict__.pop(name, None)


def names_not_saved(model: "PreTrainedModel") -> set[str]:
    """The names of weights that a model's class leaves out of its checkpoints.

    Changes: nothing; reads `_keys_to_ignore_on_save`.
    Reason: `save_pretrained` leaves these out, and we write the weights without it, one by one.
    Versions: transformers 5.16 to 5.19.
    Remove when: transformers has a public name for it, or writes weights as they come.
    """
    return set(model._keys_to_ignore_on_save or ())
