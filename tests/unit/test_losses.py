"""The GRPO family on numbers worked by hand."""

import math

import pytest
import torch

from stages.modeling.losses import (
    ADVANTAGES,
    CORRECTIONS,
    LOSSES,
    Counts,
    advantages,
    cispo,
    clipped,
    correction_weights,
    is_zero_variance,
    k3,
    log_ratio,
    loss_terms,
    per_constant,
    per_sequence,
    per_token,
    sequence_mean,
)

LN2 = math.log(2)
close = torch.testing.assert_close


# 1 0: mean 0.5, sample standard deviation sqrt(0.5). 1 0 3 3: mean 1.75, squares sum to 6.75, standard deviation
# sqrt(6.75 / 3) = 1.5.
ADVANTAGES_BY_HAND = {
    "group": [[math.sqrt(0.5), -math.sqrt(0.5)], [0.0, 0.0]],
    "batch": [[1 / 3, -1 / 3], [0.0, 0.0]],
    "none": [[0.5, -0.5], [0.0, 0.0]],
}


@pytest.mark.parametrize("scale", ADVANTAGES)
def test_advantages(scale):
    close(advantages(torch.tensor([[1.0, 0.0], [3.0, 3.0]]), scale, eps=0.0), torch.tensor(ADVANTAGES_BY_HAND[scale]))


def test_group_advantages():
    """Rewards 1 0 1 0: mean 0.5, sample standard deviation sqrt(4 x 0.25 / 3) = 0.57735, to which eps is added."""
    rewards = torch.tensor([[1.0, 0.0, 1.0, 0.0]])
    close(advantages(rewards, eps=0.0), torch.tensor([[1.0, -1.0, 1.0, -1.0]]) * 0.5 / 0.57735027)
    close(advantages(rewards, eps=0.1), torch.tensor([[1.0, -1.0, 1.0, -1.0]]) * 0.5 / 0.67735027)


def test_group_advantages_do_not_mix_groups():
    close(
        advantages(torch.tensor([[1.0, 0.0], [10.0, 30.0]]), eps=0.0),
        torch.tensor([[1.0, -1.0], [-1.0, 1.0]]) / math.sqrt(2),
    )


@pytest.mark.parametrize("scale", ADVANTAGES)
def test_equal_rewards_have_no_advantage(scale):
    """One of them is a rounding error off; the group has no signal all the same."""
    rewards = torch.tensor([[0.3, 0.3, 0.30000004], [0.0, 1.0, 0.0]])
    assert rewards[0].unique().numel() == 2
    assert is_zero_variance(rewards).tolist() == [True, False]
    assert advantages(rewards, scale, eps=0.0)[0].tolist() == [0.0, 0.0, 0.0]
    assert advantages(rewards, scale)[1].abs().min() > 0.1


def test_k3():
    """policy 1/2, reference 1/4: d = -ln 2, so 1/2 + ln 2 - 1."""
    assert k3(torch.tensor(0.5).log(), torch.tensor(0.25).log()).item() == pytest.approx(0.5 + LN2 - 1, abs=1e-6)
    assert k3(torch.tensor(-1.3), torch.tensor(-1.3)).item() == 0.0


def test_k3_averages_to_the_divergence():
    policy, reference = torch.tensor([0.5, 0.5]), torch.tensor([0.25, 0.75])
    divergence = 0.5 * math.log(0.5 / 0.25) + 0.5 * math.log(0.5 / 0.75)
    assert (policy * k3(policy.log(), reference.log())).sum().item() == pytest.approx(divergence, abs=1e-6)


SEQUENCE, LENGTHS = torch.tensor([0, 0, 2]), torch.tensor([2.0, 0.0, 1.0])  # the second completion is empty


def test_sequence_mean():
    close(sequence_mean(torch.tensor([1.0, 2.0, 3.0]), SEQUENCE, LENGTHS), torch.tensor([1.5, 0.0, 3.0]))


def test_log_ratio():
    """A completion's log-ratio is the mean over its tokens: its exp is the geometric mean of the ratios 4 and 1: 2."""
    policy, old = (
        torch.tensor([math.log(0.8), math.log(0.5), math.log(0.3)]),
        torch.tensor([math.log(0.2), math.log(0.5), math.log(0.1)]),
    )
    close(log_ratio(policy, old, SEQUENCE, LENGTHS, "token").exp(), torch.tensor([4.0, 1.0, 3.0]))
    close(log_ratio(policy, old, SEQUENCE, LENGTHS, "sequence").exp(), torch.tensor([2.0, 2.0, 3.0]))


