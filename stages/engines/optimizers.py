"""Learning-rate schedules and the client optimizers that DeepSpeed drives."""

import itertools
import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
import torch.distributed as dist

from stages.config import OptimConfig


def learning_rate_factor(step: int, num_steps: int, config: OptimConfig) -> float:
    """Share of the peak learning rate at `step` (from 0) of `num_steps`.

    A linear warm-up, an optional plateau, then the decay to min_lr_ratio.
    """
    warmup = min(1.0, (step + 1) / config.warmup_steps) if config.warmup_steps else 1.0
    if config.schedule == "constant":
        return warmup
    plateau = config.constant_fraction * num_steps
    progress = max(0.0, step - plateau) / max(1.0, num_steps - plateau)  # 0 at the start of the decay, 1 at the end
    shape = 1 - progress if config.schedule == "linear" else 0.5 + 0.5 * math.cos(math.pi * progress)
    return warmup * (config.min_lr_ratio + (1 - config.min_lr_ratio) * shape)


def set_learning_rate(optimizer: torch.optim.Optimizer, factor: float) -> float:
    """Scales every group's peak rate; returns the first group's rate."""
    for group in optimizer.param_groups:
        group["lr"] = group.setdefault("peak_lr", group["lr"]) * factor
    return optimizer.param_groups[0]["lr"]


def orthogonalize(matrices: torch.Tensor, steps: int = 5) -> torch.Tensor:
    """Newton-Schulz iteration towards the nearest semi-orthogonal matrices, Jordan et al. 2024 (Muon).

    `matrices`: a stack [N, rows, columns] with no more rows than columns.
    """
    x = matrices / (matrices.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(steps):
        gram = x @ x.transpose(1, 2)
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    return x


def adamw(
    parameters: Iterable[torch.nn.Parameter], config: OptimConfig, fused: bool | None = None
) -> torch.optim.AdamW:
    """AdamW with the settings of the configuration. `fused`: torch's choice of kernel, None: its default."""
    beta1, beta2 = config.betas
    return torch.optim.AdamW(
        parameters, lr=config.lr, betas=(beta1, beta2), eps=config.eps, weight_decay=config.weight_decay, fused=fused
    )


class ReplicatedOptimizer(torch.optim.Optimizer):
    """AdamW, or Muon for hidden matrices plus AdamW for the rest, with gradient clipping.

    For replicated parameters (ZeRO stage 0). Muon's matrix work is divided over the ranks and its results gathered, so
    that two ranks do not do the same products twice. In fp32: torch.optim.Muon computes in bf16, which most CPUs
    emulate slowly. Leaves the norm of the gradient before clipping in `_global_grad_norm`, where DeepSpeed looks.
    """

    def __init__(self, named_parameters: Iterable[tuple[str, torch.nn.Parameter]], config: OptimConfig):
        named = [(name, p) for name, p in named_parameters if p.requires_grad]
        is_matrix = {
            name: config.name == "muon" and p.ndim == 2 and "embed" not in name and "lm_head" not in name
            for name, p in named
        }
        matrices = [p for name, p in named if is_matrix[name]]
        others = [p for name, p in named if not is_matrix[name]]
        groups: list[dict[str, Any]] = [{"params": others, "lr": config.lr, "is_muon": False}]
        if matrices:
            groups.append({"params": matrices, "lr": config.muon_lr, "is_muon": True})
        super().__init__(groups, {"momentum": 0.95})
        self.grad_clip = config.grad_clip
        self._global_grad_norm = 0.0
        self.adamw = adamw(others, config, fused=True)

    @torch.no_grad()
    def step(self, closure: Callable | None = None) -> None:  # type: ignore[override]  # no loss is computed here
        """Clips the gradients and makes one step; `closure` must be None.

        A gradient that is not finite changes nothing: its norm says so to the caller.
        """
        assert closure is None
        parameters = [p for group in self.param_groups for p in group["params"] if p.grad is not None]
        norm = torch.nn.utils.get_total_norm([p.grad for p in parameters])
        self._global_grad_norm = norm.item()
        if not math.isfinite(self._global_grad_norm):
            return
        if self.grad_clip:
            torch.nn.utils.clip_grads_with_norm_(parameters, self.grad_clip, norm)
        self.adamw.param_groups[0]["lr"] = self.param_groups[0]["lr"]
        self.adamw.step()
        for group in self.param_groups[1:]:
            self._muon_step(group)

    def _muon_step(self, group: dict[str, Any]) -> None:
        """One step of Muon for the matrices of a group, stacked by shape."""
        by_shape: dict[tuple[int, ...], list[torch.nn.Parameter]] = {}
        for p in group["params"]:
            by_shape.setdefault(tuple(p.shape), []).append(p)
        rank, world = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
        updates = []  # every rank's slice of every stack, in one flat tensor
        for shape, parameters in by_shape.items():
            directions = torch.stack([self._direction(p, group["momentum"]) for p in parameters])
            mine = _shares(len(parameters), world)[rank]
            transposed = shape[0] > shape[1]
            stack = directions[mine].transpose(1, 2) if transposed else directions[mine]
            result = orthogonalize(stack)
            directions.zero_()
            directions[mine] = result.transpose(1, 2) if transposed else result
            updates.append(directions)
        if world > 1:
            flat = torch.cat([u.reshape(-1) for u in updates])
            dist.all_reduce(flat)  # the other ranks' slices are zero: a sum is a gather
            updates = [part.view_as(u) for part, u in zip(flat.split([u.numel() for u in updates]), updates)]
        for (shape, parameters), stack in zip(by_shape.items(), updates):
            scale = group["lr"] * max(1.0, shape[0] / shape[1]) ** 0.5
            for p, update in zip(parameters, stack):
                p.add_(update, alpha=-scale)

    def _direction(self, p: torch.nn.Parameter, momentum: float) -> torch.Tensor:
        """The gradient with Nesterov momentum, in the shape of the matrix."""
        assert p.grad is not None, "every matrix has a gradient"
        buffer = self.state[p].setdefault("momentum_buffer", torch.zeros_like(p))
        buffer.mul_(momentum).add_(p.grad)
        return p.grad + momentum * buffer

    def state_dict(self) -> dict[str, Any]:
        """The state of this optimizer and of the AdamW within it."""
        return {"own": super().state_dict(), "adamw": self.adamw.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes over what `state_dict` gave."""
        super().load_state_dict(state["own"])
        self.adamw.load_state_dict(state["adamw"])


def _shares(count: int, world: int) -> list[slice]:
    """Contiguous shares of `count` items, one for each rank."""
    edges = [count * r // world for r in range(world + 1)]
    return [slice(a, b) for a, b in itertools.pairwise(edges)]
