"""Learning-rate schedules by hand; Muon's orthogonalisation; an optimizer that continues bit for bit."""

import io
import math

import pytest
import torch

from stages.config import OptimConfig
from stages.engines.optimizers import (
    ReplicatedOptimizer,
    _shares,
    learning_rate_factor,
    orthogonalize,
    set_learning_rate,
)


def factors(num_steps: int, steps, **config) -> list[float]:
    return [learning_rate_factor(step, num_steps, OptimConfig(**config)) for step in steps]


def test_warm_up_then_constant():
    assert factors(10, range(6), warmup_steps=4) == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]
    assert factors(10, (0, 9)) == [1.0, 1.0]


def test_linear():
    assert factors(10, (0, 5, 9), schedule="linear") == pytest.approx([1.0, 0.5, 0.1])
    assert factors(10, (0, 5), schedule="linear", min_lr_ratio=0.1) == pytest.approx([1.0, 0.55])


def test_plateau_then_linear():
    """40% of 10 steps held, then 6 steps down."""
    assert factors(10, (0, 4, 7, 9), schedule="linear", constant_fraction=0.4) == pytest.approx([1.0, 1.0, 0.5, 1 / 6])


def test_cosine_to_a_tenth():
    """The paper's SFT: 5e-5 to 5e-6."""
    assert factors(100, (0, 50, 100), schedule="cosine", min_lr_ratio=0.1) == pytest.approx([1.0, 0.55, 0.1])
    quarter = 0.1 + 0.9 * (0.5 + 0.5 * math.cos(math.pi / 4))
    assert factors(100, (25,), schedule="cosine", min_lr_ratio=0.1) == pytest.approx([quarter])


def test_warm_up_multiplies_the_decay():
    assert factors(10, (0, 1), schedule="linear", warmup_steps=2) == pytest.approx([0.5, 0.9])


def test_set_learning_rate_keeps_the_peaks():
    optimizer = torch.optim.SGD([{"params": [torch.zeros(1)], "lr": 0.4}, {"params": [torch.zeros(1)], "lr": 0.02}])
    assert set_learning_rate(optimizer, 0.5) == 0.2
    assert set_learning_rate(optimizer, 0.25) == 0.1
    assert [group["lr"] for group in optimizer.param_groups] == [0.1, 0.005]


@pytest.mark.parametrize("shape", [(8, 8), (8, 20)])
def test_orthogonalize_keeps_directions_and_levels_singular_values(shape):
    generator = torch.Generator().manual_seed(0)
    u, _, v = torch.linalg.svd(torch.randn(3, *shape, generator=generator), full_matrices=False)
    matrices = u @ torch.diag_embed(torch.linspace(1.0, 5.0, 8).expand(3, 8)) @ v
    result = orthogonalize(matrices)
    values = torch.linalg.svdvals(result)
    assert values.min() > 0.65 and values.max() < 1.25
    core = u.transpose(1, 2) @ result @ v.transpose(1, 2)  # diagonal: the singular vectors are the input's
    torch.testing.assert_close(core, torch.diag_embed(core.diagonal(dim1=1, dim2=2)), atol=2e-5, rtol=0)


def test_shares_cover_everything_once():
    for count in range(8):
        for world in (1, 2, 3):
            assert [i for share in _shares(count, world) for i in range(count)[share]] == list(range(count))


def build(name: str):
    torch.manual_seed(0)
    model = torch.nn.ModuleDict(
        {
            "embed": torch.nn.Embedding(7, 6),
            "up": torch.nn.Linear(6, 12),
            "down": torch.nn.Linear(12, 6),
            "lm_head": torch.nn.Linear(6, 7),
        }
    )
    return model, ReplicatedOptimizer(
        model.named_parameters(), OptimConfig(name=name, lr=1e-2, muon_lr=2e-2, weight_decay=0.01, grad_clip=1.0)
    )


def train(model, optimizer, steps) -> None:
    for step in steps:
        set_learning_rate(optimizer, 1 / (1 + step))
        ids = torch.randint(0, 7, (5,), generator=torch.Generator().manual_seed(step))
        loss = model["lm_head"](model["down"](model["up"](model["embed"](ids)).relu())).logsumexp(-1).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_a_loaded_optimizer_continues_bit_for_bit(name):
    model, optimizer = build(name)
    train(model, optimizer, range(3))
    stream = io.BytesIO()
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, stream)
    train(model, optimizer, range(3, 6))
    other, other_optimizer = build(name)
    state = torch.load(io.BytesIO(stream.getvalue()))
    other.load_state_dict(state["model"])
    other_optimizer.load_state_dict(state["optimizer"])
    train(other, other_optimizer, range(3, 6))
    for (key, value), again in zip(model.state_dict().items(), other.state_dict().values()):
        assert torch.equal(value, again), key


def test_muon_takes_hidden_matrices_only():
    model, optimizer = build("muon")
    muon = {id(p) for p in optimizer.param_groups[1]["params"]}
    assert {name for name, p in model.named_parameters() if id(p) in muon} == {"up.weight", "down.weight"}
    assert len(build("adamw")[1].param_groups) == 1


def test_clipping_and_the_reported_norm():
    """Gradient (3, 4) has norm 5; clipped to 1 it is (0.6, 0.8). AdamW's first step is the sign, whatever the size."""
    parameter = torch.nn.Parameter(torch.zeros(2))
    optimizer = ReplicatedOptimizer([("x", parameter)], OptimConfig(lr=0.1, eps=1e-12, grad_clip=1.0))
    parameter.grad = torch.tensor([3.0, 4.0])
    optimizer.step()
    assert optimizer._global_grad_norm == pytest.approx(5.0)
    torch.testing.assert_close(parameter.grad, torch.tensor([0.6, 0.8]))
    torch.testing.assert_close(parameter.data, torch.tensor([-0.1, -0.1]))
