"""Weights written tensor by tensor: shards as transformers writes them, and nothing half-valid after a kill."""

import os
import signal
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from scripts.family_tools.families import make_model, write_model
from stages.contract.model_directory import INDEX, model_problems, read_tensors, weight_files
from stages.contract.safetensors_header import BadWeights
from stages.engines.weight_files import remove_weights, write_weights
from stages.engines.weights import named_weights

SHARD_BYTES = 200_000
MODEL = {f"layers.{number}.weight": torch.full((100, 100), float(number)) for number in range(12)}

KILLED = """
import os, signal, sys
from pathlib import Path
import torch
from stages.engines.weight_files import write_weights
tensors = {f"layers.{number}.weight": torch.full((100, 100), number + 0.5) for number in range(12)}
def weights(until):
    for number, pair in enumerate(tensors.items()):
        if number == until:
            os.kill(os.getpid(), signal.SIGKILL)
        yield pair
write_weights(Path(sys.argv[1]), tensors, weights(int(sys.argv[2])), 200_000, 1)
"""


def weight_bytes(directory):
    return {path.name: path.read_bytes() for path in directory.iterdir() if "safetensors" in path.name}


@pytest.mark.parametrize("shard_bytes", [SHARD_BYTES, 10**9])
def test_the_files_are_those_that_transformers_writes(tmp_path, shard_bytes):
    model = make_model("Llama, tied")
    model.save_pretrained(tmp_path / "library", max_shard_size=shard_bytes)
    (tmp_path / "own").mkdir()
    weights = {name: tensor.detach() for name, tensor in named_weights(model)}
    backwards = reversed(list(weights.items()))
    write_weights(tmp_path / "own", weights, backwards, shard_bytes, model.num_parameters())
    own = weight_bytes(tmp_path / "own")
    assert own == weight_bytes(tmp_path / "library") and (INDEX in own) == (shard_bytes == SHARD_BYTES)


@pytest.mark.parametrize("until", [3, 11])
def test_a_kill_leaves_no_model_and_the_next_export_is_whole(tmp_path, until):
    write_weights(tmp_path, MODEL, MODEL.items(), SHARD_BYTES, 1)
    before = weight_bytes(tmp_path)
    assert len(weight_files(tmp_path)) == 3
    ended = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path), str(until)], env=dict(os.environ))
    assert ended.returncode == -signal.SIGKILL
    with pytest.raises(BadWeights):
        weight_files(tmp_path)
    write_weights(tmp_path, MODEL, MODEL.items(), SHARD_BYTES, 1)
    assert weight_bytes(tmp_path) == before and len(read_tensors(tmp_path)) == len(MODEL)
    write_weights(tmp_path, MODEL, MODEL.items(), 10**9, 1)
    assert [path.name for path in tmp_path.iterdir()] == ["model.safetensors"], "no shards of the export before"
    assert load_file(tmp_path / "model.safetensors").keys() == MODEL.keys()


def test_a_tensor_that_never_comes_is_an_error_and_no_model(tmp_path):
    with pytest.raises(AssertionError):
        write_weights(tmp_path, MODEL, list(MODEL.items())[:-1], SHARD_BYTES, 1)
    assert not (tmp_path / INDEX).exists()
    remove_weights(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_model_in_shards_is_a_model(tmp_path):
    model = make_model("Llama, tied")
    write_model("Llama, tied", tmp_path)
    weights = {name: tensor.detach() for name, tensor in named_weights(model)}
    write_weights(tmp_path, weights, weights.items(), SHARD_BYTES, model.num_parameters())
    assert model_problems(tmp_path) == []
    again = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), again.parameters(), strict=True))
