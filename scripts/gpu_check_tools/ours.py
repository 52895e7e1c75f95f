"""Our side: one stage of the real worker, with its memory watched."""

import os
import sys
import threading
import time
from pathlib import Path

from bench_common import peak_gib, run_side, write_result

from gpu_check_tools.work import BETA, SHAPES, reward_of

GPU_CHECK = Path(__file__).resolve().parent.parent / "gpu_check.py"  # the program that runs one stage with --worker


def run_worker(options) -> None:
    """`python -m stages DIRECTORY` with our reward, a clock on every step and a watch on the GPU's memory."""
    from stages.runtime import environment

    environment.prepare()
    from stages import __main__ as worker_main
    from stages.kinds.grpo import groups as sampling
    from stages.runtime.worker import Worker

    vocabulary = SHAPES[options.shape]["vocab_size"]

    def apply_rules(rollouts, *_):
        for r in rollouts:
            r.reward_parts = {
                "accuracy": reward_of(r.completion_ids.tolist(), vocabulary),
                "format": 0.0,
                "language": 0.0,
            }

    sampling.apply_rules = apply_rules
    ends, log_step, memory = [], Worker.log_step, watch_memory()

    def log(self, step: int, metrics: dict) -> None:
        log_step(self, step, metrics)
        ends.append(time.perf_counter())

    Worker.log_step = log
    code = worker_main.main([options.worker])
    if code == 0:
        write_result(options.result, {"ends": ends, "host_gib": peak_gib(), **memory()})
    sys.stdout.flush()
    os._exit(code)


def watch_memory():
    """Looks at the GPU's memory twenty times a second; returns a function that gives the peaks.

    vLLM's pool is not in PyTorch's own counters.
    """
    import torch

    peak, index = [0], int(os.environ.get("LOCAL_RANK", "0"))

    def watch() -> None:
        while True:
            if torch.cuda.is_initialized():
                free, total = torch.cuda.mem_get_info(index)
                peak[0] = max(peak[0], total - free)
            time.sleep(0.05)

    if torch.cuda.is_available():
        threading.Thread(target=watch, daemon=True).start()
    return lambda: {
        "device_gib": peak[0] / 2**30,
        "torch_gib": torch.cuda.max_memory_allocated(index) / 2**30 if torch.cuda.is_available() else 0.0,
    }


def grpo_config(options, prompts: Path) -> dict:
    return {
        "num_steps": options.warmup + options.steps,
        "prompts_per_step": options.prompts,
        "group_size": options.group,
        "updates_per_rollout": 1,
        "max_completion_tokens": [[0, options.tokens]],
        "beta": BETA,
        "reference_every": 0,
        "rewards": {"format": 0.0},
        "save_every": 10**6,
        "micro_batch_tokens": options.micro_batch_tokens,
        "num_sample_prompts": 0,
        "optim": {"lr": 1e-6},
        "deepspeed": deepspeed_config(options),
        "data": {
            "path": str(prompts),
            "verifier": "exact",
            "eval_fraction": 0.0,
            "max_prompt_tokens": options.prompt_tokens,
        },
        "rollout": {
            "gpu_memory_fraction": options.gpu_memory_fraction,
            "max_sequences": options.prompts * options.group,
            "logprob_tolerance": options.tolerance,
        },
    }


def sft_config(options) -> dict:
    return {
        "num_epochs": 1,
        "max_steps": options.warmup + options.steps,
        "batch_size": options.sft_batch,
        "max_tokens": options.sft_tokens,
        "micro_batch_tokens": options.sft_tokens,
        "save_every": 10**6,
        "optim": {"lr": 1e-5},
        "deepspeed": deepspeed_config(options),
    }


def deepspeed_config(options) -> dict:
    return {
        "precision": options.precision,
        "zero_stage": 1 if options.precision == "bf16" else 0,
        "gradient_checkpointing": not options.keep_activations,
    }


def run_stage(options, directory: Path) -> dict:
    """One stage on the real worker. Its failure is told with the end of its log."""
    try:
        ranks = run_side(
            GPU_CHECK,
            ["--worker", str(directory), "--shape", options.shape],
            directory / "result.json",
            options.processes,
            options.threads,
        )
    except RuntimeError as error:
        log = directory / "logs" / "latest" / "rank0.log"
        raise RuntimeError(f"{error}\n{log.read_text()[-4000:] if log.exists() else ''}") from error
    from stages.contract.files import read_jsonl
    from stages.contract.manifest import Manifest

    rows = read_jsonl(directory / "metrics.jsonl")
    ends = ranks[0]["ends"]
    for row, before, end in zip(rows[1:], ends, ends[1:]):
        row["wall"] = end - before
    return {
        "rows": rows[options.warmup :],
        "ranks": ranks,
        "startup_s": Manifest.read(directory).timing.startup_s,
    }
