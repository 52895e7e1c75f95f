"""What is not finite is found wherever it lies, and ends a stage whatever health.on_alarm says."""

import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from stages.config import HealthConfig, OptimConfig, RewardConfig
from stages.contract import files
from stages.contract.inputs import StageInput
from stages.engines.finite import is_finite, named, non_finite_files, non_finite_state, require_finite_inputs
from stages.engines.optimizers import ReplicatedOptimizer
from stages.kinds.grpo import preference, scoring
from stages.kinds.grpo.groups import GroupSampler
from stages.kinds.grpo.update import _largest
from stages.runtime.errors import InputError
from stages.training.health import HealthWatch, RollBack, Unhealthy, inspector
from tests.support.rollouts import a_prompt, a_rollout, answered

HEALTHY = {"train/loss": 0.5, "train/grad_norm": 1.0, "train/lr": 1e-3}
HUGE = torch.full((4,), 3e38)  # whose sum overflows


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float8_e4m3fn, torch.float64])
def test_a_tensor_with_one_number_that_is_not_finite(dtype):
    values = torch.ones(1000)
    assert is_finite(values.to(dtype))
    values[617] = math.nan
    assert not is_finite(values.to(dtype))


def test_sums_that_overflow_or_cancel_do_not_deceive():
    assert is_finite(HUGE) and is_finite(torch.tensor([3, 4])) and is_finite(torch.zeros(0))
    assert not is_finite(torch.tensor([math.inf, -math.inf])) and not is_finite(torch.tensor([1.0, -math.inf]))


def trained(name="adamw"):
    """A module with a buffer, and an optimizer that has made a step."""
    module = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.BatchNorm1d(3))
    optimizer = ReplicatedOptimizer(module.named_parameters(), OptimConfig(name=name))
    module(torch.randn(4, 3)).square().sum().backward()
    optimizer.step()
    return module, optimizer


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_weights_buffers_and_moments_are_looked_at(name):
    module, optimizer = trained(name)
    assert non_finite_state(module, optimizer) == []
    with torch.no_grad():
        module[0].bias[1] = math.nan
    module[1].running_var[0] = math.inf
    module[1].register_buffer("mask", torch.tensor([-math.inf]), persistent=False)
    optimizer.adamw.state[module[1].weight]["exp_avg_sq"][0] = math.inf
    assert set(non_finite_state(module, optimizer)) == {
        "0.bias",
        "1.running_var",
        "exp_avg_sq of 1.weight in the optimizer's state",
    }
    if name == "muon":
        optimizer.state[module[0].weight]["momentum_buffer"][0, 0] = math.nan
        assert "momentum_buffer of 0.weight in the optimizer's state" in non_finite_state(module, optimizer)


def test_what_zero_keeps_is_looked_at():
    """Of a divided weight this rank's part; fp32 copies, which are no parameters of the module."""
    module = torch.nn.Linear(2, 2, bias=False)
    copy = torch.nn.Parameter(torch.tensor([1.0, math.inf]))
    optimizer = SimpleNamespace(state={copy: {"exp_avg": torch.zeros(2), "step": 3}})
    assert non_finite_state(module, optimizer) == ["fp32 copy of a part of the weights in the optimizer's state"]
    module.weight.ds_tensor = torch.tensor([math.nan])
    assert "weight" in non_finite_state(module, optimizer)


def test_a_gradient_that_is_not_finite_changes_nothing():
    for value in (math.inf, math.nan):
        module, optimizer = trained("muon")
        before = [p.detach().clone() for p in module.parameters()]
        module[0].weight.grad[0, 0] = value
        optimizer.step()
        assert all(torch.equal(p, old) for p, old in zip(module.parameters(), before))
        assert not math.isfinite(optimizer._global_grad_norm) and non_finite_state(module, optimizer) == []


def test_long_lists_of_names_are_cut():
    assert named(["a", "b"]) == "a, b" and named(list("abcde")) == "a, b, c and 2 more"


@pytest.fixture
def model(tmp_path) -> Path:
    """A model of two files, with a NaN in one of four tensors."""
    broken = torch.tensor([1.0, math.nan])
    save_file({"a": torch.ones(2), "b": torch.ones(2)}, tmp_path / "model-1.safetensors")
    (tmp_path / "helpful").mkdir()
    save_file({"c": broken, "d": torch.ones(2)}, tmp_path / "helpful" / "model-2.safetensors")
    return tmp_path


def test_files_of_a_model_are_looked_at_by_all_ranks_together(model):
    assert non_finite_files(model) == ["c"]
    assert [non_finite_files(model, rank, 3) for rank in range(3)].count(["c"]) == 1
    (model / "broken.safetensors").write_bytes(b"abc")  # which the loader refuses
    assert non_finite_files(model) == ["c"]


@pytest.mark.parametrize("stage, remedy", [("r1_zero", "+stage=r1_zero force=true"), (None, "give a sound copy")])
def test_a_stage_does_not_start_from_a_broken_model(stage, remedy, model):
    source = StageInput(stage=stage, path=str(model), model_dir=str(model), fingerprint="f")
    worker = SimpleNamespace(inputs={"policy": source, "data": source}, stage="evaluate", rank=0, world_size=1)
    with pytest.raises(InputError, match="NaN or infinite: c;") as caught:
        require_finite_inputs(worker)
    assert remedy in str(caught.value) and str(model) in str(caught.value)
    (model / "helpful" / "model-2.safetensors").unlink()
    require_finite_inputs(worker)


