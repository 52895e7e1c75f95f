"""The numbers: useful FLOPs, MFU, memory, and the lines of the Markdown report."""

import platform
import re
import shlex
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from bench_common import median, write_result

from gpu_check_tools.work import BETA, PEAKS, PHASES, SHAPES


def forward_flops(shape: dict, lengths: list[int], num_scored: int) -> float:
    """FLOPs of one forward pass.

    Matrices act on every token, attention on half of each sequence's own square, the head on scored tokens.
    """
    d, layers = shape["hidden_size"], shape["num_hidden_layers"]
    kv = d * shape["num_key_value_heads"] // shape["num_attention_heads"]
    body = layers * (2 * d * d + 2 * d * kv + 3 * d * shape["intermediate_size"])
    return 2.0 * (sum(lengths) * body + layers * d * sum(n * n for n in lengths) + num_scored * d * shape["vocab_size"])


def grpo_flops(options, directory: Path, step: int) -> float:
    """Model FLOPs of a step's update, without recomputation.

    They are the forward and backward pass of the policy and the forward pass of the reference.
    """
    from stages.contract.rollout_files import read_manifest, step_path

    _, rollouts = read_manifest(step_path(directory / "rollouts", step))
    scored = sum(r["num_completion_tokens"] for r in rollouts)
    return (3 + (BETA > 0)) * forward_flops(
        SHAPES[options.shape], [r["num_prompt_tokens"] + r["num_completion_tokens"] for r in rollouts], scored
    )


def sft_flops_a_token(options, data: Path) -> float:
    """Model FLOPs of a token's forward and backward pass, over all samples."""
    import pyarrow.parquet

    rows = pyarrow.parquet.read_table(data / "data" / "train.parquet").to_pylist()
    lengths = [len(row["prompt"]) + len(row["completion"]) + 1 for row in rows]
    return (
        3
        * forward_flops(SHAPES[options.shape], lengths, sum(len(row["completion"]) + 1 for row in rows))
        / sum(lengths)
    )


def probe_device(options) -> None:
    """Name, memory and matrix products of the device, in a process that ends before the workers start."""
    import torch

    on_gpu = options.device == "cuda"
    if on_gpu and not torch.cuda.is_available():
        return write_result(options.result, {"name": ""})
    size, kind = (8192, {"dtype": torch.bfloat16, "device": "cuda"}) if on_gpu else (1024, {})
    a, b = torch.randn(size, size, **kind), torch.randn(size, size, **kind)
    wait = torch.cuda.synchronize if on_gpu else lambda: None
    for _ in range(5):
        a @ b
    wait()
    started = time.perf_counter()
    for _ in range(20):
        a @ b
    wait()
    measured = 20 * 2 * size**3 / (time.perf_counter() - started)
    name = torch.cuda.get_device_name(0) if on_gpu else f"CPU ({platform.machine()})"
    return write_result(
        options.result,
        {
            "name": name,
            "gib": torch.cuda.mem_get_info()[1] / 2**30 if on_gpu else 0.0,
            "measured": measured,
            "size": size,
        },
    )


def peak_of(device: dict) -> tuple[float, str]:
    """FLOP/s that MFU is a share of, and where the number is from."""
    known = next((flops for pattern, flops in PEAKS.items() if re.search(pattern, device["name"] + " ")), None)
    if known:
        return known, f"the card's peak, {known / 1e12:.0f} TFLOP/s dense bf16"
    return device["measured"], f"a measured {device['size']}^3 product, {device['measured'] / 1e12:.3g} TFLOP/s"


def grpo_lines(options, result: dict, directory: Path, peak: float) -> list[str]:
    rows, processes = result["rows"], options.processes
    wall, tokens = median(rows, "wall"), median(rows, "train/tokens")
    seconds = {name: median(rows, f"time/{name}") for name in PHASES}
    rates = sorted(grpo_flops(options, directory, row["step"] - 1) / row["time/train"] for row in rows)
    other = max(0.0, wall - sum(seconds.values()))
    return [
        "",
        "## GRPO",
        "",
        f"{options.prompts} prompts x {options.group} completions, at most {options.tokens} tokens, beta {BETA}, "
        f"median of {len(rows)} steps; "
        f"start-up {result['startup_s']:.0f} s.",
        "",
        "| phase | seconds |",
        "|---|---|",
        *(f"| {name} | {value:.3f} |" for name, value in seconds.items()),
        f"| in none of these (sleep, gathering) | {other:.3f} |",
        f"| step | {wall:.3f} |",
        "",
        "| what | value |",
        "|---|---|",
        f"| sampled tokens/s | {tokens / seconds['rollout']:.0f} |",
        f"| trained tokens/s | {tokens / seconds['train']:.0f} |",
        f"| overall tokens/s | {tokens / wall:.0f} |",
        f"| completion tokens a step | {tokens:.0f} |",
        f"| MFU of the update | {rates[len(rates) // 2] / peak / processes:.4f} |",
        *memory_lines(result),
        f"| policy/mismatch_max | {max(row['policy/mismatch_max'] for row in rows):.2e} |",
        f"| policy/probe_mean, probe_max | {median(rows, 'policy/probe_mean'):.2e}, "
        f"{max(row['policy/probe_max'] for row in rows):.2e} |",
        f"| groups without signal | {max(row['reward/zero_std_frac'] for row in rows):.2f} |",
    ]


