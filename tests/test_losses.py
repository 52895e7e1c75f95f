"""The GRPO loss on numbers worked by hand."""
import math

import pytest
import torch

from stages.losses import advantages, grpo_terms, importance_ratio, is_zero_variance, k3, token_weights


def test_group_advantages():
    """Rewards 1 0 1 0: mean 0.5, sample standard deviation sqrt(4 x 0.25 / 3) = 0.57735."""
    rewards = torch.tensor([[1.0, 0.0, 1.0, 0.0]])
    torch.testing.assert_close(advantages(rewards, eps=0.0), torch.tensor([[1.0, -1.0, 1.0, -1.0]]) * 0.5 / 0.57735027)
    torch.testing.assert_close(advantages(rewards, eps=0.1), torch.tensor([[1.0, -1.0, 1.0, -1.0]]) * 0.5 / 0.67735027)


def test_group_advantages_do_not_mix_groups():
    rewards = torch.tensor([[1.0, 0.0], [10.0, 30.0]])
    torch.testing.assert_close(advantages(rewards, eps=0.0), torch.tensor([[1.0, -1.0], [-1.0, 1.0]]) / math.sqrt(2))


def test_batch_advantages():
    """1 0 3 3: mean 1.75, squares of the deviations sum to 6.75, standard deviation sqrt(6.75 / 3) = 1.5."""
    values = advantages(torch.tensor([[1.0, 0.0], [3.0, 3.0]]), "batch", eps=0.0)
    torch.testing.assert_close(values, torch.tensor([[1 / 3, -1 / 3], [0.0, 0.0]]))


def test_unscaled_advantages():
    torch.testing.assert_close(advantages(torch.tensor([[1.0, 0.0], [3.0, 3.0]]), "none"), torch.tensor([[0.5, -0.5], [0.0, 0.0]]))


@pytest.mark.parametrize("scale", ["group", "batch", "none"])
def test_equal_rewards_have_no_advantage(scale):
    """0.1 + 0.2 is not 0.3 in floating point; the group has no signal all the same."""
    rewards = torch.tensor([[0.1 + 0.2, 0.3, 0.3], [0.0, 1.0, 0.0]])
    assert is_zero_variance(rewards).tolist() == [True, False]
    assert advantages(rewards, scale, eps=0.0)[0].tolist() == [0.0, 0.0, 0.0]


def test_k3():
    """policy 1/2, reference 1/4: d = -ln 2, so 1/2 + ln 2 - 1."""
    value = k3(torch.tensor(0.5).log(), torch.tensor(0.25).log())
    assert value.item() == pytest.approx(0.5 + math.log(2) - 1, abs=1e-6)
    assert k3(torch.tensor(-1.3), torch.tensor(-1.3)).item() == 0.0


def test_k3_averages_to_the_divergence():
    policy, reference = torch.tensor([0.5, 0.5]), torch.tensor([0.25, 0.75])
    divergence = 0.5 * math.log(0.5 / 0.25) + 0.5 * math.log(0.5 / 0.75)
    assert (policy * k3(policy.log(), reference.log())).sum().item() == pytest.approx(divergence, abs=1e-6)


MASK = torch.tensor([[1.0, 1.0, 0.0], [1.0, 1.0, 1.0]])


@pytest.mark.parametrize("loss, expected", [
    ("grpo", [[1 / 8, 1 / 8, 0.0], [1 / 12, 1 / 12, 1 / 12]]),       # 4 sequences; 2 and 3 tokens
    ("dapo", [[0.1, 0.1, 0.0], [0.1, 0.1, 0.1]]),                    # 10 tokens in the whole step
    ("bnpo", [[0.1, 0.1, 0.0], [0.1, 0.1, 0.1]]),
    ("dr_grpo", [[0.05, 0.05, 0.0], [0.05, 0.05, 0.05]])])           # 4 sequences of at most 5 tokens
def test_token_weights(loss, expected):
    torch.testing.assert_close(token_weights(MASK, loss, num_sequences=4, num_tokens=10, max_tokens=5), torch.tensor(expected))


