"""Other people's families with the real engines: the most telling ones. scripts/check_families.py does it for all."""

import pytest

from scripts.family_tools.families import write_model
from scripts.family_tools.trials import run_grpo
from tests.support.paths import ENGINE_SCRIPTS
from tests.support.stage_dirs import run_script

TIMEOUT_S = 300


@pytest.mark.parametrize("family", ["Qwen3-MoE", "DeepSeek-V3", "GPT-NeoX"])
def test_vllm_takes_every_weight_at_each_sync(family, tmp_path):
    """Experts that are packed, a router's buffer, a model of transformers' code: the probe compares after an update."""
    model = write_model(family, tmp_path / "model")
    assert run_grpo(tmp_path / "grpo", model, "vllm", TIMEOUT_S) == "works"


def test_a_family_that_vllm_cannot_sync_is_refused_before_training(tmp_path):
    """vLLM's loader of gpt-oss writes experts past the reload: they would stay what they were, without a word."""
    model = write_model("gpt-oss", tmp_path / "model")
    outcome = run_grpo(tmp_path / "grpo", model, "vllm", TIMEOUT_S)
    assert outcome.startswith("refused: ") and "use rollout=transformers" in outcome, outcome
    assert not (tmp_path / "grpo" / "metrics.jsonl").exists() and not list((tmp_path / "grpo").glob("rollouts/*"))


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> dict:
    directory = tmp_path_factory.mktemp("whole_weights")
    return run_script(ENGINE_SCRIPTS / "whole_weights.py", directory, directory / "result.json", num_processes=2)


@pytest.mark.parametrize("case", ["0 fp32", "2 fp32", "3 fp32", "2 bf16"])
def test_all_weights_survive_a_stage(whole, case):
    """Buffers that moved, frozen and unused parameters: resumed, exported and refreshed bit by bit."""
    found = whole[case]
    assert sorted(set(found["names"]) - set(found["moved"])) == ["model.norm.weight", "unused"]
    assert found["bias"] == "torch.float32"
    assert found["resumed"] == found["exported"] == found["reference"] == []
    assert not found["universal"], "a checkpoint of another number of processes"
    assert "model.layers.1.mlp.experts.3.up_proj.weight" in found["checkpoint"]
