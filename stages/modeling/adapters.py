"""Low-rank adapters on a loaded model, by peft: what is trained, what they are switched to, and what they amount to.

The model stays the object that it was; its linear layers are wrapped in place. So everything that works with a model
works with one that has adapters. Its weights are asked for by their original names, with the adapters added to them one
layer at a time: there is never a second copy of the whole model.

A second set of adapters, REFERENCE, is there where a stage refreshes its reference. With no set active the model is the
one that the stage began with, to the last bit.
"""

import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from stages.config import LoraConfig
from stages.modeling.adapter_targets import chosen_layers, chosen_whole, width_of
from stages.modeling.divided import peft_gathers, shape_of
from stages.modeling.divided import whole as whole_parameters
from stages.modeling.quantized import is_packed, shaped_like, unpacked
from stages.runtime.errors import InputError

if TYPE_CHECKING:
    from peft import LoraConfig as PeftConfig
    from transformers import PreTrainedModel

POLICY, REFERENCE = "default", "reference"  # names of the two sets of adapters; peft's own name for the first


@dataclass(frozen=True)
class WeightOfModel:
    """A weight of the model, by the name that it has without adapters."""

    name: str
    like: torch.Tensor  # has its shape and type; under ZeRO-3 it is a part
    parts: list[nn.Parameter]  # what has to be whole to compute it
    compute: Callable[[], torch.Tensor]  # the weight, with the adapters added; detached
    is_new: bool  # whether it has memory of its own


class Adapters:
    """The adapters of a model. Made by `add_adapters`."""

    def __init__(self, model: "PreTrainedModel", config: LoraConfig, targets: list[str], whole: list[str]):
        self.model, self.config = model, config
        self.targets, self.whole = targets, whole  # names of the layers with adapters, and of the modules trained whole

    def train_policy(self) -> None:
        """Makes the policy's adapters the ones that are active, and the only ones that are trained."""
        for layer in self._switched():
            layer.set_adapter(POLICY)

    @contextmanager
    def using(self, name: str | None) -> Iterator[None]:
        """Within the block the model computes with another set of adapters; None: with none, as the base.

        Nothing can be trained within the block.
        """
        switched = list(self._switched())
        trained = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        for layer in switched:
            if name is None:
                layer.enable_adapters(False)
            else:
                layer.set_adapter(name, inference_mode=True)
        try:
            yield
        finally:
            for layer in switched:
                layer.enable_adapters(True)
                layer.set_adapter(POLICY, inference_mode=True)
            for parameter in trained:
                parameter.requires_grad_(True)

    def weights(self, module: nn.Module, adapter: str = POLICY) -> Iterator[WeightOfModel]:
        """The model's parameters and persistent buffers, each once, in layer order, as without adapters.

        Args:
            module: The model, or a module around it; names are those in it.
            adapter: The set of adapters that is added.
        """
        from peft.tuners.lora import LoraLayer
        from peft.utils import ModulesToSaveWrapper

        layers = {name: part for name, part in module.named_modules() if isinstance(part, LoraLayer)}
        wrappers = {name: part for name, part in module.named_modules() if isinstance(part, ModulesToSaveWrapper)}
        seen = set()
        for name, tensor in module.state_dict(keep_vars=True).items():
            if not isinstance(tensor, torch.Tensor) or id(tensor) in seen:
                continue
            seen.add(id(tensor))
            owner, is_within_weight, _ = name.partition(".weight.")
            if is_within_weight and is_packed(_attribute(module, f"{owner}.weight")):
                continue  # its scales
            layer, _, rest = name.partition(".base_layer.")
            wrapper, _, inner = name.partition(".original_module.")
            if layer in layers and rest:
                is_adapted = rest == "weight"
                yield _of_layer(f"{layer}.{rest}", tensor, layers[layer] if is_adapted else None, adapter)
            elif wrapper in wrappers and inner:
                trained = _attribute(wrappers[wrapper].modules_to_save[adapter], inner)
                yield _of_layer(f"{wrapper}.{inner}", trained, None, adapter)
            elif not _is_within(name, layers, "lora_") and not _is_within(name, wrappers, "modules_to_save"):
                yield _of_layer(name, tensor, None, adapter)

    def state(self, module: nn.Module, adapter: str = POLICY) -> Iterator[tuple[str, nn.Parameter]]:
        """(name, parameter) of a set of adapters, and of the modules that are trained whole with it.

        Args:
            module: The model, or a module around it; names are those in it, without the name of the set.
            adapter: The set.
        """
        from peft.tuners.lora import LoraLayer
        from peft.utils import ModulesToSaveWrapper

        for path, part in module.named_modules():
            if isinstance(part, (LoraLayer, ModulesToSaveWrapper)):
                for kind in part.adapter_layer_names:
                    held = getattr(part, kind)
                    if adapter in held:
                        prefix = f"{path}.{kind}"
                        yield from _named(held[adapter], prefix)

    def put_on(self, model: "PreTrainedModel") -> None:
        """Puts adapters of the same kind on another copy of the model: a sampler's, which shares the weights."""
        with torch.random.fork_rng(devices=[]):
            _inject(model, self.config, self.targets, self.whole, POLICY)

    def _switched(self) -> Iterator[Any]:
        """The layers of the model that peft can switch."""
        from peft.tuners.tuners_utils import BaseTunerLayer
        from peft.utils import ModulesToSaveWrapper

        for module in self.model.modules():
            if isinstance(module, (BaseTunerLayer, ModulesToSaveWrapper)):
                yield module


