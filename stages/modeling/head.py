"""What a family computes between its decoder's last hidden states and the logits, as a function of hidden states.

Many families do more there than a product with the vocabulary: Granite divides the logits, Cohere and Falcon-H1
multiply them, Gemma 2 caps them, BERT has a layer of its own. So the family's own forward pass computes them, with the
decoder replaced by one that returns the given hidden states; a batch can then be cut into chunks. Where a plain product
gives the same bits, that product is used.
"""

import copy
import functools
from typing import TYPE_CHECKING, Any, Literal, cast

import torch
from torch import nn

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# How much larger the second of two hidden states is that heads are compared on. Logits of random weights are small: a
# cap would hardly show.
LARGER = 30.0

Kind = Literal["linear", "capped", "own"]


class GivenHiddenStates:
    """Stands for a decoder in its model's forward pass: returns these hidden states, and has what the decoder has."""

    def __init__(self, decoder: nn.Module, hidden_1ND: torch.Tensor):
        self.decoder, self.hidden_1ND = decoder, hidden_1ND

    def __call__(self, *_: Any, **__: Any) -> Any:
        """The decoder's output, with nothing in it but the last hidden states."""
        return _output_class()(last_hidden_state=self.hidden_1ND)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.decoder, name)  # Falcon-H1 keeps its head's multiplier there


@functools.cache
def _output_class() -> type:
    """The class of what a decoder returns, in which everything that is not there reads as None."""
    from transformers.modeling_outputs import BaseModelOutputWithPast

    class Output(BaseModelOutputWithPast):
        def __getattr__(self, name: str) -> None:
            if name.startswith("__"):
                raise AttributeError(name)

    return Output


def decoder_of(model: "PreTrainedModel") -> nn.Module:
    """The part of a causal LM that gives the last hidden states; the model itself where there is no such part."""
    decoder = model.get_decoder()
    if decoder is not model:
        return decoder
    parts = [part for part in model.children() if type(part).__name__.endswith("Model")]
    return parts[0] if len(parts) == 1 else model


def beside_decoder(model: "PreTrainedModel") -> list[nn.Parameter]:
    """The parameters of a causal LM that logits are made with: those that are not its decoder's, and the head's."""
    decoder, head = decoder_of(model), model.get_output_embeddings()
    within = {id(parameter) for parameter in decoder.parameters()} if decoder is not model else set()
    within -= {id(parameter) for parameter in head.parameters()} if head is not None else set()
    return [parameter for parameter in model.parameters() if id(parameter) not in within]


def own_logits(model: "PreTrainedModel", hidden_ND: torch.Tensor) -> torch.Tensor:
    """The logits [N, V] that the model's own forward pass gives after its decoder has given these hidden states."""
    decoder = decoder_of(model)
    path = next(name for name, module in model.named_modules() if module is decoder)
    assert path, f"{type(model).__name__} has no decoder of its own"
    stand_in = _with_part(model, path.split("."), GivenHiddenStates(decoder, hidden_ND[None]))
    ids_1N = torch.zeros(1, len(hidden_ND), dtype=torch.long, device=hidden_ND.device)
    return cast("PreTrainedModel", stand_in).forward(input_ids=ids_1N, use_cache=False).logits[0]


def _with_part(module: nn.Module, path: list[str], part: Any) -> nn.Module:
    """A copy of a module that shares everything with it but the part at `path`, which is replaced."""
    shell = copy.copy(module)
    first, *rest = path
    # an instance attribute comes before the registered module of the same name, which stays the original's
    shell.__dict__[first] = _with_part(getattr(module, first), rest, part) if rest else part
    return shell


def capped(logits: torch.Tensor, cap: float) -> torch.Tensor:
    """Logits between -cap and cap, as Gemma 2 has them."""
    return torch.tanh(logits / cap) * cap


def softcap_of(model: "PreTrainedModel") -> float | None:
    """What the family's configuration calls the cap of its final logits; None where it has none."""
    return getattr(model.config, "final_logit_softcapping", None)


@torch.no_grad()
def head_kind(model: "PreTrainedModel") -> Kind:
    """How logits come from hidden states, measured on random ones.

    Returns:
        "linear": by the product with the output embeddings alone, to the last bit; "capped": with a cap after it;
        "own": by something else, which only the model's own code computes.
    """
    head = model.get_output_embeddings()
    weight = getattr(head, "weight", None)
    if decoder_of(model) is model:
        return "linear"  # nothing of its own can be run; `checks.py` refuses the model if that is wrong
    if not isinstance(weight, torch.Tensor) or weight.dim() != 2:
        return "own"
    generator = torch.Generator().manual_seed(0)
    hidden_ND = torch.randn(2, weight.shape[1], generator=generator) * torch.tensor([[1.0], [LARGER]])
    hidden_ND = hidden_ND.to(weight.device, weight.dtype)
    was_training = model.training
    try:
        own_NV = own_logits(model.eval(), hidden_ND)
        plain_NV = head(hidden_ND[None])[0].to(own_NV.dtype)
    except (RuntimeError, ValueError, TypeError, AttributeError):
        return "own"
    finally:
        model.train(was_training)
    if torch.equal(own_NV, plain_NV):
        return "linear"
    cap = softcap_of(model)
    return "capped" if cap and torch.equal(own_NV, capped(plain_NV, cap)) else "own"
