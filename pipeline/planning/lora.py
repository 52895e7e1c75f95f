"""Adapters of low rank beside the model that they go on: what the plan refuses before any weight is loaded.

The headers of the weight files tell which layers there are and how large. The worker asks the model itself again
(stages/modeling/adapters.py), before it trains.
"""

import difflib
import importlib.util
import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from pipeline.configuration.model_directory import TINY_VOCABULARY, locate
from pipeline.configuration.schema import RunConfig
from pipeline.errors import MessageAndFix, MissingInput
from pipeline.planning.devices import num_gpus
from stages.config import LoraConfig, ModelConfig
from stages.config.lora import VLLM_RANKS
from stages.contract.linear_layers import Layer, is_tied, linear_layers, llama_layers, read_by_kernels
from stages.contract.safetensors_header import BadWeights

if TYPE_CHECKING:
    from pipeline.planning.plan import Step

HEADS = ("lm_head", "embed_out", "output", "embed_tokens", "embed_in", "wte", "word_embeddings")
SAMPLED = ("grpo",)  # kinds of stages whose sampler gets new weights as they train


def check_lora(config: RunConfig, steps: Iterable["Step"]) -> list[MessageAndFix]:
    """What is wrong with the adapters of the stages that are going to run, said once for what stages share."""
    errors: list[MessageAndFix] = []
    for step in steps:
        lora = getattr(step.config, "lora", None)
        if lora is None or not lora.is_on or step.is_made:
            continue
        where = _where(config, step.stage, lora)
        model = config.model_of(step.stage)
        layers = layers_of(model)
        if layers is not None:
            errors += _of_targets(lora, layers, model, where) or _of_rank(lora, layers, where)
        errors += _of_sampler(step, lora, model, where)
        errors += _of_quantization(config, step.config, lora, where)
    return list(dict.fromkeys(errors))


def _where(config: RunConfig, stage: str, lora: LoraConfig) -> str:
    """The key of a stage's adapters: the shared one, unless the stage has others."""
    return "lora" if lora == config.lora else f"stages.{config.node(stage).family or stage}.lora"


def layers_of(model: ModelConfig) -> list[Layer] | None:
    """The linear layers of a model by name; None for one that is not there or is damaged, which others say."""
    if model.path is None:
        return llama_layers(
            model.hidden_size,
            model.intermediate_size,
            model.num_layers,
            model.num_heads,
            model.num_kv_heads,
            TINY_VOCABULARY,
        )
    try:
        return linear_layers(locate(model.path, model.revision))
    except (MissingInput, BadWeights, OSError):
        return None


def targeted(lora: LoraConfig, layers: Sequence[Layer]) -> list[Layer]:
    """The layers that get adapters: the named ones, else all of the blocks."""
    if not lora.targets:
        return [layer for layer in layers if layer.is_in_block]
    return [layer for layer in layers if any(layer.is_target(target) for target in lora.targets)]


def adapter_parameters(lora: LoraConfig, layers: Sequence[Layer]) -> int:
    """Parameters that are trained: the adapters', and those of the modules that are trained whole."""
    adapters = sum(lora.rank * (layer.rows + layer.columns) for layer in targeted(lora, layers))
    lengths = sum(layer.rows for layer in targeted(lora, layers)) if lora.dora else 0
    whole = sum(layer.rows * layer.columns for layer in layers if any(layer.is_target(name) for name in lora.whole))
    return adapters + lengths + whole


