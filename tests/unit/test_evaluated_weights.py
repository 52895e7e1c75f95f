"""One engine for several models: whose weights it is given, and what becomes of a model that it cannot exchange."""

import shutil

import pytest
import torch
from safetensors.torch import save_file

from scripts.family_tools.families import make_model, write_model
from stages.config import EvaluateConfig, RolloutConfig
from stages.kinds.evaluation import models
from stages.runtime.errors import InputError


def test_weights_come_from_the_files_that_transformers_reads(tmp_path):
    """The published directories of some families have the same weights in another form beside them."""
    model = make_model("Qwen3-MoE")
    model.save_pretrained(tmp_path, max_shard_size="100KB")
    assert (tmp_path / "model.safetensors.index.json").exists()
    sharded = dict(models.weights_of(tmp_path))
    save_file({"layers.0.attention.wq.weight": torch.ones(2)}, tmp_path / "consolidated.safetensors")
    assert set(dict(models.weights_of(tmp_path))) == set(sharded)
    whole = tmp_path / "whole"
    model.save_pretrained(whole)
    shutil.copy(tmp_path / "consolidated.safetensors", whole)
    again = dict(models.weights_of(whole))
    assert set(again) == set(sharded) and all(torch.equal(again[name], sharded[name]) for name in again)


class Sampler:
    def __init__(self, fails: str):
        self.fails, self.is_closed, self.num_syncs = fails, False, 0

    def sync(self, weights):
        self.num_syncs += len(list(weights)) > 0
        if self.fails == "sync":
            raise InputError("vLLM does not take the weights")

    def close(self):
        self.is_closed = True


@pytest.mark.parametrize("fails", ["", "sync", "check"])
def test_a_model_whose_weights_cannot_be_exchanged_gets_an_engine_of_its_own(tmp_path, monkeypatch, fails):
    made, checked = [], []

    def make(*_, **__):
        made.append(Sampler(fails))
        return made[-1]

    def check(sampler, *_):
        checked.append(sampler)
        if fails == "check":
            raise InputError("other logprobs")

    monkeypatch.setattr(models, "make_checked_sampler", make)
    monkeypatch.setattr(models, "check_sampler", check)
    engine = models.Engine(EvaluateConfig(rollout=RolloutConfig(engine="vllm")))
    first, second = (write_model("Llama", tmp_path / str(seed), seed) for seed in (1, 2))
    assert engine.use(first, 8, 16) is made[0] and made[0].num_syncs == 0
    assert engine.use(second, 8, 16) is made[-1]
    assert len(made) == (2 if fails else 1) and made[0].is_closed == bool(fails) and made[0].num_syncs == 1
