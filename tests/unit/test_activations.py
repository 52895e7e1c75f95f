"""What the plan counts for activations, on numbers worked by hand."""

import json

import pytest
import torch
from safetensors.torch import save_file

from pipeline.planning.activations import layer_bytes
from pipeline.planning.shapes import shape_of
from stages.config import ModelConfig

LAYERS = 6 * 1_000  # parameters of all layers


def kept(model: ModelConfig, number_bytes: int, is_recomputed: bool) -> float:
    """What the plan counts for a token."""
    shape = shape_of(model)
    assert shape is not None
    return layer_bytes(shape, number_bytes, is_recomputed)


def model_of(directory, **shape):
    """A model with a vocabulary of 50 words, a width of 10, and 6,000 parameters in its layers."""
    directory.mkdir()
    (directory / "config.json").write_text(json.dumps(shape))
    save_file({"table": torch.zeros(50, 10), "layers": torch.zeros(LAYERS)}, directory / "model.safetensors")
    return ModelConfig(path=str(directory))


def test_twice_the_parameters_of_the_layers_over_the_width(tmp_path):
    model = model_of(tmp_path / "a", hidden_size=10, num_hidden_layers=3, vocab_size=50, tie_word_embeddings=True)
    assert kept(model, 4, False) == 2 * LAYERS / 10 * 4
    assert kept(model, 2, False) == 2 * LAYERS / 10 * 2
    # gradient checkpointing keeps the inputs of layers, and makes one of them whole at a time
    assert kept(model, 4, True) == 10 * 3 * 4 + 2 * LAYERS / 3 / 10 * 4


@pytest.mark.parametrize(
    "shape",
    [
        {"n_embd": 10, "n_layer": 3, "vocab_size": 50, "tie_word_embeddings": True},  # as GPT-2 names them
        {"text_config": {"hidden_size": 10, "num_hidden_layers": 3, "vocab_size": 50}, "tie_word_embeddings": True},
    ],
)
def test_families_name_their_shape_in_other_ways(shape, tmp_path):
    assert kept(model_of(tmp_path / "a", **shape), 4, False) == 2 * LAYERS / 10 * 4


def test_nothing_is_counted_where_nothing_is_known(tmp_path):
    assert shape_of(ModelConfig(path=str(tmp_path / "nowhere"))) is None
    assert kept(model_of(tmp_path / "a", hidden_size=10), 4, False) == 0


def test_the_recipe_s_own_model_is_counted_too():
    assert kept(ModelConfig(path=None), 4, False) == 2 * 3 * 147_456 / 128 * 4  # three layers of a width of 128
