"""Directories of adapters: peft loads them, and base + adapter is the merged model."""

import json

import pytest
import torch

from scripts.family_tools.families import make_model
from stages.config import LoraConfig
from stages.engines.adapter_files import CONFIG, base_name, peft_names, write_adapter
from stages.modeling.adapters import add_adapters
from tests.support.paths import REPOSITORY

IDS = torch.arange(5, 25)[None]


def adapted(name: str, **lora):
    """A random model with adapters that are not zero, and (its Adapters, the logits that it gives)."""
    model = make_model(name)
    adapters = add_adapters(model, LoraConfig(rank=4, **lora), 0, lambda line: None)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for _, parameter in adapters.state(model):
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
        return adapters, model.eval()(IDS).logits


@pytest.mark.parametrize(
    "name, lora",
    [
        ("Llama", {}),
        ("Llama", {"targets": ["q_proj", "layers.1.mlp.up_proj"]}),
        ("Llama", {"rslora": True, "alpha": 3.0}),
        ("Llama", {"dora": True}),
        ("Llama", {"whole": ["lm_head", "norm"]}),
        ("Qwen2", {}),
        ("GPT-2", {}),
        ("Phi-3", {}),
        ("Qwen3-MoE", {}),
    ],
)
def test_peft_loads_the_directory_and_base_plus_adapter_is_the_merged_model(name, lora, tmp_path):
    from peft import PeftModel

    adapters, logits = adapted(name, **lora)
    write_adapter(tmp_path, adapters, peft_names(adapters.state(adapters.model), prefix=""), "some/base")
    loaded = PeftModel.from_pretrained(make_model(name), tmp_path)
    assert loaded.active_peft_config.base_model_name_or_path == "some/base"
    with torch.no_grad():
        assert torch.allclose(loaded.eval()(IDS).logits, logits, atol=2e-5)
    merged = loaded.merge_and_unload().state_dict()
    ours = {weight.name: weight.compute() for weight in adapters.weights(adapters.model)}
    assert max((merged[name] - ours[name]).abs().max().item() for name in ours) < 1e-6


def test_the_same_adapters_give_the_same_files(tmp_path):
    adapters, _ = adapted("Llama")
    for place in ("a", "b"):
        write_adapter(tmp_path / place, adapters, peft_names(adapters.state(adapters.model), prefix=""), "some/base")
    for name in (CONFIG, "adapter_model.safetensors"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    config = json.loads((tmp_path / "a" / CONFIG).read_text())
    assert config["target_modules"] == ["down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj"]
    assert (config["r"], config["peft_type"], config["task_type"]) == (4, "LORA", "CAUSAL_LM")


def test_targets_are_named_in_full_where_the_last_part_stands_for_others_too(tmp_path):
    adapters, _ = adapted("Llama", targets=["layers.1.mlp.up_proj"])
    write_adapter(tmp_path, adapters, peft_names(adapters.state(adapters.model), prefix=""), "some/base")
    config = json.loads((tmp_path / CONFIG).read_text())
    assert config["target_modules"] == ["model.layers.1.mlp.up_proj"]


def test_a_base_of_the_run_is_named_by_the_way_to_it_and_one_of_the_hub_by_its_name(tmp_path):
    of_run = base_name(tmp_path / "base" / "ab" / "model", tmp_path / "r1_zero" / "cd" / "adapter", True)
    assert of_run == "../../../base/ab/model"
    cached = REPOSITORY / "models--org--name" / "snapshots" / "1"
    assert base_name(cached, tmp_path, False) == "org/name"
    assert base_name(tmp_path / "own", tmp_path, False) == str(tmp_path / "own")