def _of_targets(lora: LoraConfig, layers: Sequence[Layer], model: ModelConfig, where: str) -> list[MessageAndFix]:
    """Targets that the model has not got, and those that share a matrix with another module."""
    kinds = list(dict.fromkeys(layer.kind for layer in layers if layer.is_in_block))
    tied = model.tie_embeddings if model.path is None else is_tied(locate(model.path, model.revision), list(layers))
    unused = set() if model.path is None else read_by_kernels(locate(model.path, model.revision))
    errors = []
    for key, names in (("targets", lora.targets), ("whole", lora.whole)):
        for name in names:
            if tied and name.rpartition(".")[2] in HEADS:
                message = f"{where}.{key}: {name} is tied: the head and the embedding of {_named(model)} are one matrix"
                errors.append((message, f"leave {name} out: a change of one would leave the other as it was"))
            elif key == "targets" and name.rpartition(".")[2] in unused:
                message = f"{where}.targets: kernels of {_named(model)} read the weight of {name} past the layer"
                errors.append((message, f"leave {name} out: an adapter would do nothing there"))
            elif key == "targets" and not any(layer.is_target(name) for layer in layers):
                close = difflib.get_close_matches(name.rpartition(".")[2], kinds, n=1)
                hint = f"; did you mean {close[0]}?" if close else ""
                message = f"{where}.targets: {_named(model)} has no linear layer {name!r}{hint}"
                errors.append((message, f"its linear layers are {', '.join(kinds)}; {where}.targets=[] takes them all"))
    return errors


def _of_rank(lora: LoraConfig, layers: Sequence[Layer], where: str) -> list[MessageAndFix]:
    """A rank that no matrix among the targets can have."""
    largest = max(targeted(lora, layers), key=lambda layer: layer.width, default=None)
    if largest is None or lora.rank <= largest.width:
        return []
    message = (
        f"{where}.rank {lora.rank} is above the width of every target: the largest, {largest.kind}, is "
        f"{largest.rows} x {largest.columns}"
    )
    return [(message, f"{where}.rank={min(64, largest.width)}; {largest.width} is full rank")]


def _of_sampler(step: "Step", lora: LoraConfig, model: ModelConfig, where: str) -> list[MessageAndFix]:
    """What vLLM's own adapters cannot hold."""
    if step.kind not in SAMPLED or lora.sampler != "adapter" or step.config.rollout.engine != "vllm":
        return []
    fix = f"{where}.sampler=merged gives the sampler the merged weights"
    return [(f"{where}.sampler=adapter: {why}", fix) for why in _why_not_in_vllm(lora, model)]


def _why_not_in_vllm(lora: LoraConfig, model: ModelConfig) -> list[str]:
    reasons = []
    if lora.dora:
        reasons.append("vLLM has no DoRA (dora=true)")
    if lora.whole:
        reasons.append(f"vLLM takes no modules that are trained whole ({', '.join(lora.whole)})")
    if lora.rank > max(VLLM_RANKS):
        reasons.append(f"vLLM takes ranks up to {max(VLLM_RANKS)}, got {lora.rank}")
    if lora.quantize != "none":
        reasons.append("the sampler of a model in 4 bits gets its dequantised, merged weights")
    ends = [name for name in lora.targets if name.rpartition(".")[2] in HEADS]
    if ends:
        reasons.append(f"vLLM's adapters on embeddings and heads are not supported here ({', '.join(ends)})")
    return reasons


def _of_quantization(config: RunConfig, stage_config: Any, lora: LoraConfig, where: str) -> list[MessageAndFix]:
    """Four bits where they cannot run: without bitsandbytes, without a GPU, or where ZeRO divides parameters."""
    if lora.quantize == "none":
        return []
    errors = []
    if importlib.util.find_spec("bitsandbytes") is None:
        message = f"{where}.quantize={lora.quantize} needs the package bitsandbytes, which is not installed"
        errors.append((message, f"pip install bitsandbytes, or {where}.quantize=none"))
    if config.launcher.name == "local" and num_gpus() == 0:
        message = f"{where}.quantize={lora.quantize} runs on NVIDIA GPUs only, and this machine has none"
        errors.append((message, f"run it on a machine with a GPU, or {where}.quantize=none"))
    if stage_config.deepspeed.zero_stage == 3:
        message = f"{where}.quantize={lora.quantize}: ZeRO 3 cannot divide weights of 4 bits"
        errors.append((message, f"choose deepspeed=zero2, or {where}.quantize=none"))
    return errors


def _named(model: ModelConfig) -> str:
    return "the recipe's own base" if model.path is None else re.sub(r".*/snapshots/", "", model.path)
