"""Stages that train nothing compare their sampler with the model itself: what passes, and what is refused."""

import pytest
import torch

from scripts.family_tools.families import write_model
from stages.config import RolloutConfig
from stages.engines.sampling import Completion
from stages.engines.sampling.check import check_sampler, make_checked_sampler
from stages.engines.weights import named_weights
from stages.runtime.errors import InputError

ENGINE = RolloutConfig(engine="transformers")


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory):
    return write_model("DeepSeek-V3", tmp_path_factory.mktemp("models") / "model")


def test_a_sampler_of_the_model_passes(model_dir):
    before = torch.get_rng_state()
    sampler = make_checked_sampler(ENGINE, model_dir, 8, 4)
    assert torch.equal(torch.get_rng_state(), before) and sampler.stop_ids[0] == 2


class Other:
    """An engine that has weights of its own, whatever the directory says."""

    takes_checkpoint_names = True

    def __init__(self, engine):
        self.sample, self.asked = engine.sample, []

    def sync(self, weights):
        pass


@pytest.mark.parametrize("name", ["model.layers.1.mlp.experts.down_proj", "model.embed_tokens.weight"])
def test_one_stale_weight_is_refused(model_dir, name):
    engine = make_checked_sampler(ENGINE, model_dir, 8, 8)
    with torch.no_grad():
        dict(named_weights(engine.model))[name].mul_(1.3)
    with pytest.raises(InputError, match=r"rollout=vllm\) gives other logprobs .* use rollout=transformers"):
        check_sampler(Other(engine), RolloutConfig(engine="vllm"), model_dir, 8, "fp32")


def test_numbers_that_are_none_are_refused(model_dir):
    class Broken(Other):
        def __init__(self):
            self.sample = lambda prompts, seeds, n, *_, **__: [
                [Completion([5, 6, 7], [-5.0, float("nan"), -5.0], False)] * n for _ in prompts
            ]

    with pytest.raises(InputError, match="gives other logprobs"):
        check_sampler(Broken(), ENGINE, model_dir, 8, "fp32")
    with pytest.raises(InputError, match="gives other logprobs"):
        check_sampler(Broken(), ENGINE, model_dir, 8, "bf16")


def test_rounding_of_bf16_passes(model_dir):
    exact = make_checked_sampler(ENGINE, model_dir, 8, 8)
    check_sampler(Other(exact), ENGINE, model_dir, 8, "bf16")
