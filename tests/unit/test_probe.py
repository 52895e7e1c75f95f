"""The sampler beside the trainer: when it needs a sync, and what the probe makes of a difference."""

from types import SimpleNamespace

import pytest

from stages.config import DeepSpeedConfig, GrpoConfig, RolloutConfig
from stages.kinds.grpo.probe import Probe, SamplerDisagrees, SyncedSampler, _way_out, probe_sampler
from stages.runtime.errors import InputError
from stages.runtime.failure import report_of
from tests.support.rollouts import a_row


class Engine:
    """What `SyncedSampler` asks of an engine."""

    def __init__(self, can_sleep: bool):
        self.can_sleep, self.taken = can_sleep, []

    def sync(self, weights):
        self.taken.append(list(weights))

    def sleep(self):
        return self.can_sleep


def test_a_sampler_knows_whose_weights_it_has():
    sampler = SyncedSampler(Engine(can_sleep=False))
    assert sampler.step == 0  # it was started with the policy's
    sampler.sync(3, iter([("a", 1)]))
    assert sampler.step == 3 and sampler.engine.taken == [[("a", 1)]]
    assert not sampler.sleep() and sampler.step == 3
    sampler.forget()
    assert sampler.step is None


def test_a_sampler_that_slept_has_no_weights():
    sampler = SyncedSampler(Engine(can_sleep=True))
    assert sampler.sleep() and sampler.step is None


def probed(difference: tuple[float, float], num_rollouts: int = 9, world_size: int = 1, **config):
    """What the probe says of this difference, and which rollouts it compared."""
    compared = []
    policy = SimpleNamespace(mismatch=lambda rollouts: compared.extend(rollouts) or difference)
    worker = SimpleNamespace(world_size=world_size, stage="r1_zero")
    settings = GrpoConfig(rollout=RolloutConfig(logprob_tolerance=0.5), agreement=1e-3, **config)
    rollouts = [a_row("", group=group) for group in range(num_rollouts)]
    return probe_sampler(worker, settings, policy, rollouts, step=4), [r.group for r in compared]


def test_a_few_rollouts_are_compared_evenly_spread():
    assert probed((0.0, 0.0))[1] == [0, 4] and probed((0.0, 0.0), world_size=2)[1] == [0, 2, 4, 6]
    assert probed((0.0, 0.0), num_rollouts=1)[1] == [0] and probed((0.0, 0.0), num_rollouts=0)[1] == []


def test_beyond_agreement_the_trainers_logprobs_count():
    assert probed((1e-3, 0.1))[0] == Probe(1e-3, 0.1, corrects=False)
    assert probed((2e-3, 0.1))[0] == Probe(2e-3, 0.1, corrects=True)
    assert not probed((2e-3, 0.1), correction="none")[0].corrects


@pytest.mark.parametrize("worst", [0.51, float("nan")])
def test_a_plainly_wrong_sampler_stops_the_run(worst):
    with pytest.raises(RuntimeError, match="after the weight sync of step 4 .*stages.r1_zero.rollout.logprob_toler"):
        probed((0.0, worst))


@pytest.mark.parametrize("engine, way_out", [("vllm", "use rollout=transformers"), ("transformers", "no sampler")])
def test_a_model_that_the_sampler_cannot_take_is_bad_input(engine, way_out):
    """Before anything was trained nothing but the kind of the model, or its precision, can be the cause."""
    policy = SimpleNamespace(mismatch=lambda rollouts: (0.4, 0.9))
    settings = GrpoConfig(rollout=RolloutConfig(engine=engine))
    with pytest.raises(InputError, match=f"before the first update .*{way_out}"):
        probe_sampler(SimpleNamespace(world_size=1, stage="r1_zero"), settings, policy, [a_row("")], step=0)


@pytest.mark.parametrize(
    "precision, tolerance, says", [("fp32", 1e-3, False), ("bf16", 0.2, True), ("bf16", 0.5, False)]
)
@pytest.mark.parametrize("engine", ["vllm", "transformers"])
def test_only_bf16_may_differ_by_rounding(engine, precision, tolerance, says):
    settings = GrpoConfig(
        deepspeed=DeepSpeedConfig(precision=precision),
        rollout=RolloutConfig(engine=engine, logprob_tolerance=tolerance),
    )
    assert ("set rollout.logprob_tolerance=0.5" in _way_out(settings)) == says


def test_a_sampler_that_goes_wrong_later_says_what_helps():
    with pytest.raises(SamplerDisagrees) as raised:
        probed((0.0, 0.9))
    assert report_of(raised.value, 0, "log").fix == f"if it does so again, {_way_out(GrpoConfig())}"


def test_a_sampler_that_starts_without_weights_is_synced_first():
    assert SyncedSampler(Engine(can_sleep=False), step=None).step is None
