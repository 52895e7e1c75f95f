"""The transformers engine's draws: hashed Gumbel noise whose argmax follows the softmax."""

import math

import pytest
import torch

from stages.engines.sampling.transformers_sampler import gumbel_noise


def test_noise_is_gumbel():
    """Mean: Euler's constant; variance: pi^2 / 6."""
    noise = gumbel_noise(torch.arange(2000) * 7, 300)
    assert noise.shape == (2000, 300) and noise.dtype == torch.float64
    assert noise.mean().item() == pytest.approx(0.5772157, abs=0.01)
    assert noise.var().item() == pytest.approx(math.pi**2 / 6, rel=0.01)


def test_noise_depends_on_the_number_and_the_token_alone():
    noise = gumbel_noise(torch.tensor([5, 6, 5]), 10)
    assert torch.equal(noise[0], noise[2]) and not torch.equal(noise[0], noise[1])
    assert torch.equal(gumbel_noise(torch.tensor([5]), 4), noise[:1, :4])
    assert abs(torch.corrcoef(gumbel_noise(torch.tensor([5, 6]), 5000))[0, 1].item()) < 0.05  # neighbours are unrelated


def test_its_argmax_draws_from_the_softmax():
    logits = torch.tensor([2.0, 0.0, 1.0, -1.0])
    drawn = (logits + gumbel_noise(torch.arange(20_000), 4)).argmax(-1)
    frequencies = torch.bincount(drawn, minlength=4) / 20_000
    torch.testing.assert_close(frequencies, torch.softmax(logits, -1), atol=0.012, rtol=0)
