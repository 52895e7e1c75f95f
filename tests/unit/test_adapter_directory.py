"""A directory of adapters given as a model: the message names the base, the merged model, or what does not fit."""

import json

import pytest
import torch
from safetensors.torch import save_file

from stages.contract.model_directory import model_problems
from tests.support.hollow_models import hollow_model


@pytest.fixture
def base(tmp_path):
    return hollow_model(tmp_path / "base", "smollm2_135m")


def adapter(path, base: str, layer: str = "model.layers.0.self_attn.q_proj", width: int = 576):
    path.mkdir(parents=True)
    (path / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": base, "r": 4}))
    factors = {"A": torch.zeros(4, width), "B": torch.zeros(576, 4)}
    save_file(
        {f"base_model.model.{layer}.lora_{side}.weight": t for side, t in factors.items()},
        path / "adapter_model.safetensors",
    )
    return path


def test_an_adapter_names_its_base_and_the_way_to_merge(tmp_path, base):
    (said,) = model_problems(adapter(tmp_path / "adapter", str(base)))
    assert said.startswith(f"adapter_config.json: it is an adapter (LoRA) of {base}, not a model") and "merge" in said
    (said,) = model_problems(adapter(tmp_path / "other", "org/name"))
    assert "an adapter (LoRA) of org/name" in said


def test_an_adapter_of_a_stage_names_the_merged_model_beside_it(tmp_path, base):
    stage = tmp_path / "r1_zero" / "0a1b2c3d"
    hollow_model(stage / "model", "smollm2_135m")
    (said,) = model_problems(adapter(stage / "adapter", "../../../base"))
    assert said.endswith(f"the merged model is in {stage / 'model'}")


@pytest.mark.parametrize(
    "change, says",
    [
        ({"width": 896}, "its lora_A of model.layers.0.self_attn.q_proj is for 896 elements, and"),
        ({"layer": "transformer.h.0.attn.c_attn"}, "the base has no layer transformer.h.0.attn.c_attn"),
        ({"layer": "model.layers.40.mlp.up_proj"}, "the base has no layer model.layers.40.mlp.up_proj"),
    ],
)
def test_an_adapter_of_another_base_says_what_does_not_fit(change, says, tmp_path, base):
    (said,) = model_problems(adapter(tmp_path / "adapter", "../base", **change))
    assert says in said and "it is not one of that base either" in said
