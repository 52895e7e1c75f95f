"""Adapters in the plan: what cannot be trained is refused with the way out, and what they cost is counted."""

import json

import pytest

from pipeline.configuration import graph
from pipeline.errors import InvalidConfig
from pipeline.planning import capacity, devices, estimate
from pipeline.planning import models as models_of_plan
from pipeline.planning.lora import adapter_parameters, layers_of
from pipeline.planning.memory import needed
from scripts.family_tools.families import write_model
from stages.config import LoraConfig, ModelConfig
from stages.contract.linear_layers import is_tied, linear_layers
from tests.support.hollow_models import hollow_model
from tests.support.runs import config, plan

pytestmark = pytest.mark.slow  # composes many configurations

GIB = 2**30


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Directories by name: small real ones, and hollow ones of real sizes."""
    root = tmp_path_factory.mktemp("models")
    names = ("Llama", "Llama, tied", "Qwen3-MoE", "GPT-2", "Mamba")
    made = {name: write_model(name, root / name.replace(", ", "-")) for name in names}
    return made | {
        size: hollow_model(root / size, size) for size in ("qwen25_7b", "qwen25_math_15b", "qwen25_05b", "smollm2_135m")
    }


@pytest.fixture
def errors(tmp_path):
    """A function: what the plan of a stage says is wrong with its adapters, with the fixes."""

    def of(*overrides: str, stage: str = "r1_zero") -> str:
        made = plan(f"+stage={stage}", "lora=on", f"runs_dir={tmp_path}", *overrides)
        return "\n".join(f"{message} | {fix}" for message, fix in made.errors if "lora" in message.split(":")[0])

    return of


def test_the_layers_of_a_directory_are_those_of_the_model(models):
    from transformers import AutoModelForCausalLM

    from stages.modeling.adapter_targets import default_layers

    for name, tied in (("Llama", False), ("Llama, tied", True), ("GPT-2", True)):
        model = AutoModelForCausalLM.from_pretrained(models[name])
        layers = linear_layers(models[name])
        assert {layer.name for layer in layers if layer.is_in_block} == set(default_layers(model))
        assert is_tied(models[name], layers) == tied
        for layer in layers:
            assert model.get_submodule(layer.name).weight.shape == (layer.rows, layer.columns)
    assert {layer.kind for layer in linear_layers(models["Qwen3-MoE"]) if layer.is_in_block} == {
        "q_proj",
        "k_proj",
        "v_proj",
        "o_proj",
    }


def test_parameters_are_those_that_peft_makes(models):
    from peft import LoraConfig as PeftConfig
    from peft import get_peft_model
    from transformers import AutoModelForCausalLM

    for own, more in (
        ({}, {}),
        ({"targets": ["q_proj", "up_proj"]}, {"target_modules": ["q_proj", "up_proj"]}),
        ({"dora": True}, {"use_dora": True}),
        ({"whole": ["lm_head"]}, {"modules_to_save": ["lm_head"]}),
    ):
        settings = PeftConfig(r=4, **{"target_modules": "all-linear"} | more)
        made = get_peft_model(AutoModelForCausalLM.from_pretrained(models["Llama"]), settings)
        expected = sum(p.numel() for p in made.parameters() if p.requires_grad)
        layers = layers_of(ModelConfig(path=str(models["Llama"])))
        assert adapter_parameters(LoraConfig(rank=4, **own), layers) == expected, own


def test_a_target_that_is_not_there_is_told_with_the_close_one(errors, models):
    said = errors("lora.targets=[q_prj]", f"model.path={models['Llama']}")
    assert "lora.targets" in said and "has no linear layer 'q_prj'; did you mean q_proj?" in said
    assert "its linear layers are down_proj, gate_proj, up_proj, k_proj, o_proj, q_proj, v_proj;" in said
    assert "no linear layer 'experts'" in errors("lora.targets=[experts]", f"model.path={models['Qwen3-MoE']}")
    assert "did you mean c_attn?" in errors("lora.targets=[attn]", f"model.path={models['GPT-2']}")
    assert "the recipe's own base has no linear layer 'q_prj'" in errors("lora.targets=[q_prj]")


def test_a_rank_above_the_width_is_refused_and_full_rank_is_not(errors, models):
    said = errors("lora.rank=65", f"model.path={models['Llama']}")
    assert "lora.rank 65 is above the width" in said and "64 is full rank" in said
    assert not errors("lora.rank=64", f"model.path={models['Llama']}")
    assert "k_proj, is 32 x 64" in errors("lora.rank=64", "lora.targets=[k_proj]", f"model.path={models['Llama']}")


def test_a_tied_head_is_refused_and_an_untied_one_is_not(errors, models):
    for key in ("targets", "whole"):
        said = errors(f"lora.{key}=[lm_head]", f"model.path={models['Llama, tied']}")
        assert f"lora.{key}: lm_head is tied" in said and "leave lm_head out" in said
        assert not errors(f"lora.{key}=[lm_head]", f"model.path={models['Llama']}")
    assert "embed_tokens is tied" in errors("lora.targets=[embed_tokens]", "model.tie_embeddings=true")


def test_a_layer_that_kernels_read_past_is_refused_and_the_others_are_not(errors, models):
    said = errors("lora.targets=[out_proj]", f"model.path={models['Mamba']}")
    assert "read the weight of out_proj past the layer" in said
    assert not errors(f"model.path={models['Mamba']}")


@pytest.mark.parametrize(
    "override, says",
    [
        ("lora.dora=true", "vLLM has no DoRA"),
        ("lora.whole=[lm_head]", "no modules that are trained whole (lm_head)"),
        ("lora.targets=[lm_head]", "adapters on embeddings and heads"),
    ],
)
def test_what_vllm_cannot_hold_is_refused_with_the_way_out(override, says, errors):
    said = errors("lora.sampler=adapter", override)
    assert says in said and "lora.sampler=merged gives the sampler the merged weights" in said
    assert not errors("lora.sampler=merged", override)
    assert not errors("lora.sampler=adapter", override, "rollout=transformers")
    assert not errors("lora.sampler=adapter", override, stage="cold_start")  # it samples nothing


def test_a_rank_that_vllm_has_no_room_for_is_refused(errors, models):
    path = f"model.path={models['qwen25_7b']}"
    assert "vLLM takes ranks up to 512, got 600" in errors("lora.sampler=adapter", "lora.rank=600", path)


def test_four_bits_are_refused_where_they_cannot_run(errors, monkeypatch):
    import importlib.util

    from pipeline.planning import lora

    said = errors("lora.quantize=4bit")
    assert "runs on NVIDIA GPUs only, and this machine has none" in said and "lora.quantize=none" in said
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(lora, "num_gpus", lambda: 1)
    said = errors("lora.quantize=4bit")
    assert "needs the package bitsandbytes" in said and "GPUs only" not in said
    assert "ZeRO 3 cannot divide" in errors("lora.quantize=4bit", "deepspeed=zero3")


@pytest.mark.parametrize("stage", ["base", "evaluate", "cold_start_data"])
def test_a_stage_that_trains_no_model_from_another_one_has_no_adapters(stage):
    with pytest.raises(InvalidConfig, match=rf"stages\.{stage} has none: stages with lora are r1_zero, cold_start,"):
        config(f"+stage={stage}", f"lora@stages.{stage}.lora=on")


def test_an_adapter_is_not_a_model(tmp_path, models):
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "some/base"}))
    made = plan("+stage=r1_zero", f"model.path={tmp_path / 'adapter'}", f"runs_dir={tmp_path}")
    assert any("it is an adapter (LoRA) of some/base, not a model" in message for message, _ in made.errors)


def test_memory_has_the_weights_once_and_no_reference(models, tmp_path):
    run = config(f"model.path={models['qwen25_7b']}", "lora=on", "launcher=gpu", "deepspeed.precision=bf16")
    parameters = models_of_plan.num_parameters(run.model)
    trained = adapter_parameters(run.lora, layers_of(run.model))
    assert trained == 16 * 28 * (2 * 7168 + 2 * 4096 + 3 * (3584 + 18944))  # rank, layers, in + out of each
    found = needed(graph.build(run).nodes["r1_zero"], run.stage("r1_zero"), run)
    held = {part: size for part, size in found.gpu.items() if part in ("weights", "optimizer", "reference")}
    assert held == pytest.approx({"weights": (parameters + trained) * 2 / GIB, "optimizer": trained * 12 / GIB})
    whole = config(f"model.path={models['qwen25_7b']}", "launcher=gpu", "deepspeed.precision=bf16")
    found = needed(graph.build(whole).nodes["r1_zero"], whole.stage("r1_zero"), whole)
    assert found.gpu["reference"] == found.gpu["weights"] == pytest.approx(parameters * 2 / GIB)


def test_disk_has_checkpoints_of_adapters_the_merged_model_and_the_adapters(models):
    run = config(f"model.path={models['qwen25_7b']}", "lora=on", "deepspeed.precision=bf16")
    parameters = models_of_plan.num_parameters(run.model)
    trained = adapter_parameters(run.lora, layers_of(run.model))
    expected = (trained * 3 * 14 + parameters * 2 + trained * 2) / GIB
    assert estimate.disk_gib("cold_start", run.stage("cold_start"), run) == pytest.approx(expected)


def test_a_step_with_adapters_makes_two_thirds_of_the_work(models):
    whole, lora = (
        config(f"model.path={models['smollm2_135m']}", "+stage=cold_start", *more) for more in ([], ["lora=on"])
    )
    node = graph.build(whole).nodes["cold_start"]
    times = [estimate.seconds(node, run.stage("cold_start"), run) - 10 for run in (whole, lora)]
    assert times[1] == pytest.approx(times[0] * 2 / 3)


@pytest.mark.parametrize(
    "recipe, model, student, limit_gib",
    [("one_gpu_lora", "qwen25_7b", "qwen25_math_15b", 80), ("laptop", "qwen25_05b", "smollm2_135m", 16)],
)
def test_the_recipes_with_adapters_pass_the_plan_and_fit(
    recipe, model, student, limit_gib, models, tmp_path, monkeypatch
):
    if recipe == "one_gpu_lora":  # a machine as the recipe wants it
        (tmp_path / "nvidia0").touch()
        monkeypatch.setattr(devices, "DEVICES", tmp_path)
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        monkeypatch.setattr(capacity, "here_gib", lambda: 128.0)
    (tmp_path / "prompts.jsonl").write_text(
        "".join(json.dumps({"prompt": f"What is {i} + 1?", "answer": str(i + 1)}) + "\n" for i in range(64))
    )
    data = [f"data.path={tmp_path / 'prompts.jsonl'}"] if recipe == "one_gpu_lora" else []
    made = plan(
        "+stage=all",
        f"recipe={recipe}",
        f"model.path={models[model]}",
        f"student.path={models[student]}",
        f"runs_dir={tmp_path}",
        "launcher.min_free_gib=0",
        f"launcher.gpu_memory_gib={limit_gib}",
        *data,
    )
    assert made.errors == []
    needed_gib = [step.gpu_memory_gib if recipe == "one_gpu_lora" else step.memory_gib for step in made.steps]
    assert 0 < max(gib for gib in needed_gib if gib is not None) < limit_gib
    assert all(step.config.lora.is_on for step in made.steps if hasattr(step.config, "lora"))
