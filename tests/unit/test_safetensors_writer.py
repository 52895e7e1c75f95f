"""Files that are written one tensor at a time: the same bytes as the library's, and nothing half-written."""

import random

import pytest
import torch
from safetensors.torch import load_file, save_file

from stages.engines.safetensors_writer import TYPES, SafetensorsWriter


def tensors() -> dict[str, torch.Tensor]:
    """Tensors of every type, of several shapes, with names whose order matters."""
    made = {}
    for number, dtype in enumerate(TYPES):
        made[f"layers.{number}.weight"] = (torch.arange(12).reshape(3, 4) % 2).to(dtype)
        made[f"layers.{10 * number}.bias"] = torch.ones(number + 1).to(dtype)
    return made | {"Z": torch.randn(()), 'name with "quotes" and ü': torch.randn(2, 3), "empty": torch.empty(0, 4)}


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}])
def test_the_bytes_are_those_of_the_library_whatever_the_order(tmp_path, metadata):
    made = tensors()
    save_file(made, tmp_path / "library.safetensors", metadata=metadata)
    names = list(made)
    random.Random(0).shuffle(names)
    with SafetensorsWriter(tmp_path / "own.safetensors", made, metadata) as writer:
        for name in names:
            writer.write(name, made[name])
    assert (tmp_path / "own.safetensors").read_bytes() == (tmp_path / "library.safetensors").read_bytes()
    read = load_file(tmp_path / "own.safetensors")
    assert all(torch.equal(read[name], made[name]) for name in made)


def test_what_is_not_contiguous_is_written_in_its_order(tmp_path):
    transposed = torch.arange(6.0).reshape(2, 3).T
    with SafetensorsWriter(tmp_path / "one.safetensors", {"a": torch.empty(3, 2, device="meta")}) as writer:
        writer.write("a", transposed)
    assert torch.equal(load_file(tmp_path / "one.safetensors")["a"], transposed)


def test_a_file_appears_when_it_is_whole(tmp_path):
    path = tmp_path / "one.safetensors"
    path.write_bytes(b"before")
    made = {"a": torch.ones(4), "b": torch.ones(4)}
    with pytest.raises(KeyboardInterrupt), SafetensorsWriter(path, made) as writer:
        writer.write("a", made["a"])
        raise KeyboardInterrupt
    with pytest.raises(AssertionError, match="1 tensors"), SafetensorsWriter(path, made) as writer:
        writer.write("a", made["a"])
    assert path.read_bytes() == b"before" and [p.name for p in tmp_path.iterdir()] == [path.name]


def test_another_shape_or_type_than_announced_is_refused(tmp_path):
    for other in (torch.ones(5), torch.ones(4, dtype=torch.bfloat16)):
        with pytest.raises(AssertionError), SafetensorsWriter(tmp_path / "x", {"a": torch.ones(4)}) as writer:
            writer.write("a", other)
