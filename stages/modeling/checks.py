"""Whether a loaded model gives in training what it gives by itself: measured on two short rows before a stage begins.

A family may do anything between tokens and logits that its class and configuration do not tell. So the
log-probabilities that training computes, padded or packed, are compared with the logits of the model's own forward pass
on one row alone.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

import torch

from stages.modeling.attention import CannotPack, packed_attention_on_trial
from stages.modeling.batching import TokenBatch, lay_out, lay_out_groups, pad_rows
from stages.runtime.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from stages.modeling.policy_model import PolicyModel
    from stages.modeling.reward_model import ScalarModel

# Largest difference of logprobs that is rounding: a share of the spread of the logits (root mean square around their
# mean), and what log-softmax alone gives, in nats. In bf16 a row in a batch of another shape may take another expert of
# a deep mixture; what a model must not see is then found by its gradient, which is exact.
ROUNDING = {torch.float32: 3e-4, torch.bfloat16: 0.25}
SMALLEST = 5e-6

FAILURES = (RuntimeError, ValueError, TypeError, AttributeError, LookupError, AssertionError, NotImplementedError)

# (tokens of the prompt, tokens of the completion). The last two share their prompt, and the last one is looked at: it
# is shorter than the first, so padded, and comes after others, whose tokens it must not see.
SHAPES = ((1, 4), (1, 1), (1, 2))


@dataclass(frozen=True)
class ShortRows:
    """Prompts and completions to try a model on."""

    prompts: list[list[int]]
    completions: list[list[int]]

    @property
    def looked_at(self) -> list[int]:
        """The token ids of the last row."""
        return self.prompts[-1] + self.completions[-1]

    def padded(self, pad_id: int, device: torch.device) -> TokenBatch:
        """The first and the last row, padded."""
        return self._lay_out([0, -1], pad_id, device, packed=False)

    def packed(self, pad_id: int, device: torch.device) -> TokenBatch:
        """All rows, packed as a stage of reinforcement learning packs them."""
        if device.type == "cpu":
            return lay_out_groups(self.prompts, self.completions, pad_id)
        return self._lay_out([0, 1, 2], pad_id, device, packed=True)

    def _lay_out(self, chosen: list[int], pad_id: int, device: torch.device, packed: bool) -> TokenBatch:
        pairs = [(self.prompts[i], self.completions[i]) for i in chosen]
        targets = [[False] * len(prompt) + [True] * len(completion) for prompt, completion in pairs]
        return lay_out([prompt + completion for prompt, completion in pairs], targets, pad_id, device, packed)


def short_rows(model: "PreTrainedModel") -> ShortRows:
    """Rows of random tokens, none of them one that the configuration gives a meaning."""
    config = model.config.get_text_config()
    special = {
        value for name, value in config.to_dict().items() if name.endswith("token_id") and isinstance(value, int)
    }
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randint(config.vocab_size, (64 + len(special),), generator=generator).tolist()
    usable = iter([token for token in drawn if token not in special] or [0] * 64)
    first, shared = list(islice(usable, SHAPES[0][0])), list(islice(usable, SHAPES[1][0]))
    return ShortRows([first, shared, shared], [list(islice(usable, length)) for _, length in SHAPES])


class SelfCheck:
    """What a model gives for a short row by itself, and how far what training computes is from it.

    Args:
        policy: A model on its device.
        pad_id: The token that pads rows.

    Raises:
        InputError: The model's own forward pass fails in this precision.
    """

    def __init__(self, policy: "PolicyModel", pad_id: int):
        self.policy, self.pad_id = policy, pad_id
        parameter = next(policy.parameters())
        self.device, self.dtype = parameter.device, parameter.dtype
        self.rows = short_rows(policy.model)
        try:
            self.own_N, self.spread = self._own_logprobs()
        except FAILURES as error:
            raise InputError(
                f"the forward pass of {type(policy.model).__name__} fails in {str(self.dtype).split('.')[-1]}: "
                f"{_first_line(error)}; where it is not fp32, try precision=fp32"
            ) from error

    @property
    def tolerance(self) -> float:
        """The largest difference of logprobs that is rounding, in nats."""
        return ROUNDING.get(self.dtype, ROUNDING[torch.bfloat16]) * self.spread + SMALLEST

    @torch.no_grad()
    def _own_logprobs(self) -> tuple[torch.Tensor, float]:
        """Logprobs [N] of the row's completion by the model's own forward pass, and the spread of its logits."""
        ids, completion = self.rows.looked_at, self.rows.completions[-1]
        with evaluating(self.policy):
            output = self.policy.model(input_ids=torch.tensor([ids], device=self.device), use_cache=False)
        logits_NV = output.logits[0, -len(completion) - 1 : -1].float()
        spread = (logits_NV - logits_NV.mean(-1, keepdim=True)).square().mean().sqrt().item()
        targets_N1 = torch.tensor(completion, device=self.device)[:, None]
        return torch.log_softmax(logits_NV, -1).gather(1, targets_N1)[:, 0], spread

    def why_not_padded(self) -> str | None:
        """What is wrong with padded rows, as a phrase; None where they give what the model gives by itself."""
        batch = self.rows.padded(self.pad_id, self.device)
        is_seen = torch.zeros(batch.input_ids.shape, dtype=torch.bool, device=self.device)
        is_seen[-1, : len(self.rows.looked_at) - 1] = True
        return self._judge(batch, is_seen, "padded", asks_gradient=self.dtype != torch.float32)

    def why_not_packed(self) -> str | None:
        """What is wrong with packed rows, as a phrase; None where they give what the model gives by itself."""
        batch = self.rows.packed(self.pad_id, self.device)
        assert batch.boundaries is not None
        is_seen = _tokens_of_last(batch.boundaries, batch.prefixes)[None]
        is_seen[0, -1] = False
        with packed_attention_on_trial(self.policy.model), self.policy.taking_packed_rows():
            return self._judge(batch, is_seen, "packed", asks_gradient=True)

    def _judge(self, batch: TokenBatch, is_seen: torch.Tensor, layout: str, asks_gradient: bool) -> str | None:
        """Compares the last row's logprobs with its own, and looks at which tokens they depend.

        Whether a token is seen is asked of the gradient, which is exact where a difference could pass for rounding.

        Args:
            batch: The rows.
            is_seen: Of the shape of `input_ids`: the tokens that the last row's targets may depend on.
            layout: What the rows are, for the message.
            asks_gradient: Whether the gradient is asked. In fp32 the difference of padded rows is as sure.
        """
        embedded: list[torch.Tensor] = []
        hook = self.policy.model.get_input_embeddings().register_forward_hook(lambda *call: embedded.append(call[-1]))
        try:
            with torch.set_grad_enabled(asks_gradient):
                logprobs_N, _ = self.policy(*batch.inputs, with_entropy=False)
            found_N = logprobs_N[batch.sequence_N == batch.sequence_N.max()][-len(self.own_N) :]
            gradient = torch.autograd.grad(found_N.sum(), embedded[0])[0] if asks_gradient else None
        except CannotPack as reason:
            return str(reason)
        except FAILURES as error:
            return f"a trial ended in {type(error).__name__}: {_first_line(error)}"
        finally:
            hook.remove()
        if gradient is not None and (gradient.shape[:-1] != is_seen.shape or gradient[~is_seen].any()):
            return f"in {layout} rows a token depends on later tokens, or on those of other sequences"
        difference = (found_N.detach() - self.own_N).abs().max().item()
        if not difference <= self.tolerance:
            return f"log-probabilities in {layout} rows differ by {difference:.1e} nats from those of a row by itself"
        return None


@torch.no_grad()
def reward_difference(scalar: "ScalarModel", pad_id: int) -> tuple[float, float]:
    """How far the reward of a short row in padded rows is from that of the row by itself, and what is rounding."""
    device = next(scalar.parameters()).device
    rows = short_rows(scalar.model)
    longer = rows.prompts[0] + rows.completions[0]
    own = scalar(pad_rows([rows.looked_at], pad_id, device)).item()
    padded = scalar(pad_rows([longer, rows.looked_at], pad_id, device))[-1].item()
    return abs(padded - own), ROUNDING[torch.float32] * abs(own) + 2 * SMALLEST


def why_rewards_not_packed(scalar: "ScalarModel", shares_prompts: bool = False) -> str | None:
    """What is wrong with rewards of packed rows, as a phrase; None where they are those of a row by itself.

    The gradient says whether a reward depends on other rows.

    Args:
        scalar: A model on its device.
        shares_prompts: Whether completions of one prompt are going to share its tokens, on the CPU.
    """
    from stages.modeling.reward_model import laid_out, laid_out_groups

    device = next(scalar.parameters()).device
    rows = short_rows(scalar.model)
    pad = scalar.pad_id
    # Rows end in a token that may be the one that pads: many tokenizers have one for both.
    completions = [[*completion, pad] for completion in rows.completions]
    looked_at, other = rows.prompts[-1] + completions[-1], rows.prompts[0] + completions[0]
    own = scalar(pad_rows([looked_at], pad, device)).item()
    if shares_prompts:
        inputs = laid_out_groups(rows.prompts, completions, pad)
    else:
        inputs = laid_out([other, looked_at], pad, device, packed=True)
    is_own_N = _tokens_of_last(inputs[3], inputs[5] if shares_prompts else None)
    embedded: list[torch.Tensor] = []
    hook = scalar.model.get_input_embeddings().register_forward_hook(lambda *call: embedded.append(call[-1]))
    try:
        with packed_attention_on_trial(scalar.model), evaluating(scalar), torch.enable_grad():
            found = scalar(*inputs)[-1]
            gradient = torch.autograd.grad(found, embedded[0])[0]
    except CannotPack as reason:
        return str(reason)
    except FAILURES as error:
        return f"a trial ended in {type(error).__name__}: {_first_line(error)}"
    finally:
        hook.remove()
    if gradient[0, ~is_own_N].any():
        return "in packed rows a reward depends on other rows"
    if not abs(found.item() - own) <= ROUNDING[torch.float32] * abs(own) + 2 * SMALLEST:
        return f"in packed rows a reward differs by {abs(found.item() - own):.1e} from that of the row by itself"
    return None


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


@contextmanager
def evaluating(module: torch.nn.Module) -> Iterator[None]:
    """Within the block the module is in evaluation mode."""
    was_training = module.training
    module.eval()
    try:
        yield
    finally:
        module.train(was_training)


def _tokens_of_last(boundaries: torch.Tensor, prefixes: torch.Tensor | None) -> torch.Tensor:
    """[total] which tokens of a packed row belong to its last sequence, its prompt included; see `TokenBatch`."""
    segment_N = torch.repeat_interleave(boundaries.diff())
    last = len(boundaries) - 2
    is_own_N = segment_N == last
    return is_own_N if prefixes is None else is_own_N | (segment_N == prefixes[last])