def one_token(objective, ratio: float, advantage: float, low: float, high: float) -> tuple[float, float, float]:
    """(value, gradient with respect to the policy's logprob, is it clipped); the policy's probability is 1/2."""
    policy = torch.tensor([-LN2], requires_grad=True)
    loss, is_clipped = objective(policy - (-LN2 - math.log(ratio)), policy, torch.tensor([advantage]), low, high)
    loss.sum().backward()
    return loss.item(), policy.grad.item(), is_clipped.item()


@pytest.mark.parametrize(
    "low, high, ratio, advantage, loss, is_clipped",
    [
        (0.2, 0.2, 1.5, 2.0, -2.4, 1.0),  # rises no further than 1.2 x 2
        (0.2, 0.2, 0.5, 2.0, -1.0, 0.0),  # a good token that lost probability keeps its gradient
        (0.2, 0.2, 1.5, -2.0, 3.0, 0.0),  # a bad token that gained probability keeps its gradient
        (0.2, 0.2, 0.5, -2.0, 1.6, 1.0),  # falls no further than 0.8 x -2
        (0.2, 0.2, 1.1, 2.0, -2.2, 0.0),
        (0.2, 0.2, 0.9, 2.0, -1.8, 0.0),
        (0.2, 0.2, 1.1, -2.0, 2.2, 0.0),
        (0.2, 0.2, 0.9, -2.0, 1.8, 0.0),
        (0.2, 0.2, 1.0, 2.0, -2.0, 0.0),
        (0.2, 0.2, 1.5, 0.0, 0.0, 0.0),
        (0.2, 0.5, 1.4, 1.0, -1.4, 0.0),
        (0.2, 0.5, 1.6, 1.0, -1.5, 1.0),
        (0.2, 0.5, 0.7, -1.0, 0.8, 1.0),  # above, more room than below
        (0.5, 0.2, 1.4, 1.0, -1.2, 1.0),
        (0.5, 0.2, 0.7, -1.0, 0.7, 0.0),
        (0.5, 0.2, 0.4, -1.0, 0.5, 1.0),
        (10.0, 10.0, 1.5, 1.0, -1.5, 0.0),
        (10.0, 10.0, 0.01, -1.0, 0.01, 0.0),  # [N]'s epsilon: 1 - 10 never binds, ratios up to 11 pass
        (10.0, 10.0, 12.0, 1.0, -11.0, 1.0),
        (10.0, 10.0, 12.0, -1.0, 12.0, 0.0),
    ],
)
def test_clipped(low, high, ratio, advantage, loss, is_clipped):
    gradient = 0.0 if is_clipped else -ratio * advantage
    assert one_token(clipped, ratio, advantage, low, high) == pytest.approx(
        (loss, gradient, is_clipped), rel=1e-5, abs=1e-6
    )


@pytest.mark.parametrize(
    "ratio, advantage, weight, is_clipped",
    [
        (0.5, 2.0, 0.5, 0.0),
        (0.5, -2.0, 0.5, 0.0),
        (1.1, 2.0, 1.1, 0.0),
        (1.5, 2.0, 1.2, 1.0),  # the weight is clipped, the gradient stays
        (1.5, -2.0, 1.2, 0.0),
    ],
)  # also where clipping the ratio would have taken nothing away
def test_cispo(ratio, advantage, weight, is_clipped):
    """-weight x A x log(1/2), and the weight is a constant: the gradient is -weight x A."""
    expected = (weight * advantage * LN2, -weight * advantage, is_clipped)
    assert one_token(cispo, ratio, advantage, 0.9, 0.2) == pytest.approx(expected, rel=1e-5, abs=1e-6)


@pytest.mark.parametrize(
    "weight, expected",
    [
        (per_sequence, [1 / 8, 1 / 4, 1 / 12]),  # 4 sequences; 2, no and 3 tokens
        (per_token, [0.1, 0.1, 0.1]),  # 10 tokens in the whole step
        (per_constant, [0.05, 0.05, 0.05]),
    ],
)  # 4 sequences of at most 5 tokens
def test_weights(weight, expected):
    """Of three completions in a step of four."""
    close(
        weight(torch.tensor([2.0, 0.0, 3.0]), Counts(num_sequences=4, num_tokens=10, max_tokens=5)),
        torch.tensor(expected),
    )


def test_a_step_without_tokens():
    assert per_token(torch.zeros(1), Counts(4, 0, 5)).isfinite().all()


# Trainer / sampler of two completions: 3 and 1/2, product 3/2; 3 and 2, product 6. The limit is 2.5.
CORRECTIONS_BY_HAND = {
    "token_truncate": [2.5, 0.5, 2.5, 2.0],
    "token_mask": [0.0, 0.5, 0.0, 2.0],
    "sequence_truncate": [1.5, 1.5, 2.5, 2.5],
    "sequence_mask": [1.5, 1.5, 0.0, 0.0],
}


