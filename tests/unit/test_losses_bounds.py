"""Bounds of the losses: no ratio is infinite however far two policies are apart, and dual clip bounds bad tokens."""

import math

import pytest
import torch

from stages.config import ConfigError, GrpoConfig
from stages.modeling.losses import (
    CORRECTIONS,
    LOSSES,
    MAX_LOG_RATIO,
    Counts,
    clipped,
    correction_weights,
    k3,
    log_ratio,
    loss_terms,
)

ALONE, ONE = torch.tensor([0]), torch.tensor([1.0])  # a completion of one token


def one_token(name: str, log_ratio: float, advantage: float, dual: float = 0.0, **options) -> tuple[float, float]:
    """Loss and gradient of a token whose log(policy / old) and log(policy / reference) are `log_ratio`."""
    policy = torch.tensor([-0.5], requires_grad=True)
    others = policy.detach() - log_ratio
    terms = loss_terms(
        name,
        policy,
        others,
        others,
        torch.tensor([advantage]),
        ALONE,
        ONE,
        Counts(1, 1, 1),
        0.2,
        0.2,
        **options,
        dual_clip=dual,
    )
    terms.loss.backward()
    return terms.loss.item(), policy.grad.item()


@pytest.mark.parametrize("kl", ["k3", "k3_unbiased"])
@pytest.mark.parametrize("advantage", [1.0, 0.0, -1.0])
@pytest.mark.parametrize("distance", [-1000.0, -99.9, 99.9, 1000.0])
@pytest.mark.parametrize("name", LOSSES)
def test_no_distance_overflows(name, distance, advantage, kl):
    loss, gradient = one_token(name, distance, advantage, beta=0.1, kl=kl)
    assert math.isfinite(loss) and math.isfinite(gradient)


def test_the_ratio_ends_at_e_to_the_20():
    far = torch.tensor([50.0, -50.0, 20.0, -20.0])
    ratio = log_ratio(far, torch.zeros(4), torch.arange(4), torch.ones(4), "token")
    assert ratio.tolist() == [20.0, -20.0, 20.0, -20.0]
    assert one_token("grpo", 50.0, -2.0)[0] == pytest.approx(2 * math.exp(20), rel=1e-5)
    assert one_token("grpo", 50.0, -2.0)[1] == 0.0  # the value is constant there
    assert one_token("grpo", 3.0, -2.0)[1] == pytest.approx(2 * math.exp(3), rel=1e-5)


def test_k3_ends_above_and_draws_back_below():
    """Beyond e^20 the policy has all but given the token up: no gradient. Far below it is sure of what the reference
    rules out: the value is |d| - 1, and its gradient 1.
    """
    assert k3(torch.tensor(-100.0), torch.tensor(-1.0)).item() == pytest.approx(math.exp(20) - 21, rel=1e-6)
    policy = torch.tensor(-1.0, requires_grad=True)
    value = k3(policy, torch.tensor(-101.0))
    value.backward()
    assert value.item() == pytest.approx(99.0) and policy.grad.item() == pytest.approx(1.0)


@pytest.mark.parametrize("name", CORRECTIONS)
def test_weights_are_cut_at_any_distance(name):
    weights = correction_weights(
        name, torch.tensor([0.0, 0.0]), torch.tensor([-500.0, 500.0]), torch.tensor([0, 1]), 2, limit=2.0
    )
    assert weights.tolist() == [2.0 if name.endswith("truncate") else 0.0, 0.0]


def test_within_the_bounds_nothing_changes_by_a_bit():
    """The same operations without the bounds, on 10,000 distances up to 20: equal to the last bit, gradients too."""
    random = torch.Generator().manual_seed(0)
    policy = -(torch.rand(10_000, generator=random) * 5)
    old = policy + (torch.rand(10_000, generator=random) * 2 - 1) * (MAX_LOG_RATIO - 0.1)
    advantages = torch.randn(10_000, generator=random)

    def ours(leaf):
        ratio = log_ratio(leaf, old, torch.arange(10_000), torch.ones(10_000), "token")
        return (clipped(ratio, leaf, advantages, 0.2, 0.2)[0] + k3(leaf, old)).sum()

    def plain(leaf):
        ratio, d = (leaf - old).exp(), old - leaf
        return (-(ratio * advantages).minimum(ratio.clamp(0.8, 1.2) * advantages) + (d.exp() - d - 1)).sum()

    leaves = [policy.clone().requires_grad_() for _ in range(2)]
    values = [function(leaf) for function, leaf in zip((ours, plain), leaves)]
    for value in values:
        value.backward()
    assert torch.equal(*values) and torch.equal(leaves[0].grad, leaves[1].grad)


