"""Four bits below adapters: refused where they cannot run; what leaves the trainer is dequantised and merged.

bitsandbytes has kernels for CPUs too, slow ones: where it is installed, the numbers are looked at there.
"""

import importlib.util

import pytest
import torch

from scripts.family_tools.families import write_model
from stages.config import ConfigError, LoraConfig
from stages.engines.weights import has_names_of_its_own
from stages.modeling import model as models
from stages.modeling.adapters import add_adapters
from stages.modeling.model import load_model, save_model
from stages.modeling.quantized import is_packed, unpacked
from stages.runtime.errors import InputError
from stages.worlds.tiny_world.tokenizer import build_tokenizer

IDS = torch.arange(5, 25)[None]
needs_bitsandbytes = pytest.mark.skipif(
    importlib.util.find_spec("bitsandbytes") is None, reason="bitsandbytes is not installed (pip install bitsandbytes)"
)


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    return write_model("Llama", tmp_path_factory.mktemp("llama"))


def test_four_bits_are_refused_without_the_package_and_without_a_gpu(llama, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="needs the package bitsandbytes.*lora.quantize=none"):
        load_model(llama, quantize="4bit")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(InputError, match="needs an NVIDIA GPU.*lora.quantize=none"):
        load_model(llama, quantize="4bit")


def test_dora_does_not_go_with_four_bits():
    with pytest.raises(ConfigError, match="dora does not go with quantize"):
        LoraConfig(rank=4, dora=True, quantize="4bit")


@pytest.fixture
def packed(llama, monkeypatch):
    """A model in four bits with adapters that are not zero, and its Adapters."""
    monkeypatch.setattr(models, "require_four_bits", lambda: None)
    model = load_model(llama, quantize="4bit").eval()
    adapters = add_adapters(model, LoraConfig(rank=4), 0, lambda line: None)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for _, parameter in adapters.state(model):
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    return model, adapters


@needs_bitsandbytes
def test_what_leaves_the_trainer_is_a_whole_model_of_the_same_logprobs(packed, llama, tmp_path):
    model, adapters = packed
    layer = model.model.layers[0].self_attn.q_proj
    assert is_packed(layer.base_layer.weight) and not is_packed(model.lm_head.weight)
    plain = load_model(llama)
    merged = {weight.name: weight.compute() for weight in adapters.weights(model)}
    expected = {name: tensor.shape for name, tensor in plain.state_dict().items()}
    assert {name: tensor.shape for name, tensor in merged.items()} == expected
    own = unpacked(layer.base_layer.weight) + layer.get_delta_weight("default")
    assert torch.equal(merged["model.layers.0.self_attn.q_proj.weight"], own)
    assert not has_names_of_its_own(model, ((weight.name, weight.like) for weight in adapters.weights(model)))
    save_model(model, merged, build_tokenizer(), tmp_path)
    exported = load_model(tmp_path)
    # in training mode: without gradients its kernel for CPUs packs the weights in another way
    of_trainer, of_export = (torch.log_softmax(m.train()(IDS).logits, -1) for m in (model, exported))
    assert (of_trainer - of_export).abs().max() < 1e-4


@needs_bitsandbytes
def test_adapters_learn_and_the_packed_weights_stay(packed):
    model, adapters = packed
    before = model.model.layers[0].self_attn.q_proj.base_layer.weight.data.clone()
    model.train()(IDS, labels=IDS).loss.backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for _, p in adapters.state(model) if p.requires_grad)
    assert torch.equal(model.model.layers[0].self_attn.q_proj.base_layer.weight.data, before)