@pytest.mark.parametrize("name", CORRECTIONS)
def test_corrections(name):
    trainer = torch.tensor([0.75, 0.125, 0.75, 0.5]).log().requires_grad_()
    weights = correction_weights(
        name, trainer, torch.tensor([0.25, 0.25, 0.25, 0.25]).log(), torch.tensor([0, 0, 1, 1]), 2, limit=2.5
    )
    close(weights, torch.tensor(CORRECTIONS_BY_HAND[name]))
    assert not weights.requires_grad


# Two of the step's four completions. The first has advantage 1 and ratios 2 and 1/2, the second advantage -1 and ratio
# 1.1; the policy gives
# its tokens 1/2, 1/4, 1/2. Clipped at 0.1 and 1.2 the objectives are -1.2, -0.5, 1.1; at the level of completions -1,
# -1, 1.1.
COUNTS = Counts(num_sequences=4, num_tokens=8, max_tokens=5)
LOSSES_BY_HAND = {  # value, gradient
    "grpo": ((-1.7 / 2 + 1.1) / 4, [0.0, -0.5 / 8, 1.1 / 4]),
    "bnpo": (-0.6 / 8, [0.0, -0.5 / 8, 1.1 / 8]),
    "dapo": (-0.6 / 8, [0.0, -0.5 / 8, 1.1 / 8]),
    "dr_grpo": (-0.6 / 20, [0.0, -0.5 / 20, 1.1 / 20]),
    "gspo": ((-1 + 1.1) / 4, [-1 / 8, -1 / 8, 1.1 / 4]),
    "cispo": ((1.2 + 0.5 * 2 - 1.1) * LN2 / 8, [-1.2 / 8, -0.5 / 8, 1.1 / 8]),
}


def test_all_are_worked_by_hand():
    assert (LOSSES_BY_HAND.keys(), ADVANTAGES_BY_HAND.keys(), CORRECTIONS_BY_HAND.keys()) == (
        LOSSES.keys(),
        ADVANTAGES.keys(),
        CORRECTIONS.keys(),
    )


@pytest.mark.parametrize("name", LOSSES)
def test_losses(name):
    policy = torch.tensor([0.5, 0.25, 0.5]).log().requires_grad_()
    old = torch.tensor([0.25, 0.5, 0.5 / 1.1]).log()
    terms = loss_terms(
        name,
        policy,
        old,
        None,
        torch.tensor([1.0, -1.0]),
        torch.tensor([0, 0, 1]),
        torch.tensor([2.0, 1.0]),
        COUNTS,
        0.9,
        0.2,
    )
    terms.loss.backward()
    close(terms.loss.item(), LOSSES_BY_HAND[name][0], rtol=1e-5, atol=1e-6)
    close(policy.grad, torch.tensor(LOSSES_BY_HAND[name][1]), rtol=1e-5, atol=1e-6)
    assert terms.is_clipped_N.tolist() == [float(name != "gspo"), 0.0, 0.0] and terms.kl_N.tolist() == [0.0, 0.0, 0.0]


def one_loss(
    ratio: float, advantage: float, beta: float, kl: str = "k3", correction: float | None = None
) -> tuple[float, float, float]:
    """Value, gradient and KL of one token that alone makes the step. The policy gives it 1/2, the reference 1/4."""
    policy = torch.tensor([-LN2], requires_grad=True)
    weights = None if correction is None else torch.tensor([correction])
    terms = loss_terms(
        "grpo",
        policy,
        torch.tensor([-LN2 - math.log(ratio)]),
        torch.tensor([-2 * LN2]),
        torch.tensor([advantage]),
        torch.tensor([0]),
        torch.tensor([1.0]),
        Counts(1, 1, 1),
        0.2,
        0.2,
        beta,
        kl,
        weights,
    )
    terms.loss.backward()
    assert not terms.kl_N.requires_grad
    return terms.loss.item(), policy.grad.item(), terms.kl_N.item()


KL = LN2 - 0.5  # exp(d) - d - 1 with d = -ln 2; its gradient 1 - exp(d) = 0.5


@pytest.mark.parametrize("ratio", [1.0, 3.0])
def test_kl_is_added_with_its_weight(ratio):
    assert one_loss(ratio, 0.0, beta=0.1) == pytest.approx((0.1 * KL, 0.1 * 0.5, KL), abs=1e-6)
    assert one_loss(1.1, 2.0, beta=0.1) == pytest.approx((-2.2 + 0.1 * KL, -2.2 + 0.1 * 0.5, KL), abs=1e-6)


