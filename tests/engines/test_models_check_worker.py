"""`models check` with the engines: both draw from the model itself, and vLLM takes a trainer's weights."""

import json

import pytest

from pipeline.__main__ import main
from stages.config import ModelConfig
from stages.modeling.model import new_model, save_model
from stages.worlds.tiny_world.tokenizer import build_tokenizer


@pytest.mark.parametrize(("num_heads", "vllm"), [(2, "ok"), (4, "note")])
def test_which_engines_can_use_a_model(tmp_path, capsys, num_heads, vllm):
    """Heads of 32 and of 16: vLLM on a CPU has kernels for the former only, which `note` says with the way out."""
    shape = ModelConfig(hidden_size=64, num_layers=2, num_heads=num_heads, num_kv_heads=1, intermediate_size=96)
    tokenizer = build_tokenizer()
    save_model(new_model(shape, tokenizer, 1), None, tokenizer, tmp_path / "model")
    assert main(["models", "check", str(tmp_path / "model"), "--json"]) == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])  # libraries of this process have printed before
    found = {finding["name"]: finding for finding in told["findings"]}
    assert found["transformers"]["level"] == "ok" and found["vllm"]["level"] == vllm, found
    assert vllm == "ok" or "rollout=transformers" in found["vllm"]["text"]
