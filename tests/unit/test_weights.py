"""All weights of a model, buffers too, each once, under the names that its checkpoint has; for many families."""

import pytest
import torch
from safetensors import safe_open

from scripts.family_tools.families import FAMILIES, make_model, write_model
from stages.config import RolloutConfig
from stages.engines.sampling.transformers_sampler import TransformersSampler
from stages.engines.weights import has_names_of_its_own, named_weights, with_checkpoint_names
from stages.kinds.evaluation.models import weights_of
from stages.modeling.model import load_model, load_tokenizer, save_model

RENAMED = {"Qwen2-MoE", "Qwen3-MoE", "Mixtral", "OLMoE", "DeepSeek-V3", "GLM-4-MoE", "GPT-NeoX"}
TOLD = ["Llama, tied", "Qwen3-MoE", "Mixtral", "GPT-NeoX", "DeepSeek-V3", "GLM-4-MoE", "Mamba"]  # one of each kind
BIAS = "model.layers.1.mlp.gate.e_score_correction_bias"


def change_all(model, by: float = 0.5) -> None:
    with torch.no_grad():
        for _, tensor in named_weights(model):
            tensor += by


@pytest.mark.parametrize("family", FAMILIES)
def test_checkpoint_names_are_those_of_the_files(family, tmp_path):
    """What is synced is name by name and bit by bit what plain transformers would have written to the disk."""
    model = load_model(write_model(family, tmp_path))
    change_all(model)
    model.save_pretrained(tmp_path / "changed")
    with safe_open(tmp_path / "changed" / "model.safetensors", "pt") as file:
        expected = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (it is no mapping)
    renames = has_names_of_its_own(model)
    assert renames == (family in RENAMED)
    found = dict(with_checkpoint_names(model, named_weights(model)) if renames else named_weights(model))
    assert set(found) == set(expected)
    assert [name for name, tensor in expected.items() if not torch.equal(tensor, found[name])] == []


def test_every_weight_comes_once_in_layer_order():
    model = make_model("DeepSeek-V3")
    names = [name for name, _ in named_weights(model)]
    assert set(names) == set(model.state_dict()) and len(names) == len(set(names))
    layers = [int(name.split(".")[2]) for name in names if ".layers." in name]
    assert layers == sorted(layers)
    assert names.index(BIAS) < names.index("model.norm.weight")
    tied = [name for name, _ in named_weights(make_model("Llama, tied"))]
    assert "lm_head.weight" not in tied and tied.count("model.embed_tokens.weight") == 1


def test_the_names_of_layers_come_layer_by_layer():
    """vLLM holds the tensors of a layer until it has them all; under ZeRO-3 they are gathered copies."""
    model, given = make_model("Qwen3-MoE"), []
    weights = ((given.append(name), (name, tensor))[1] for name, tensor in named_weights(model))
    for name, _ in with_checkpoint_names(model, weights):
        if name.startswith("model.layers.0."):
            assert not any(earlier.startswith("model.layers.1.mlp") for earlier in given)


class Counting(torch.nn.Module):
    """A module with everything that a state can have."""

    def __init__(self):
        super().__init__()
        self.norm = torch.nn.BatchNorm1d(3)
        self.frozen = torch.nn.Parameter(torch.ones(2), requires_grad=False)
        self.register_buffer("steps", torch.tensor(3))
        self.register_buffer("cache", torch.ones(2), persistent=False)


def test_buffers_count_where_they_are_part_of_the_state():
    names = {name for name, _ in named_weights(Counting())}
    assert names == {"frozen", "steps", *(f"norm.{name}" for name in torch.nn.BatchNorm1d(3).state_dict())}