def add_adapters(
    model: "PreTrainedModel",
    config: LoraConfig,
    seed: int,
    say: Callable[[str], None],
    has_reference: bool = False,
    whole: tuple[str, ...] = (),
    packed: bool = False,
) -> Adapters:
    """Puts adapters on a model and freezes everything else.

    Args:
        model: Loaded, and checked (`stages/modeling/ready.py`).
        config: Its rank is over 0.
        seed: Of the adapters' first weights.
        say: Takes a line for people.
        has_reference: Whether there is a second set, for a reference that is refreshed.
        whole: Modules that are trained whole besides those of the configuration: the head of a reward model.
        packed: Whether the model's rows are packed, see `stages/modeling/attention.py`.

    Raises:
        InputError: A layer that is named is not there, or cannot have adapters; the rank is larger than the model.
    """
    if config.rank > width_of(model):
        raise InputError(
            f"lora.rank {config.rank} is larger than the width of the model, {width_of(model)}: an adapter of the rank "
            f"{width_of(model)} can be any change of a layer; 8 to 64 is usual"
        )
    targets = chosen_layers(model, config.targets, packed)
    trained_whole = [*chosen_whole(model, config.whole, targets), *whole]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        trained = [part for name in trained_whole for part in model.get_submodule(name).parameters()]
        with peft_gathers(model), whole_parameters(trained):  # copies of these are trained
            for adapter in (POLICY, REFERENCE)[: 1 + has_reference]:
                _inject(model, config, targets, trained_whole, adapter)
    adapters = Adapters(model, config, targets, trained_whole)
    adapters.train_policy()
    if config.rank == width_of(model):
        _start_at_full_rank(model)
    count = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    total = sum(math.prod(shape_of(weight.like)) for weight in adapters.weights(model))
    say(
        f"adapters of rank {config.rank} on {len(targets)} layers: {count} of {total} parameters are trained"
        + (f", {', '.join(trained_whole)} whole" if trained_whole else "")
    )
    return adapters


def _inject(model: "PreTrainedModel", config: LoraConfig, targets: list[str], whole: list[str], adapter: str) -> None:
    """Puts a set of adapters on exactly these layers.

    The layers are named as a state has them: in `target_modules` peft looks for the names that experts had in older
    versions of transformers, and puts adapters on experts that nobody has named.
    """
    from peft import inject_adapter_in_model

    from stages.modeling.fused_adapters import fuse

    names = {f"{target}.lora_A.weight": torch.empty(0) for target in targets}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that fan_in_fan_out follows the kind of a layer
        inject_adapter_in_model(peft_settings(config, [], whole), model, adapter, state_dict=names)
    fuse(model)


