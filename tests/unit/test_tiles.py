"""Feed-forward layers that compute their tokens in parts: the same numbers and gradients, with less held at once."""

import pytest
import torch

from stages.config import ConfigError, DeepSpeedConfig, GrpoConfig, LoraConfig, RewardModelsConfig, SftConfig
from stages.modeling.batching import lay_out
from stages.modeling.dropout import turn_off_dropout
from stages.modeling.policy_model import PolicyModel
from stages.modeling.tiles import tile_mlps
from stages.runtime.errors import InputError
from tests.support.families import tiny

ROWS = [[5, 6, 7, 8, 9, 10, 11], [12, 13], [14, 15, 16]]


def outcome(model, packed: bool) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    batch = lay_out(ROWS, [[False, *[True] * (len(row) - 1)] for row in ROWS], 0, torch.device("cpu"), packed)
    logprobs_N, _ = PolicyModel(model, packed)(*batch.inputs)
    (logprobs_N * torch.linspace(-1, 1, len(logprobs_N))).sum().backward()
    return logprobs_N.detach(), {n: p.grad for n, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("count", [2, 5, 40])  # the last are more than there are tokens
@pytest.mark.parametrize("packed", [True, False])
def test_parts_give_the_same_gradient(count, packed):
    expected, gradients = outcome(tiny("llama"), packed)
    model, seen = tiny("llama"), []
    tile_mlps(model, count)
    layer = model.model.layers[0].mlp.gate_proj
    layer.register_forward_hook(lambda module, arguments, output: seen.append(arguments[0].shape[-2]))
    found, tiled = outcome(model, packed)
    assert len(seen) == 2 * count and len(set(seen[:count])) == 1  # each part once, and again in the backward pass
    assert (found - expected).abs().max() < 1e-6
    assert max((tiled[name] - gradients[name]).abs().max().item() for name in gradients) < 1e-6


def test_a_layer_whose_input_has_no_gradient_is_trained():
    gradients = []
    for count in (1, 3):
        model = tiny("llama")
        model.requires_grad_(False)
        model.model.layers[0].mlp.requires_grad_(True)
        if count > 1:
            tile_mlps(model, count)
        gradients.append(outcome(model, True)[1])
    assert gradients[0].keys() == gradients[1].keys() and len(gradients[0]) == 3
    assert all((gradients[0][name] - gradients[1][name]).abs().max() < 1e-6 for name in gradients[0])


@pytest.mark.parametrize("config", [SftConfig, RewardModelsConfig, GrpoConfig])
def test_a_plan_with_dropout_of_adapters_is_refused(config):
    tiles, dropout = DeepSpeedConfig(mlp_tiles=2), LoraConfig(rank=4, dropout=0.1)
    with pytest.raises(ConfigError, match="lora.dropout would leave out other inputs"):
        config(deepspeed=tiles, lora=dropout)
    config(deepspeed=tiles, lora=LoraConfig(rank=4))
    config(lora=dropout)


def test_dropout_within_the_parts_is_refused():
    model = tiny("llama")
    model.model.layers[1].mlp.act_fn = torch.nn.Sequential(model.model.layers[1].mlp.act_fn, torch.nn.Dropout(0.1))
    with pytest.raises(InputError, match="lora.dropout=0"):
        tile_mlps(model, 2)
    turn_off_dropout(model)
    tile_mlps(model, 2)


def test_a_model_without_such_layers_is_refused():
    with pytest.raises(InputError, match="mlp_tiles=1"):
        tile_mlps(tiny("mamba"), 2)
