"""Rough estimates of a stage before it runs: seconds, memory, disk space.

The time that a finished directory of the same stage took beats the formula.
"""

import math
from pathlib import Path
from typing import Any

from pipeline.configuration.graph import Node
from pipeline.configuration.schema import RunConfig
from pipeline.planning import lora
from pipeline.planning.devices import is_for_gpus, is_on_gpus
from pipeline.planning.shapes import shape_of
from pipeline.planning.speeds import CARDS
from pipeline.planning.timeline import drawn_groups, mean_limit, timeline
from pipeline.planning.training_rows import training_rows
from stages.config import LoraConfig, ModelConfig
from stages.contract.description import StageDescription
from stages.contract.manifest import Manifest

STARTUP_S = {"pretrain": 10, "sft": 10, "grpo": 16, "collect": 14, "reward_models": 16, "evaluate": 14, "report": 1}
# useful FLOP/s of a core, measured with models of SMALL and LARGE parameters: about 7k trained tokens a second of the
# small one, and 5k of the large one in 15 s on two cores, which sample 180 to 220 tokens a second of it
SMALL, LARGE = 516_096, 135e6
CPU_FLOPS, CPU_SAMPLE_FLOPS = (2e10, 1.5e11), (1e10, 3e10)
BF16_ON_CPU = 7  # times slower than fp32: 6 to 8 were measured
# useful FLOP/s of one rank on a current GPU; fp32 goes past the tensor cores and reaches about a tenth
GPU_FLOPS = {"bf16": 1.5e14, "fp32": 1.5e13}
USUAL_CARD = "h100"  # that a plan counts with
GPU_SAMPLE_SHARE = 0.5  # on a GPU sampling reaches this share of the training rate
OPTIMIZER_BYTES = 12  # a parameter: a master weight and both moments of Adam, in fp32
DOCUMENT_TOKENS = 45  # mean length of a tiny-world document
SIZE_FIELDS = (  # what decides how much a stage has to do
    "num_steps",
    "num_prompts",
    "samples_per_prompt",
    "max_steps",
    "num_epochs",
    "prompts_per_step",
    "group_size",
    "oversampling",
    "num_reasoning",
)


def seconds(node: Node, config: Any, run: RunConfig) -> float | None:
    """Estimated wall time of a whole stage, start-up included; None where its weights or rows are not there yet.

    A forward pass costs 2 FLOP for a parameter and a token, a step of training three times that. On GPUs it is the time
    of its phases (timeline.py), where the shape of the model is known.

    Args:
        node: The stage in the graph.
        config: The stage's own configuration; None for the report.
        run: The configuration of the whole run.
    """
    measured = _measured(run.run_dir / node.name / "latest", config)
    if measured is not None:
        return measured
    if config is None:
        return STARTUP_S[node.kind]
    parameters = _parameters(getattr(config, "model", None) or run.model_of(node.name))
    rows = training_rows(node, config, run) if node.kind == "sft" else None
    if not parameters or (node.kind == "sft" and rows is None and not config.max_steps):
        return None
    shape = shape_of(run.model_of(node.name))
    if _is_timed_on_gpus(run) and shape is not None and shape.layers and run.model_of(node.name).path:
        return timeline(node, config, run, shape, CARDS[USUAL_CARD], rows).seconds
    return STARTUP_S[node.kind] + sum(work(node, config, run, parameters, rows))


def _is_timed_on_gpus(run: RunConfig) -> bool:
    """Whether to count with a GPU: the configuration is for GPUs, and does not run here, where there are none."""
    return is_for_gpus(run) and is_on_gpus(run)


def work(node: Node, config: Any, run: RunConfig, parameters: float, rows: int | None = None) -> tuple[float, float]:
    """(seconds of training, seconds of sampling) on all ranks, by FLOPs alone.

    Args:
        node: The stage in the graph.
        config: Its configuration.
        run: The configuration of the whole run.
        parameters: Of its model.
        rows: Of an SFT stage, the rows that it trains on.
    """
    trained, sampled = tokens(node, config, rows, shares_prompts=not _is_timed_on_gpus(run))
    training_flops, sampling_flops = _flops_of_rank(config, run, parameters)
    num_ranks = run.launcher.num_processes * run.launcher.num_nodes
    training = 2 * parameters * 3 * trained * _share_with_adapters(config)
    return training / training_flops / num_ranks, 2 * parameters * sampled / sampling_flops / num_ranks


def _share_with_adapters(config: Any) -> float:
    """The work of a training step over that of full fine-tuning: with adapters no weight below them has a gradient.

    Of three passes two are left; a pass of the reference stays as it is.
    """
    if not getattr(config, "lora", LoraConfig()).is_on:
        return 1.0
    reference = 1 if getattr(config, "beta", 0) else 0
    return (2 + reference) / (3 + reference)


def _flops_of_rank(config: Any, run: RunConfig, parameters: float) -> tuple[float, float]:
    """Useful FLOP/s of one rank, (training, sampling). A stage may have another precision than the run.

    Each thread of a rank on a CPU is a core.
    """
    settings = getattr(config, "deepspeed", config)  # an evaluation has `precision` itself
    precision = getattr(settings, "precision", run.deepspeed.precision)
    if _is_timed_on_gpus(run):
        return GPU_FLOPS[precision], GPU_FLOPS[precision] * GPU_SAMPLE_SHARE
    threads = run.launcher.threads_per_process / (BF16_ON_CPU if precision == "bf16" else 1)
    return _of_size(parameters, *CPU_FLOPS) * threads, _of_size(parameters, *CPU_SAMPLE_FLOPS) * threads


