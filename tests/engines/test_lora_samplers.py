"""How the sampler gets a policy with adapters: merged weights, or the adapters themselves, by vLLM and by transformers.

All draw the same completions; one that does not follow the trainer stops the run; what comes out, peft loads.
"""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from scripts.family_tools.families import make_model, write_model
from scripts.family_tools.trials import GRPO
from stages.contract.error_report import ErrorReport
from tests.support.paths import ENGINE_SCRIPTS
from tests.support.stage_dirs import StageRun, manifest, run_stage, sampled, steps, write_stage

pytestmark = pytest.mark.engine

CONFIG = {**GRPO, "num_steps": 3, "reference_every": 2, "optim": {"lr": 1e-2}}
EXACT = 1e-5  # nats: what the probe holds to in fp32


def stage(directory: Path, model: Path, sampler: str, engine: str = "vllm", **lora) -> Path:
    config = {
        **CONFIG,
        "lora": {"rank": 8, "sampler": sampler, **lora},
        "rollout": {"engine": engine, "kv_cache_gib": 0.02},
    }
    return write_stage(directory, "grpo", config, {"policy": model}, stage="r1_zero")


@pytest.fixture(scope="module")
def llama(tmp_path_factory) -> Path:
    return write_model("Llama", tmp_path_factory.mktemp("llama"))


@pytest.fixture(scope="module")
def finished(llama, tmp_path_factory) -> dict[str, Path]:
    """Finished stages by what drew for them."""
    root = tmp_path_factory.mktemp("lora_samplers")
    ways = {"merged": ("merged", "vllm"), "adapter": ("adapter", "vllm"), "shared": ("adapter", "transformers")}
    return {
        name: run_stage(stage(root / name, llama, *way, rslora=True), num_processes=1) for name, way in ways.items()
    }


def test_every_way_draws_the_same_from_the_same_policy(finished):
    for directory in finished.values():
        rows = steps(directory)
        assert all(row["policy/probe_max"] <= EXACT for row in rows)
        assert all(row["train/grad_norm"] > 0 for row in rows)
        for number in range(3):
            expected = [row["completion_ids"] for row in sampled(finished["merged"], number)]
            assert [row["completion_ids"] for row in sampled(directory, number)] == expected
        for row, wanted in zip(rows, steps(finished["merged"]), strict=True):
            assert row["train/loss"] == pytest.approx(wanted["train/loss"], abs=1e-4)
    first, last = (sampled(finished["merged"], number)[0]["rollout_logprobs"] for number in (0, 2))
    assert first != last


def test_peft_loads_the_adapter_and_base_plus_adapter_is_the_exported_model(finished, llama):
    from peft import PeftModel

    for directory in finished.values():
        loaded = PeftModel.from_pretrained(make_model("Llama"), directory / "adapter")
        merged, exported = loaded.merge_and_unload().state_dict(), load_file(directory / "model/model.safetensors")
        assert max((merged[name] - exported[name]).abs().max().item() for name in exported) < 1e-6
        base = load_file(llama / "model.safetensors")
        changed = {name.split(".")[-2] for name in exported if not torch.equal(exported[name], base[name])}
        assert changed == {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
        config = json.loads((directory / "adapter/adapter_config.json").read_text())
        assert config["base_model_name_or_path"] == str(llama) and config["use_rslora"]
        assert {"adapter/adapter_config.json", "adapter/adapter_model.safetensors", "adapter/README.md"} <= set(
            manifest(directory).files
        )


def test_the_cards_say_which_base_which_adapter_and_how_it_was_merged(finished):
    from huggingface_hub import ModelCard

    model = (finished["merged"] / "model/README.md").read_text()
    assert "Trained with rsLoRA of rank 8 and alpha 32 on all linear layers of the decoder." in model
    assert "(alpha / sqrt(rank)) B A was added" in model and "eeeeeeee" in model
    adapter = ModelCard((finished["merged"] / "adapter/README.md").read_text())
    assert adapter.data.library_name == "peft" and "--max-lora-rank 8" in adapter.content


def test_a_sampler_that_keeps_old_adapters_stops_the_run(llama, tmp_path, monkeypatch):
    monkeypatch.setenv("BREAK", "adapter")
    directory = stage(tmp_path / "broken", llama, "adapter")
    with StageRun(directory, 1, [str(ENGINE_SCRIPTS / "broken_sampler.py")]) as attempt:
        assert attempt.wait() == 1, attempt.log()
    error = ErrorReport.find(directory)
    assert error.kind == "SamplerDisagrees" and "after the weight sync of step 1" in error.message
    assert "use lora.sampler=merged" in error.fix


def test_a_family_whose_class_in_vllm_takes_no_adapters_is_refused_with_the_way_out(tmp_path):
    directory = stage(tmp_path / "stage", write_model("GPT-2", tmp_path / "gpt2"), "adapter")
    with StageRun(directory, 1) as attempt:
        assert attempt.wait() == 64, attempt.log()
    error = ErrorReport.find(directory)
    assert error.is_bad_input and "use lora.sampler=merged" in error.message and "LoRA" in error.message
    assert not (directory / "metrics.jsonl").exists()