def sft_lines(options, result: dict, flops_a_token: float, peak: float) -> list[str]:
    rows = result["rows"]
    wall, tokens = median(rows, "wall"), median(rows, "train/tokens")
    rates = sorted(row["train/tokens"] / row["wall"] for row in rows)
    return [
        "",
        "## SFT",
        "",
        f"{options.sft_batch} samples a step of up to {options.sft_tokens} tokens, "
        f"micro-batches of {options.sft_tokens} tokens, median of {len(rows)} "
        f"steps; start-up {result['startup_s']:.0f} s.",
        "",
        "| what | value |",
        "|---|---|",
        f"| step, seconds | {wall:.3f} |",
        f"| tokens a step | {tokens:.0f} |",
        f"| trained tokens/s | {rates[len(rates) // 2]:.0f} |",
        f"| MFU of the step | {rates[len(rates) // 2] * flops_a_token / peak / options.processes:.4f} |",
        *memory_lines(result),
        f"| loss, last step | {rows[-1]['train/loss']:.3f} |",
    ]


def memory_lines(result: dict) -> list[str]:
    if not result["ranks"][0]["device_gib"]:
        return [f"| peak host memory, GiB | {sum(r['host_gib'] for r in result['ranks']):.2f} |"]
    return [
        f"| peak GPU memory in use, GiB | {max(r['device_gib'] for r in result['ranks']):.1f} |",
        f"| of it allocated by PyTorch, GiB | {max(r['torch_gib'] for r in result['ranks']):.1f} |",
    ]


def trl_lines(ours: dict, trl: dict | str, bf16: bool) -> list[str]:
    if isinstance(trl, str):
        return ["", "## Beside TRL", "", trl]
    rows, wall = trl["rows"], median(ours["rows"], "wall")
    other, tokens = median(rows, "wall"), median(rows, "tokens")
    return [
        "",
        "## Beside TRL",
        "",
        f"GRPOTrainer {version_of('trl')}, vLLM colocated, {trl['micro']} completions in a forward pass; "
        f"fp32 weights{', under bf16 autocast' if bf16 else ''}. "
        "It makes an old-logprob pass, ours does not.",
        "",
        "| side | step, s | rollout, s | the rest, s | overall tokens/s |",
        "|---|---|---|---|---|",
        f"| ours | {wall:.3f} | {median(ours['rows'], 'time/rollout'):.3f} | "
        f"{wall - median(ours['rows'], 'time/rollout'):.3f} | "
        f"{median(ours['rows'], 'train/tokens') / wall:.0f} |",
        f"| TRL | {other:.3f} | {median(rows, 'rollout'):.3f} | {other - median(rows, 'rollout'):.3f} | "
        f"{tokens / other:.0f} |",
        "",
        f"TRL / ours, time of a step: {other / wall:.2f}",
    ]


def header(options, device: dict, source: str) -> list[str]:
    versions = ", ".join(
        f"{name} {version_of(name)}"
        for name in ("torch", "transformers", "vllm", "deepspeed", "trl")
        if version_of(name)
    )
    memory = f", {device['gib']:.0f} GiB" if device["gib"] else ""
    return [
        f"# {device['name']}",
        "",
        f"`scripts/gpu_check.sh {shlex.join(sys.argv[1:])}`",
        "",
        f"{device['name']}{memory}; {options.processes} process(es); Python {platform.python_version()}, {versions}.",
        f"Random Qwen2 of the {options.shape} shape, {options.precision}, "
        f"{'activations kept' if options.keep_activations else 'activations recomputed'}. "
        f"MFU counts model FLOPs without recomputation, as a share of {source}. "
        f"Measured {device['size']}^3 product: {device['measured'] / 1e12:.3g} TFLOP/s.",
    ]


def version_of(name: str) -> str:
    for known in (name, f"{name}-cpu"):
        try:
            return version(known)
        except PackageNotFoundError:
            pass
    return ""
