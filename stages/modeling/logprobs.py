"""Log-probabilities and entropies of tokens from logits, with their gradients, in as little memory as they need.

Two implementations of the same functions: `TokenLogprobs` for CPUs and `FusedTokenLogprobs` for GPUs. With logits z of
one token and p = softmax(z): log p(t) = z_t - log sum exp z, and H = log sum exp z - sum p z, in nats.
"""

import functools
from collections.abc import Callable
from typing import Any

import torch

LOGITS_PER_BLOCK = 1 << 19  # what one pass of log-softmax works on, on a CPU: what the caches hold


class TokenLogprobs(torch.autograd.Function):
    """Log-softmax at the targets, and entropies, on a CPU.

    The logits' memory becomes the probabilities' and then the gradient's, block by block, where autograd's own formulas
    keep four such buffers.
    """

    @staticmethod
    def forward(
        ctx: Any, logits_NV: torch.Tensor, targets_N: torch.Tensor, with_entropy: bool
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Computes logprobs and entropies; the contents of `logits_NV` are lost.

        Args:
            ctx: Autograd's context.
            logits_NV: [N, V] fp32, already divided by the temperature.
            targets_N: [N] token ids.
            with_entropy: Whether entropies are wanted; they have no gradient.

        Returns:
            Logprobs [N] and entropies [N] (nats; zeros unless wanted).
        """
        logits_NV = logits_NV.detach()
        rows = max(1, LOGITS_PER_BLOCK // logits_NV.shape[1])
        logprobs, entropies = [], []
        for shifted_bV, targets_b in zip(logits_NV.split(rows), targets_N.split(rows)):
            shifted_bV.sub_(shifted_bV.max(1, keepdim=True).values)
            chosen_b = shifted_bV.gather(1, targets_b[:, None])[:, 0]
            exponentials_bV = shifted_bV.exp()
            sums_b = exponentials_bV.sum(1)
            log_sums_b = sums_b.log()
            logprobs.append(chosen_b - log_sums_b)
            if with_entropy:
                entropies.append(log_sums_b - shifted_bV.mul_(exponentials_bV).sum(1) / sums_b)
            torch.div(exponentials_bV, sums_b[:, None], out=shifted_bV)
        logprobs_N = torch.cat(logprobs)
        entropies_N = torch.cat(entropies) if with_entropy else torch.zeros_like(logprobs_N)
        ctx.save_for_backward(logits_NV, targets_N)  # probabilities by now
        ctx.mark_non_differentiable(entropies_N)
        return logprobs_N, entropies_N

    @staticmethod
    def backward(ctx: Any, gradient_N: torch.Tensor, _: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        """Gradient of the logits [N, V]: d log p(t) / dz = onehot(t) - p."""
        probs_NV, targets_N = ctx.saved_tensors
        gradient_NV = probs_NV.mul_(-gradient_N[:, None])
        return gradient_NV.scatter_add_(1, targets_N[:, None], gradient_N[:, None]), None, None


class FusedTokenLogprobs(torch.autograd.Function):
    """The same on a GPU, where memory traffic is what it costs.

    Logits are read twice forward and once backward, in the precision they have, and only their gradient is written.
    Arithmetic is in fp32.
    """

    @staticmethod
    def forward(
        ctx: Any, logits_NV: torch.Tensor, targets_N: torch.Tensor, temperature: float, with_entropy: bool
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Computes logprobs and entropies of logits / temperature.

        Args:
            ctx: Autograd's context.
            logits_NV: [N, V] in any precision, not divided by the temperature.
            targets_N: [N] token ids.
            temperature: What logits are divided by.
            with_entropy: Whether entropies are wanted; they have no gradient.

        Returns:
            Logprobs [N] and entropies [N] (nats; zeros unless wanted), in fp32.
        """
        logits_NV = logits_NV.detach()
        log_sums_N, entropies_N = compiled(_log_sums)(logits_NV, temperature, with_entropy)
        ctx.save_for_backward(logits_NV, targets_N, log_sums_N)
        ctx.temperature = temperature
        ctx.mark_non_differentiable(entropies_N)
        return logits_NV.gather(1, targets_N[:, None])[:, 0].float() / temperature - log_sums_N, entropies_N

    @staticmethod
    def backward(ctx: Any, gradient_N: torch.Tensor, _: torch.Tensor) -> tuple[torch.Tensor, None, None, None]:
        """Gradient of the logits [N, V], in their precision."""
        return compiled(_logits_gradient)(*ctx.saved_tensors, gradient_N, ctx.temperature), None, None, None


@functools.cache
def compiled(function: Callable) -> Callable:
    """Compiles a function when it is first needed: torch.compile takes a second to import, and no CPU needs it."""
    return torch.compile(function, dynamic=True)


def _log_sums(logits_NV: torch.Tensor, temperature: float, with_entropy: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """log sum exp [N] and entropies [N] (zeros unless wanted) of logits / temperature."""
    scaled_NV = logits_NV.float() / temperature
    largest_N1 = scaled_NV.amax(1, keepdim=True)
    exponentials_NV = (scaled_NV - largest_N1).exp()
    sums_N = exponentials_NV.sum(1)
    log_sums_N = sums_N.log()
    entropies_N = (
        log_sums_N - ((scaled_NV - largest_N1) * exponentials_NV).sum(1) / sums_N
        if with_entropy
        else torch.zeros_like(log_sums_N)
    )
    return log_sums_N + largest_N1[:, 0], entropies_N


def _logits_gradient(
    logits_NV: torch.Tensor,
    targets_N: torch.Tensor,
    log_sums_N: torch.Tensor,
    gradient_N: torch.Tensor,
    temperature: float,
) -> torch.Tensor:
    """d log p(t) / dz = (onehot(t) - p) / temperature."""
    probs_NV = (logits_NV.float() / temperature - log_sums_N[:, None]).exp()
    is_target_NV = torch.arange(logits_NV.shape[1], device=logits_NV.device) == targets_N[:, None]
    return ((is_target_NV.float() - probs_NV) * (gradient_N / temperature)[:, None]).to(logits_NV.dtype)
