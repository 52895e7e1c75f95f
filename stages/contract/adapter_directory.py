"""A directory of adapters where a model is asked for: which base it is for, whether it fits it, and what to give."""

import re
from pathlib import Path
from typing import Any

from stages.contract.files import find_json
from stages.contract.safetensors_header import BadWeights, TensorEntry, read_header

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
FACTOR = re.compile(r"base_model\.model\.(.*)\.lora_([AB])\.weight")


def adapter_problem(directory: Path, tensors_of: Any) -> str | None:
    """Why a directory of adapters cannot be used as a model, and what can; None for any other directory.

    Args:
        directory: Of a model, as a user says.
        tensors_of: Reads the tensors of a model directory by name.
    """
    if not (directory / CONFIG).is_file():
        return None
    config = find_json(directory / CONFIG)
    base = config.get("base_model_name_or_path") if isinstance(config, dict) else None
    named = base if isinstance(base, str) and base else "its base model"
    place = (directory / named).resolve() if named.startswith(".") else Path(named).expanduser()
    misfit = _misfit(directory, place, tensors_of) if (place / "config.json").is_file() else None
    said = f"{CONFIG}: it is an adapter (LoRA) of {named}, not a model"
    if misfit:
        return f"{said}, and it is not one of that base either: {misfit}: give the base that it was trained on"
    merged = directory.parent / "model"
    if (merged / "config.json").is_file():
        return f"{said}: the merged model is in {merged}"
    return f"{said}: merge the two (peft: merge_and_unload(), then save_pretrained) and give the merged directory"


def _misfit(directory: Path, base: Path, tensors_of: Any) -> str | None:
    """What of an adapter has no place in a base; None where all fits, or one of the two cannot be read."""
    try:
        factors, tensors = read_header(directory / WEIGHTS), tensors_of(base)
    except (BadWeights, OSError):
        return None
    return next(filter(None, (_misfit_of(name, entry, tensors) for name, entry in factors.items())), None)


def _misfit_of(name: str, entry: TensorEntry, tensors: dict[str, TensorEntry]) -> str | None:
    """What is wrong with one factor of an adapter."""
    found = FACTOR.fullmatch(name)
    if found is None:
        return None
    layer, side = found.groups()
    weight = tensors.get(f"{layer}.weight")
    if weight is None:
        return f"the base has no layer {layer}"
    width = entry.shape[-1] if side == "A" else entry.shape[0]
    if width in weight.shape:
        return None
    shape = " x ".join(map(str, weight.shape))
    return f"its lora_{side} of {layer} is for {width} elements, and {layer} of the base is {shape}"
