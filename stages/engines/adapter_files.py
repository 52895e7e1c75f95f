"""An adapter as a directory that peft, vLLM and the hub read: adapter_config.json and adapter_model.safetensors.

Stages export one beside the merged model, and a sampler that adds adapters itself gets one at each sync.
"""

import json
import os
from collections.abc import Iterable
from pathlib import Path

import torch

from stages.contract import files
from stages.modeling.adapters import Adapters, peft_settings

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
PREFIX = "base_model.model."  # what peft puts before every name


def peft_names(weights: Iterable[tuple[str, torch.Tensor]], prefix: str = "model.") -> dict[str, torch.Tensor]:
    """Weights of adapters under the names that peft gives them in a file.

    Args:
        weights: As `Adapters.state` yields them.
        prefix: What their names begin with, of the module around the model.
    """
    renamed = {}
    for name, tensor in weights:
        own = name.removeprefix(prefix).replace(".modules_to_save.", ".")
        if ".lora_magnitude_vector." in own:
            own = own.removesuffix(".weight")
        renamed[PREFIX + own] = tensor.detach().cpu().contiguous()
    return renamed


def write_adapter(
    directory: Path, adapters: Adapters, tensors: dict[str, torch.Tensor], base: str, task: str = "CAUSAL_LM"
) -> None:
    """Writes the directory.

    Args:
        directory: Made if it is not there.
        adapters: Say what the adapters are and what they are on.
        tensors: As `peft_names` gives them.
        base: The name of the model that they are for, or its path from this directory.
        task: What peft calls the task of the model.
    """
    from safetensors.torch import save_file

    directory.mkdir(parents=True, exist_ok=True)
    files.write_atomic(directory / CONFIG, (json.dumps(settings(adapters, base, task), indent=2) + "\n").encode())
    save_file(tensors, directory / WEIGHTS, metadata={"format": "pt"})
    files.follow_umask(directory)


def settings(adapters: Adapters, base: str, task: str) -> dict:
    """The content of adapter_config.json; the same for the same adapters, whatever the order of their layers."""
    made = peft_settings(adapters.config, short_names(adapters), adapters.whole).to_dict()
    made |= {
        "base_model_name_or_path": base,
        "task_type": task,
        "inference_mode": True,
        "target_modules": short_names(adapters),  # a list; peft keeps a set, which has no order
        "modules_to_save": adapters.whole or None,
    }
    return dict(sorted(made.items()))


def short_names(adapters: Adapters) -> list[str]:
    """The targets by the last part of their names, as people write them, where these stand for no other layer."""
    kinds = {name.rpartition(".")[2] for name in adapters.targets}
    targets = set(adapters.targets)
    others = {
        name
        for name, module in adapters.model.named_modules()
        if name.rpartition(".")[2] in kinds and name not in targets and list(module.parameters(recurse=False))
    }
    return sorted(targets) if others else sorted(kinds)


def base_name(base_dir: Path, adapter_dir: Path, is_of_run: bool) -> str:
    """How an adapter names its base: a model of the hub by its name, one of the same run by the path to it.

    The path from the adapter stays right where a run is moved, and is the same in every copy of the run.
    """
    from stages.engines.model_card import hub_name

    if is_of_run:
        return os.path.relpath(base_dir, adapter_dir)
    return hub_name(str(base_dir)) or str(base_dir)