@pytest.mark.parametrize("family", TOLD)
def test_an_export_loads_whole_in_plain_transformers(family, tmp_path):
    from transformers import AutoModelForCausalLM

    model = load_model(write_model(family, tmp_path / "model"))
    change_all(model)
    state = {name: tensor.detach() for name, tensor in named_weights(model)}
    save_model(model, state, load_tokenizer(tmp_path / "model"), tmp_path / "export")
    again, info = AutoModelForCausalLM.from_pretrained(tmp_path / "export", output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"]
    assert list(again.state_dict()) == list(model.state_dict())
    for (name, a), b in zip(model.state_dict().items(), again.state_dict().values()):
        assert torch.equal(a, b) and a.dtype == b.dtype, name
    names = [name for name, _ in weights_of(tmp_path / "export")]
    assert len(names) == len(set(names))
    assert "lm_head.weight" not in names or not model.config.tie_word_embeddings  # a tied head is there once


@pytest.mark.parametrize("family", ["DeepSeek-V3", "GLM-4-MoE"])
def test_a_buffer_keeps_its_precision_in_a_bf16_model(family, tmp_path):
    model = load_model(write_model(family, tmp_path / "model"), "bf16")
    assert dict(named_weights(model))[BIAS].dtype == torch.float32
    state = {name: tensor.detach() for name, tensor in named_weights(model)}
    save_model(model, state, load_tokenizer(tmp_path / "model"), tmp_path / "export")
    again = load_model(tmp_path / "export", "bf16")
    assert torch.equal(again.state_dict()[BIAS], model.state_dict()[BIAS])
    assert again.state_dict()[BIAS].dtype == torch.float32


@pytest.mark.parametrize("family", ["Mamba", "Falcon-H1", "Gemma 3", "OPT", "Cohere"])
def test_the_transformers_sampler_draws_from_the_model(family, tmp_path):
    """With caches of keys, windows and states alike; prompts of several lengths, rows that end early."""
    sampler = TransformersSampler(RolloutConfig(engine="transformers"), write_model(family, tmp_path), 32, 12, "fp32")
    sampler.stop_ids = list(range(40))
    prompts = [list(range(50, 50 + length)) for length in (2, 5, 9)]
    groups = sampler.sample(prompts, [0, 100, 200], 3, 1.0, 12)
    drawn = [(prompt, c) for prompt, group in zip(prompts, groups) for c in group]
    assert {c.is_truncated for _, c in drawn} == {True, False}
    for prompt, completion in drawn:
        ids = torch.tensor([prompt + completion.token_ids.tolist()])
        with torch.no_grad():
            logits_TV = sampler.model(ids, use_cache=False).logits[0, len(prompt) - 1 : -1]
        own_T = torch.log_softmax(logits_TV, -1).gather(1, ids[0, len(prompt) :, None])[:, 0]
        torch.testing.assert_close(torch.tensor(completion.logprobs), own_T, atol=1e-4, rtol=0)


@pytest.mark.parametrize("family", ["DeepSeek-V3", "Llama, tied", "GPT-NeoX"])
def test_the_transformers_sampler_takes_buffers_and_tied_heads(family, tmp_path):
    trained = load_model(write_model(family, tmp_path)).eval()
    sampler = TransformersSampler(RolloutConfig(engine="transformers"), tmp_path, 8, 8, "fp32")
    change_all(trained, by=0.1)
    sampler.sync((name, tensor.detach()) for name, tensor in named_weights(trained))
    ids = torch.tensor([[20, 21, 22, 23]])
    with torch.no_grad():
        assert torch.equal(sampler.model(ids).logits, trained(ids).logits)


@pytest.mark.parametrize("family", ["Llama, tied", "DeepSeek-V3"])
def test_a_model_that_is_sent_to_a_device_tensor_by_tensor_is_the_same(family, tmp_path):
    directory = write_model(family, tmp_path)
    plain, sent = load_model(directory), load_model(directory, device=torch.device("cpu"))
    own, other = (dict([*m.named_parameters(), *m.named_buffers()]) for m in (plain, sent))
    assert own.keys() == other.keys() and all(torch.equal(own[name], other[name]) for name in own)
    assert not any(hasattr(module, "_hf_hook") for module in sent.modules()), "nothing moves tensors at each call"
