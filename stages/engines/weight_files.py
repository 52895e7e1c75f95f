"""The weight files of a model directory, written tensor by tensor: one file, or shards with an index where it is large.

A shard appears under its name when it is full, and the index when all shards are there. What a kill leaves before is
no model: shards without an index are refused by whoever loads them, and so is a directory without weights.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import torch

from stages.contract import files
from stages.contract.model_directory import INDEX, WEIGHTS
from stages.engines.safetensors_writer import SafetensorsWriter

METADATA = {"format": "pt"}  # as transformers writes it


def write_weights(
    directory: Path,
    layout: Mapping[str, torch.Tensor],
    weights: Iterable[tuple[str, torch.Tensor]],
    shard_bytes: int,
    num_parameters: int,
) -> None:
    """Writes the weights of a model as they come.

    Args:
        directory: Of the model; weight files that are there already are removed first.
        layout: For each name a tensor of its type and shape; their order says which shard a tensor belongs to.
        weights: The same names with their tensors, in any order.
        shard_bytes: What one file holds at most, unless a single tensor is larger.
        num_parameters: Of the model, for the index.
    """
    from huggingface_hub import split_torch_state_dict_into_shards

    remove_weights(directory)
    planned = split_torch_state_dict_into_shards(
        dict(layout), filename_pattern=WEIGHTS.replace(".", "{suffix}."), max_shard_size=shard_bytes
    )
    _write_shards(directory, layout, weights, planned.filename_to_tensors)
    if planned.is_sharded:
        index = {
            "metadata": {"total_parameters": num_parameters, **planned.metadata},
            "weight_map": planned.tensor_to_filename,
        }
        files.write_atomic(directory / INDEX, (json.dumps(index, indent=2, sort_keys=True) + "\n").encode())


def remove_weights(directory: Path) -> None:
    """Removes the weight files of an earlier export, whole or not; the index first."""
    files.remove_temporaries(directory)
    for path in [directory / INDEX, directory / WEIGHTS, *directory.glob("model-*-of-*.safetensors")]:
        path.unlink(missing_ok=True)


def _write_shards(
    directory: Path,
    layout: Mapping[str, torch.Tensor],
    weights: Iterable[tuple[str, torch.Tensor]],
    names_of: Mapping[str, list[str]],
) -> None:
    """Writes each tensor into its file, and closes a file when it has all of its tensors."""
    file_of = {name: file for file, names in names_of.items() for name in names}
    writers: dict[str, tuple[SafetensorsWriter, ExitStack]] = {}
    with ExitStack() as unfinished:
        for name, tensor in weights:
            file = file_of[name]
            if file not in writers:
                stack = unfinished.enter_context(ExitStack())
                shard = {inner: layout[inner] for inner in names_of[file]}
                writers[file] = stack.enter_context(SafetensorsWriter(directory / file, shard, METADATA)), stack
            writer, stack = writers[file]
            writer.write(name, tensor)
            if not writer.missing:
                stack.close()
    absent = sorted(set(names_of) - set(writers))
    assert not absent, f"no tensor came for {', '.join(absent)}"


def without(ignored: set[str], weights: Iterable[tuple[str, torch.Tensor]]) -> Iterator[tuple[str, torch.Tensor]]:
    """The weights whose names are not among these."""
    return ((name, tensor) for name, tensor in weights if name not in ignored)