def test_token_weights_of_an_empty_row():
    assert token_weights(torch.zeros(1, 3), "grpo", 4, 10, 5).tolist() == [[0.0, 0.0, 0.0]]


def terms(ratio: float, advantage: float, epsilon: float = 0.2, **more):
    policy = torch.tensor([[math.log(ratio)]], requires_grad=True)
    loss, kl, is_clipped = grpo_terms(policy, torch.zeros(1, 1), more.get("reference"), torch.tensor([advantage]), torch.ones(1, 1), epsilon, epsilon,
                                      more.get("beta", 0.0))
    loss.sum().backward()
    return loss.item(), policy.grad.item(), is_clipped.item()


@pytest.mark.parametrize("ratio, advantage, loss, is_clipped", [
    (1.5, 2.0, -2.4, 1.0),      # rises no further than 1.2 x 2
    (0.5, 2.0, -1.0, 0.0),      # a good token that lost probability keeps its gradient
    (1.5, -2.0, 3.0, 0.0),      # a bad token that gained probability keeps its gradient
    (0.5, -2.0, 1.6, 1.0),      # falls no further than 0.8 x -2
    (1.1, 2.0, -2.2, 0.0), (1.1, -2.0, 2.2, 0.0)])
def test_clipping(ratio, advantage, loss, is_clipped):
    value, gradient, flag = terms(ratio, advantage)
    assert (value, flag) == (pytest.approx(loss, abs=1e-6), is_clipped)
    assert gradient == pytest.approx(0.0 if is_clipped else -ratio * advantage, abs=1e-6)


@pytest.mark.parametrize("ratio, advantage, loss, is_clipped", [
    (1.5, 1.0, -1.5, 0.0), (0.01, -1.0, 0.01, 0.0), (12.0, 1.0, -11.0, 1.0), (12.0, -1.0, 12.0, 0.0)])
def test_epsilon_ten_hardly_clips(ratio, advantage, loss, is_clipped):
    """The second RL stage's epsilon [N]: below, 1 - 10 never binds; above, ratios up to 11 pass."""
    value, _, flag = terms(ratio, advantage, epsilon=10.0)
    assert (value, flag) == (pytest.approx(loss, rel=1e-5), is_clipped)


def test_kl_is_added_with_its_weight():
    reference = torch.full((1, 1), -math.log(2))
    value, gradient, _ = terms(1.0, 0.0, beta=0.1, reference=reference)
    assert value == pytest.approx(0.1 * (0.5 + math.log(2) - 1), abs=1e-6)
    assert gradient == pytest.approx(0.1 * (1 - 0.5), abs=1e-6)  # d/dlogp (exp(d) - d - 1) = 1 - exp(d)


def test_sequence_ratio_is_the_geometric_mean():
    """Differences ln 2 and 0 over two tokens: sqrt 2 for both, whatever stands beyond the mask."""
    policy, mask = torch.tensor([[math.log(2), 0.0, 9.0]]), torch.tensor([[1.0, 1.0, 0.0]])
    torch.testing.assert_close(importance_ratio(policy, torch.zeros(1, 3), mask, "sequence"), torch.full((1, 3), math.sqrt(2)))
    torch.testing.assert_close(importance_ratio(policy, torch.zeros(1, 3), mask, "token"), torch.tensor([[2.0, 1.0, 1.0]]))


def test_sequence_level_clips_whole_sequences():
    policy, mask = torch.tensor([[math.log(2), 0.0], [0.1, 0.0]]), torch.ones(2, 2)
    loss, _, is_clipped = grpo_terms(policy, torch.zeros(2, 2), None, torch.tensor([1.0, 1.0]), mask, 0.2, 0.2, 0.0, "sequence")
    assert is_clipped.tolist() == [[1.0, 1.0], [0.0, 0.0]]
    torch.testing.assert_close(loss[1], torch.full((2,), -math.exp(0.05)))