def _of_size(parameters: float, of_small: float, of_large: float) -> float:
    """The rate of a model between the measured sizes, where it is a power of the size: large products are faster."""
    share = math.log(min(max(parameters, SMALL), LARGE) / SMALL) / math.log(LARGE / SMALL)
    return of_small * (of_large / of_small) ** share


def _measured(latest: Path, config: Any) -> float | None:
    """Seconds that the stage's latest directory took, if it is finished and had as much to do; else None."""
    manifest, before = Manifest.find(latest), StageDescription.find(latest)
    if manifest is None or before is None or config is None:
        return None
    names = [name for name in SIZE_FIELDS if hasattr(config, name)]
    is_same = all(before.config.get(name) == getattr(config, name) for name in names)
    return manifest.timing.total_s if is_same else None


def tokens(node: Node, config: Any, rows: int | None = None, shares_prompts: bool = True) -> tuple[float, float]:
    """(tokens trained on, tokens sampled) of a stage; prompts and completions have half the allowed length.

    Dynamic sampling draws groups that are not trained on. A pass of the reference model over a token counts as a third
    of a token trained on.

    Args:
        node: The stage in the graph; an evaluation has an input for each model.
        config: Its configuration.
        rows: Of an SFT stage, the rows that it trains on; None where that is not known.
        shares_prompts: Whether an update computes the prompt of a group once, as it does on a CPU.
    """
    if node.kind == "pretrain":
        return config.num_steps * config.batch_size * DOCUMENT_TOKENS, 0
    if node.kind == "sft":
        steps = config.max_steps  # where nobody knows the rows
        if rows is not None:
            steps = math.ceil(config.num_epochs * rows / config.batch_size)
            steps = min(steps, config.max_steps or steps)
        return steps * config.batch_size * min(config.max_tokens, 4096) / 4, 0
    if node.kind == "grpo":
        length = mean_limit(config.max_completion_tokens, config.num_steps) / 2
        prompts = config.num_steps * config.prompts_per_step
        completions = prompts * config.group_size
        passes = 4 / 3 if config.beta else 1  # with the reference
        prompt_tokens = (prompts if shares_prompts else completions) * config.data.max_prompt_tokens / 2
        return (completions * length + prompt_tokens) * passes, completions * length * drawn_groups(config)
    if node.kind == "collect":
        return 0, config.num_prompts * config.samples_per_prompt * config.max_completion_tokens / 2
    if node.kind == "reward_models":
        helpful = config.num_prompts * config.samples_per_prompt
        safety = config.num_safety_prompts * config.safety_samples_per_prompt
        trained = (config.num_steps or 250) * config.batch_size * 3 * config.max_completion_tokens
        return trained, (helpful + safety) * config.max_completion_tokens
    if node.kind == "evaluate":
        return 0, max(1, len(config.directories) or len(node.inputs)) * _evaluated_tokens(config)
    return 0, 0


def _evaluated_tokens(config: Any) -> float:
    """Tokens that an evaluation samples from one model: of its suites, or of the run's own held-out prompts."""
    if config.suites:
        return sum(
            (suite.num_problems or 500) * suite.samples_per_prompt * suite.max_completion_tokens / 2
            for suite in config.settings.values()
        )
    drawn = config.num_reasoning * config.samples_per_prompt + config.num_general + config.num_safety
    return drawn * config.max_completion_tokens / 2


def disk_gib(stage: str, config: Any, run: RunConfig) -> float:
    """Estimated disk space of a stage at its peak, GiB; 0 for a stage that trains nothing.

    That is its checkpoints, one more while it is being written, and the model. Checkpoints hold what is trained: with
    LoRA the adapters only, which are exported once more by themselves.
    """
    if getattr(config, "keep_checkpoints", None) is None:
        return 0.0
    parameters = _parameters(run.model_of(stage))
    trained = _trained_parameters(stage, config, run, parameters)
    weight_bytes = 4 if config.deepspeed.precision == "fp32" else 2
    checkpoints = config.keep_checkpoints + 1
    exported = parameters if trained == parameters else parameters + trained
    return (trained * checkpoints * (weight_bytes + OPTIMIZER_BYTES) + exported * weight_bytes) / 2**30


def _parameters(model: ModelConfig) -> float:
    """Parameters of a model that is here, or known by its name; 0 for another one."""
    shape = shape_of(model)
    return shape.parameters if shape is not None else 0.0


def _trained_parameters(stage: str, config: Any, run: RunConfig, parameters: float) -> float:
    """Parameters that have a gradient: all of the model's, or those of the adapters."""
    settings = getattr(config, "lora", LoraConfig())
    if not settings.is_on:
        return parameters
    shape, layers = shape_of(run.model_of(stage)), lora.layers_of(run.model_of(stage))
    layers = layers or (shape.as_layers() if shape is not None else [])
    return lora.adapter_parameters(settings, layers)