def peft_settings(config: LoraConfig, targets: list[str], whole: list[str]) -> "PeftConfig":
    """What peft is told; `targets`, `whole`: names of the layers with adapters, and of the modules trained whole."""
    from peft import LoraConfig as PeftConfig

    return PeftConfig(
        r=config.rank,
        lora_alpha=config.alpha,  # type: ignore[arg-type]  # peft says int, and divides it
        lora_dropout=config.dropout,
        target_modules=targets,
        modules_to_save=whole or None,
        use_rslora=config.rslora,
        use_dora=config.dora,
        bias="none",
    )


@torch.no_grad()
def _start_at_full_rank(model: "PreTrainedModel") -> None:
    """Makes adapters of full rank train as the layers themselves would.

    The factor on a side that is no wider than the rank becomes the identity and stays so; the other one starts at zero,
    and has the very gradient that the layer's own weight would have.
    """
    from peft.tuners.lora import LoraLayer

    for layer in model.modules():
        for name in layer.lora_A if isinstance(layer, LoraLayer) else []:
            first: Any = layer.lora_A[name].weight  # [rank, in]
            second: Any = layer.lora_B[name].weight  # [out, rank]
            rank, num_in, num_out = len(first), first.shape[1], len(second)
            if min(num_in, num_out) > rank:
                continue
            fixed, free = (first, second) if num_in <= rank else (second, first)
            nn.init.eye_(fixed)
            nn.init.zeros_(free)
            fixed.requires_grad_(False)


def _of_layer(name: str, tensor: torch.Tensor, layer: Any, adapter: str) -> WeightOfModel:
    """The description of one weight; `layer`: the layer of peft whose weight it is, None where nothing is added."""
    own = [tensor] if isinstance(tensor, nn.Parameter) else []
    like = shaped_like(tensor)
    if layer is None:
        return WeightOfModel(name, like, own, lambda: unpacked(tensor), is_new=is_packed(tensor))
    of_adapter = [parameter for held in _held_by(layer, adapter) for parameter in held.parameters()]
    return WeightOfModel(name, like, [*own, *of_adapter], lambda: _merged(layer, adapter), is_new=True)


def _held_by(layer: Any, adapter: str) -> list[nn.Module]:
    """The modules in which a layer of peft holds a set of adapters."""
    holders = [getattr(layer, kind) for kind in layer.adapter_layer_names]
    return [held[adapter] for held in holders if adapter in held]


@torch.no_grad()
def _merged(layer: Any, adapter: str) -> torch.Tensor:
    """The weight of a layer with its adapter added, in memory of its own; the layer stays as it is."""
    weight = layer.get_base_layer().weight
    if adapter not in layer.lora_variant:
        plain = unpacked(weight)
        return plain + layer.get_delta_weight(adapter).to(plain.dtype)
    before = weight.data  # DoRA: peft puts another tensor in its place
    layer.merge(safe_merge=False, adapter_names=[adapter])
    merged, weight.data = weight.data, before
    layer.merged_adapters.clear()
    return merged


def _is_within(name: str, parts: dict[str, Any], kind: str) -> bool:
    """Whether a name is one of those that peft has added below one of these modules."""
    places = [place for place in range(len(name)) if name.startswith(f".{kind}", place)]
    return any(name[:place] in parts for place in places)


def _attribute(module: nn.Module, path: str) -> torch.Tensor:
    """The parameter or buffer of a module at a dotted path."""
    for step in path.split("."):
        module = getattr(module, step)
    return module  # type: ignore[return-value]  # the last step is a tensor


def _named(held: Any, prefix: str) -> Iterator[tuple[str, nn.Parameter]]:
    """(name, parameter) of what holds one set of adapters: a module, or a bare parameter."""
    if isinstance(held, nn.Parameter):
        yield prefix, held
        return
    for name, parameter in held.named_parameters():
        yield f"{prefix}.{name}", parameter