@pytest.mark.parametrize("ratio", [1.0, 3.0])
def test_unbiased_kl_is_multiplied_by_the_ratio(ratio):
    """(ratio x k3)' = ratio x (k3 + k3') = ratio x log(policy / reference) = ratio x ln 2; the KL that is watched stays
    k3.
    """
    assert one_loss(ratio, 0.0, beta=0.1, kl="k3_unbiased") == pytest.approx(
        (0.1 * ratio * KL, 0.1 * ratio * LN2, KL), abs=1e-6
    )


def test_correction_spares_the_kl():
    assert one_loss(1.1, 2.0, beta=0.1, correction=0.5) == pytest.approx(
        (-1.1 + 0.1 * KL, -1.1 + 0.1 * 0.5, KL), abs=1e-6
    )
    assert one_loss(1.1, 2.0, beta=0.1, correction=0.0) == pytest.approx((0.1 * KL, 0.1 * 0.5, KL), abs=1e-6)


STEP = torch.tensor([3, 1, 4, 0, 5, 2])  # lengths; one completion is empty
STEP_COUNTS = Counts(num_sequences=8, num_tokens=20, max_tokens=6)


def in_parts(
    name: str, parts: list[list[int]], advantages_B: torch.Tensor | None = None, **options
) -> tuple[float, torch.Tensor]:
    """Loss and gradient, summed over forward passes that see these completions of STEP: random numbers, always the
    same.
    """
    policy, old, reference, correction = (
        torch.randn(4, int(STEP.sum()), generator=torch.Generator().manual_seed(0)) * 0.5
    )
    policy.requires_grad_()
    advantages_B = torch.tensor([1.0, -0.5, 0.25, 1.0, -1.0, 0.7]) if advantages_B is None else advantages_B
    completion = torch.arange(len(STEP)).repeat_interleave(STEP)
    loss = 0.0
    for part in parts:
        tokens = torch.cat([torch.where(completion == b)[0] for b in part])
        sequence = torch.arange(len(part)).repeat_interleave(STEP[part])
        terms = loss_terms(
            name,
            policy[tokens],
            old[tokens],
            reference[tokens],
            advantages_B[part],
            sequence,
            STEP[part].float(),
            STEP_COUNTS,
            0.2,
            0.28,
            correction_N=correction[tokens].exp(),
            **options,
        )
        terms.loss.backward()
        loss += terms.loss.item()
    return loss, policy.grad


@pytest.mark.parametrize(
    "parts", [[[0], [1], [2], [3], [4], [5]], [[0, 1, 2], [3, 4, 5]], [[4, 0], [3], [2, 5, 1]], [[5, 4, 3, 2, 1, 0]]]
)
@pytest.mark.parametrize("name", LOSSES)
def test_micro_batches_add_up(name, parts):
    for kl in ("k3", "k3_unbiased"):
        loss, gradient = in_parts(name, [[0, 1, 2, 3, 4, 5]], beta=0.1, kl=kl)
        assert gradient.abs().min() > 0
        assert in_parts(name, parts, beta=0.1, kl=kl)[0] == pytest.approx(loss, abs=1e-6)
        close(in_parts(name, parts, beta=0.1, kl=kl)[1], gradient, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", LOSSES)
def test_what_is_left_out_changes_nothing_else(name):
    """A masked completion: without completion 2 (tokens 4 to 7) the gradient of the others is the same."""
    gradient, without = (
        in_parts(name, [[0, 1, 2, 3, 4, 5]], beta=0.1)[1],
        in_parts(name, [[0, 1, 3, 4, 5]], beta=0.1)[1],
    )
    assert without[4:8].tolist() == [0.0] * 4 and gradient[4:8].abs().min() > 0
    close(torch.cat([without[:4], without[8:]]), torch.cat([gradient[:4], gradient[8:]]), rtol=0, atol=1e-7)


@pytest.mark.parametrize("name", LOSSES)
def test_without_advantage_and_kl_there_is_nothing_to_leave_out(name):
    """Dropping completions of a group of equal rewards is the same as keeping them, where beta is 0."""
    flat = torch.tensor([1.0, -0.5, 0.0, 1.0, -1.0, 0.0])
    (loss, gradient), (without_loss, without) = (
        in_parts(name, [part], advantages_B=flat) for part in ([0, 1, 2, 3, 4, 5], [0, 1, 3, 4])
    )
    assert gradient.abs().max() > 0 and without_loss == pytest.approx(loss, abs=1e-7)
    close(without, gradient, rtol=0, atol=1e-7)