# ratio, advantage, dual, value of the loss, is the gradient gone. Clipped at 0.8 and 1.2.
DUAL_BY_HAND = [
    (5.0, -2.0, 0.0, 10.0, False),  # without it, 5 x 2
    (5.0, -2.0, 3.0, 6.0, True),  # at most 3 x 2
    (3.5, -2.0, 3.0, 6.0, True),
    (2.5, -2.0, 3.0, 5.0, False),
    (1.1, -2.0, 1.05, 2.1, True),  # inside the clip range as well
    (0.5, -2.0, 3.0, 1.6, True),  # the ordinary clip: 0.8 x 2
    (5.0, 2.0, 3.0, -2.4, True),  # good tokens are bounded by the ordinary clip: 1.2 x 2
    (0.1, 2.0, 3.0, -0.2, False),
    (5.0, 0.0, 3.0, 0.0, False),
]


@pytest.mark.parametrize("ratio, advantage, dual, value, is_gone", DUAL_BY_HAND)
def test_dual_clip(ratio, advantage, dual, value, is_gone):
    policy = torch.tensor([0.0], requires_grad=True)
    loss, is_clipped = clipped(policy + math.log(ratio), policy, torch.tensor([advantage]), 0.2, 0.2, dual)
    loss.sum().backward()
    assert loss.item() == pytest.approx(value, rel=1e-5) and is_clipped.item() == float(is_gone)
    assert policy.grad.item() == pytest.approx(0.0 if is_gone else -ratio * advantage, rel=1e-5)


def test_dual_clip_is_verls():
    """The formula of verl's compute_policy_loss_vanilla (core_algos.py), its log-ratio bounded too."""
    random = torch.Generator().manual_seed(1)
    log_ratios, advantages = torch.randn(2, 5_000, generator=random)
    log_ratios = 12 * log_ratios

    def verl(leaf):
        ratio = leaf.clamp(-20.0, 20.0).exp()
        first, second = -advantages * ratio, -advantages * ratio.clamp(0.8, 1.28)
        upper = torch.maximum(first, second)
        return torch.where(advantages < 0, torch.min(-advantages * 3.0, upper), upper)

    def ours(leaf):
        ratio = log_ratio(leaf, torch.zeros(5_000), torch.arange(5_000), torch.ones(5_000), "token")
        return clipped(ratio, leaf, advantages, 0.2, 0.28, 3.0)[0]

    leaves = [log_ratios.clone().requires_grad_() for _ in range(2)]
    values = [function(leaf) for function, leaf in zip((ours, verl), leaves)]
    for value in values:
        value.sum().backward()
    torch.testing.assert_close(*values)
    torch.testing.assert_close(leaves[0].grad, leaves[1].grad)


def test_dual_clip_reaches_every_clipped_loss():
    for name in LOSSES:
        bounded, free = (one_token(name, 3.0, -1.0, dual) for dual in (3.0, 0.0))
        assert (bounded == free) == (name == "cispo")


def test_gradients_are_those_of_the_value():
    """Finite differences, in float64, on both sides of every bound."""
    for start in (-25.0, -1.0, 0.0, 0.5, 2.0, 25.0):
        leaf = torch.tensor([start], dtype=torch.float64, requires_grad=True)

        def value(x):
            ratio = log_ratio(x, torch.zeros(1, dtype=torch.float64), ALONE, ONE.double(), "token")
            bounded, _ = clipped(ratio, x, torch.tensor([-1.5], dtype=torch.float64), 0.2, 0.2, 3.0)
            return bounded.sum() + k3(x, torch.zeros(1, dtype=torch.float64)).sum()

        assert torch.autograd.gradcheck(value, leaf, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize(
    "dual, loss, words", [(0.5, "grpo", "must be 0 .* or over 1"), (1.0, "grpo", "over 1"), (3.0, "cispo", "cispo")]
)
def test_dual_clips_that_mean_nothing_are_refused(dual, loss, words):
    with pytest.raises(ConfigError, match=words):
        GrpoConfig(dual_clip=dual, loss=loss)
