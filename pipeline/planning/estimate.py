"""How long a stage will take and how much memory it will need, roughly. A finished attempt of the same stage in the run
beats the formula.
"""

from pathlib import Path

from pipeline.configuration.graph import Node
from pipeline.configuration.schema import RunConfig
from pipeline.planning import models
from stages.contract.files import find_json

STARTUP_S = {"pretrain": 10, "sft": 10, "grpo": 16, "collect": 14, "reward_models": 16, "evaluate": 14, "report": 1}
# useful FLOP/s of one single-threaded rank on a small model (measured: about 7k tokens a second at 0.5M parameters)
CPU_FLOPS = 2e10
GPU_FLOPS = 1.5e14  # useful FLOP/s of one rank on a current GPU
SAMPLE_FLOPS_SHARE = 0.5  # sampling reaches this share of the training rate
ENGINE_GIB = {
    "pretrain": 0.6,
    "sft": 0.7,
    "grpo": 1.9,
    "collect": 1.8,
    "reward_models": 1.7,
    "evaluate": 1.8,
    "report": 0.2,
}  # a rank, measured


def seconds(node: Node, config, run: RunConfig) -> float:
    """Estimated wall time of a whole stage."""
    measured = _measured(run.run_dir / node.name / "latest", config)
    if measured is not None:
        return measured
    if config is None:
        return STARTUP_S[node.kind]
    parameters = models.num_parameters(getattr(config, "model", None) or run.model_of(node.name))
    ranks = run.launcher.num_processes * run.launcher.num_nodes
    rate = (CPU_FLOPS if run.deepspeed.precision == "fp32" else GPU_FLOPS) * ranks
    trained, sampled = tokens(node, config)
    return STARTUP_S[node.kind] + 2 * parameters * (3 * trained + sampled / SAMPLE_FLOPS_SHARE) / rate


def _measured(latest: Path, config) -> float | None:
    """The time of the stage's latest finished directory, if it did the same number of steps."""
    manifest, before = find_json(latest / "manifest.json"), find_json(latest / "config.json")
    if not manifest or not before or config is None:
        return None
    size = (
        "num_steps",
        "num_prompts",
        "samples_per_prompt",
        "max_steps",
        "num_epochs",
        "prompts_per_step",
        "group_size",
        "num_reasoning",
    )
    same = all(before["config"].get(name) == getattr(config, name) for name in size if hasattr(config, name))
    return manifest.get("timing", {}).get("total_s") if same else None


def tokens(node: Node, config) -> tuple[float, float]:
    """(tokens trained on, reference passes counted as a third; tokens sampled), with completions of half the allowed
    length.
    """
    if node.kind == "pretrain":
        return config.num_steps * config.batch_size * 45, 0  # 45: mean length of a tiny-world document
    if node.kind == "sft":
        steps = config.max_steps or 100
        return steps * config.batch_size * min(config.max_tokens, 4096) / 4, 0
    if node.kind == "grpo":
        length = config.max_completion_tokens[-1][1] / 2
        sampled = config.num_steps * config.prompts_per_step * config.group_size * length
        return sampled * 4 / 3, sampled
    if node.kind == "collect":
        return 0, config.num_prompts * config.samples_per_prompt * config.max_completion_tokens / 2
    if node.kind == "reward_models":
        drawn = (
            config.num_prompts * config.samples_per_prompt
            + config.num_safety_prompts * config.safety_samples_per_prompt
        )
        return (
            config.num_steps or 250
        ) * config.batch_size * 3 * config.max_completion_tokens, drawn * config.max_completion_tokens
    if node.kind == "evaluate":
        if config.suites:
            return 0, sum(
                (suite.num_problems or 500) * suite.samples_per_prompt * suite.max_completion_tokens / 2
                for suite in config.settings.values()
            )
        drawn = config.num_reasoning * config.samples_per_prompt + config.num_general + config.num_safety
        return 0, 7 * drawn * config.max_completion_tokens / 2
    return 0, 0


def disk_gib(stage: str, config, run: RunConfig) -> float:
    """Estimated space that a trained stage takes at its peak: its checkpoints, one more while it is written, and the
    model. 0 for others.
    """
    if getattr(config, "keep_checkpoints", None) is None:
        return 0.0
    parameters = models.num_parameters(run.model_of(stage))
    weight_bytes = 4 if config.deepspeed.precision == "fp32" else 2
    return parameters * ((config.keep_checkpoints + 1) * (weight_bytes + 12) + weight_bytes) / 2**30


def memory_gib(node: Node, config, run: RunConfig) -> float:
    """Estimated peak memory of all ranks of one node: engines, weights, optimizer state, KV cache."""
    if config is None:
        return ENGINE_GIB[node.kind]
    parameters = models.num_parameters(run.model_of(node.name))
    deepspeed = getattr(config, "deepspeed", None)
    ranks = run.launcher.num_processes
    per_rank = ENGINE_GIB[node.kind] + (config.rollout.kv_cache_gib if hasattr(config, "rollout") else 0)
    weight_bytes = 4 if deepspeed is None or deepspeed.precision == "fp32" else 2
    copies = (1 if hasattr(config, "rollout") else 0) + (1 if node.kind == "grpo" else 0)  # sampler, reference
    state = 0.0
    if deepspeed is not None:
        world = ranks * run.launcher.num_nodes
        shard = {0: 1, 1: world, 2: world, 3: world}[deepspeed.zero_stage]
        state = (
            12 / shard
            + weight_bytes / (world if deepspeed.zero_stage == 3 else 1)
            + weight_bytes / (shard if deepspeed.zero_stage >= 2 else 1)
        )
    return round(ranks * (per_rank + parameters * (copies * weight_bytes + state) / 2**30), 2)
