"""Other people's families with the real engines: the most telling ones. scripts/check_families.py does it for all."""

import pytest

from scripts.family_tools.families import write_model
from scripts.family_tools.trials import run_grpo
from stages.contract.files import read_json
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


@pytest.fixture(scope="module")
def divided(tmp_path_factory) -> list[dict]:
    """What each of two ranks found."""
    directory = tmp_path_factory.mktemp("divided_model")
    result = directory / "result.json"
    return [
        run_script(ENGINE_SCRIPTS / "divided_model.py", directory, result, num_processes=2),
        read_json(second(result)),
    ]


def second(result):
    return result.with_name(f"{result.name}.1")


@pytest.mark.parametrize("family", ["Llama, tied", "Qwen3-MoE", "DeepSeek-V3", "GPT-2", "Gemma 3"])
def test_a_model_divided_as_it_is_read_is_the_same_model(divided, family):
    """No rank holds more than its half; what is tried before training and exported after it is that of the whole."""
    for found in (rank["families"][family] for rank in divided):
        assert found["held"] < 0.52 and found["held after trials"] < 0.52
        assert found["differs"] == found["differs after trials"] == found["export"]["other tensors"] == []
        assert found["ready"] == [True, True, True]
        in_shards = family in ("Llama, tied", "Qwen3-MoE")
        assert found["export"]["shards"] > 1 if in_shards else found["export"]["shards"] == 1
        if family != "Qwen3-MoE":  # whose shards transformers cuts between whole merged experts
            assert found["export"]["other files"] == []


def test_adapters_and_heads_go_on_divided_models(divided):
    for found in divided:
        assert found["adapters"] == {"plain": [], "dora": [], "whole": []}
        assert found["reward model"] == {"differs": [], "divided": True}


def test_what_is_wrong_with_a_model_is_said_when_it_is_divided_too(divided):
    for found in divided:
        bits, lost, shape, head, more = found["refusals"]
        assert "4 bits" in bits and "deepspeed=zero2" in bits
        assert "1 tensors that LlamaForCausalLM needs are missing: model.layers.1.mlp.up_proj.weight" in lost
        assert "model.layers.1.mlp.up_proj.weight is [3, 3]" in shape
        assert "tie_word_embeddings" in head
        assert "1 tensors are not of LlamaForCausalLM: model.layers.0.mlp.more.weight" in more