class Stage:
    """What a watch asks of a worker."""

    stage, is_main = "sft", True

    def __init__(self, directory):
        self.dir, self.lines = directory, []

    def say(self, line):
        self.lines.append(line)

    def agree(self, *flags):
        return list(flags)


BROKEN = [
    {"train/loss": math.nan},
    {"train/grad_norm": math.inf},
    {"helpful/loss": -math.inf},
    {"reward/mean": math.nan},
    {"policy/entropy": math.nan},
    {"policy/kl": math.inf},
    {"policy/mismatch_kl": math.nan},
    {"policy/probe_max": math.nan},
]


@pytest.mark.parametrize("on_alarm", ["warn", "stop", "rollback"])
@pytest.mark.parametrize("change", BROKEN, ids=lambda change: next(iter(change)))
def test_no_setting_lets_a_stage_go_on(change, on_alarm, tmp_path):
    watch = HealthWatch(Stage(tmp_path), HealthConfig(on_alarm=on_alarm))
    watch(1, HEALTHY)
    with pytest.raises(RollBack if on_alarm == "rollback" else Unhealthy):
        watch(2, {**HEALTHY, **change})


def test_a_stage_that_went_on_in_an_older_version_ends_at_its_next_step(tmp_path):
    files.append_jsonl(tmp_path / "metrics.jsonl", [{"step": 1, **HEALTHY, "train/loss": math.nan}])
    with pytest.raises(Unhealthy, match="train/loss is nan at step 2"):
        HealthWatch(Stage(tmp_path), HealthConfig())(2, {**HEALTHY, "train/loss": math.nan})


def test_means_of_nothing_are_no_alarm(tmp_path):
    HealthWatch(Stage(tmp_path), HealthConfig())(1, {**HEALTHY, "completion/language": math.nan, "reward/x": math.nan})
    assert not (tmp_path / "alarms.jsonl").exists()


@pytest.mark.parametrize(
    "norms, reason",
    [
        ([], "it is the first step"),
        ([1.0, 1.2, 0.9], "the steps before it looked well"),
        ([1.0, 1.0, 40.0], "grown from 1 to 40 before: the learning rate (0.001) is likely too high"),
    ],
)
def test_the_likely_reason_is_named(norms, reason, tmp_path):
    watch = HealthWatch(Stage(tmp_path), HealthConfig())
    for step, norm in enumerate(norms, 1):
        watch(step, {**HEALTHY, "train/grad_norm": norm})
    with pytest.raises(Unhealthy) as caught:
        watch(len(norms) + 1, {**HEALTHY, "train/loss": math.nan})
    assert reason in str(caught.value) and "lower optim.lr" in caught.value.fix
    assert "or go on all the same" not in caught.value.fix


@pytest.mark.parametrize("on_alarm, ends", [("warn", Unhealthy), ("stop", Unhealthy), ("rollback", RollBack)])
def test_a_state_that_is_not_finite_is_never_kept(on_alarm, ends, tmp_path):
    worker, config = Stage(tmp_path), HealthConfig(on_alarm=on_alarm)
    inspector(worker, SimpleNamespace(non_finite=list), config)(7)
    broken = SimpleNamespace(non_finite=lambda: ["model.norm.weight"])
    with pytest.raises(ends, match="step 7.*model.norm.weight"):
        inspector(worker, broken, config)(7)
    with pytest.raises(Unhealthy):
        inspector(worker, broken, config, can_go_back=False)(7)
    with pytest.raises(Unhealthy):  # there is nothing to go back to
        inspector(worker, broken, config)(0)


def test_the_largest_difference_does_not_lose_a_nan_among_the_ranks():
    assert _largest(torch.tensor([1.0, math.nan])).tolist() == [math.inf]
    assert _largest(torch.tensor([0.25, 0.5])).tolist() == [0.5]


def test_rewards_that_are_not_finite(monkeypatch):
    one = a_rollout(answered("28"))
    monkeypatch.setattr("stages.rewards.rules.language.part", lambda scored, weights: math.nan)
    scoring.apply_rules([one], RewardConfig(), 100)
    assert one.reward_parts["language"] == 0.0 and "language: ValueError: the part is nan" in one.grader_error
    one.reward_parts["accuracy"] = math.inf
    with pytest.raises(RuntimeError, match="the reward of a completion of prompt .* is inf"):
        scoring.set_rewards([one], RewardConfig(), None)


def test_a_reward_model_that_gives_nan_is_not_taken_for_the_best(monkeypatch):
    monkeypatch.setattr(preference, "reward_scores", lambda *arguments: [math.nan])
    scorer = preference.PreferenceScorer.__new__(preference.PreferenceScorer)
    scorer.models = {"helpful": SimpleNamespace(packed=False)}
    scorer.encoder = SimpleNamespace(sampled_target=lambda text: [2])
    scorer.micro_batch_tokens = 100
    one = a_rollout(answered("28"))
    one.prompt_ids = np.array([1])
    with pytest.raises(RuntimeError, match="the helpful reward model gives rewards that are NaN"):
        scorer._values("helpful", [one], ["28"])


def test_sampled_logprobs_that_are_not_finite():
    sampler = SimpleNamespace(worker=SimpleNamespace(stage="r1_zero"))
    placed = SimpleNamespace(prompt=a_prompt(id="p1"))
    completion = SimpleNamespace(logprobs=[-0.1, math.nan], token_ids=[1, 2], is_truncated=False)
    with pytest.raises(RuntimeError, match="logprobs that are NaN or infinite for prompt p1 in the rollout of step 3"):
        GroupSampler._rollout(sampler, placed, [1], completion, 3)
