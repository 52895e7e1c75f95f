"""Which models vLLM is known to be unable to sample from, before any engine starts; and the way out."""

import json

import pytest

from stages.config import RolloutConfig
from stages.engines import patches
from stages.engines.sampling import require_sampler
from stages.engines.vllm_models import require_vllm, why_not_vllm
from stages.runtime.errors import InputError

HEADS = {"hidden_size": 64, "num_attention_heads": 2}


def written(directory, **config):
    (directory / "config.json").write_text(json.dumps(config))
    return directory


@pytest.mark.parametrize(
    "config",
    [
        {"architectures": ["LlamaForCausalLM"], **HEADS},
        {"architectures": ["LlamaForCausalLM"], **HEADS, "head_dim": 128, "num_attention_heads": 5},
        {"architectures": ["GPT2LMHeadModel"], "n_embd": 128, "n_head": 2},
        {"architectures": ["GPTNeoXForCausalLM"], **HEADS},  # by transformers' code
        {"architectures": ["MambaForCausalLM"], "hidden_size": 64},  # only its engine says what a CPU lacks
        {"architectures": ["DeepseekV3ForCausalLM"], **HEADS, "kv_lora_rank": 512, "qk_rope_head_dim": 64},
        {"architectures": ["Gemma3ForConditionalGeneration"], "text_config": {**HEADS, "head_dim": 256}},
        {},
    ],
)
def test_nothing_speaks_against_these(tmp_path, config):
    assert why_not_vllm(written(tmp_path, **config), on_gpu=False) is None


@pytest.mark.parametrize(
    "config, why",
    [
        ({"architectures": ["LlamaForCausalLM"], **HEADS, "head_dim": 48}, "attention heads of 48"),
        ({"architectures": ["GPT2LMHeadModel"], "n_embd": 96, "n_head": 2}, "attention heads of 48"),
        ({"architectures": ["OwnForCausalLM"], "text_config": {**HEADS, "head_dim": 8}}, "for which vLLM has no code"),
        (
            {"architectures": ["DeepseekV3ForCausalLM"], **HEADS, "kv_lora_rank": 32, "qk_rope_head_dim": 32},
            "latent attention of 64",
        ),
    ],
)
def test_these_are_refused_with_the_way_out(tmp_path, config, why):
    directory = written(tmp_path, **config)
    with pytest.raises(InputError, match=f"{why}.*: use rollout=transformers"):
        require_vllm(directory, on_gpu=False)
    with pytest.raises(InputError, match=why):
        require_sampler(RolloutConfig(engine="vllm"), directory)
    require_sampler(RolloutConfig(engine="transformers"), directory)


def test_sizes_of_heads_are_a_matter_of_cpus(tmp_path):
    directory = written(tmp_path, architectures=["LlamaForCausalLM"], **HEADS, head_dim=48)
    assert why_not_vllm(directory, on_gpu=True) is None


def test_without_vllm_or_a_configuration_nothing_is_said(tmp_path, monkeypatch):
    assert why_not_vllm(tmp_path, on_gpu=False) is None  # whoever loads the model says that there is none
    monkeypatch.setattr(patches, "vllm_architectures", frozenset)
    assert why_not_vllm(written(tmp_path, architectures=["OwnForCausalLM"]), on_gpu=False) is None


def test_a_plan_need_not_import_transformers(tmp_path):
    directory = written(tmp_path, architectures=["OwnForCausalLM"], **HEADS)
    assert why_not_vllm(directory, on_gpu=False, looks_at_code=False) is None
