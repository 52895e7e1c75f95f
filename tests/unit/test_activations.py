"""What the plan counts for activations, on numbers worked by hand."""

import json

import pytest
import torch
from safetensors.torch import save_file

from pipeline.planning.activations import activation_bytes
from stages.config import ModelConfig

LAYERS = 6 * 1_000  # parameters of all layers


def model_of(directory, **shape):
    """A model with a vocabulary of 50 words, a width of 10, and 6,000 parameters in its layers."""
    directory.mkdir()
    (directory / "config.json").write_text(json.dumps(shape))
    save_file({"table": torch.zeros(50, 10), "layers": torch.zeros(LAYERS)}, directory / "model.safetensors")
    return ModelConfig(path=str(directory))


def test_twice_the_parameters_of_the_layers_over_the_width(tmp_path):
    model = model_of(tmp_path / "a", hidden_size=10, num_hidden_layers=3, vocab_size=50, tie_word_embeddings=True)
    assert activation_bytes(model, 4, False) == 2 * LAYERS / 10 * 4
    assert activation_bytes(model, 2, False) == 2 * LAYERS / 10 * 2
    assert activation_bytes(model, 4, True) == 10 * 3 * 4  # gradient checkpointing keeps the inputs of layers


@pytest.mark.parametrize(
    "shape",
    [
        {"n_embd": 10, "n_layer": 3, "vocab_size": 50, "tie_word_embeddings": True},  # as GPT-2 names them
        {"text_config": {"hidden_size": 10, "num_hidden_layers": 3, "vocab_size": 50}, "tie_word_embeddings": True},
    ],
)
def test_families_name_their_shape_in_other_ways(shape, tmp_path):
    assert activation_bytes(model_of(tmp_path / "a", **shape), 4, False) == 2 * LAYERS / 10 * 4


def test_nothing_is_counted_where_nothing_is_known(tmp_path):
    assert activation_bytes(ModelConfig(path=None), 4, False) == 0
    assert activation_bytes(ModelConfig(path=str(tmp_path / "nowhere")), 4, False) == 0
    assert activation_bytes(model_of(tmp_path / "a", hidden_size=10), 4, False) == 0
