"""GRPO and SFT steps of the real worker on a GPU: seconds of each phase, tokens per second, MFU, memory, sampler
against trainer.

    scripts/gpu_check.sh                                        # Qwen2.5-0.5B shape, 8 prompts x 16 completions x 4,096
                                                                tokens; SFT up to 16k tokens
    scripts/gpu_check.sh --shape 1.5b --tokens 8192 --steps 3
    scripts/gpu_check.sh --device cpu --shape tiny              # the same program in fp32 at a toy size: proves the
                                                                logic, measures nothing

The model is random and the reward a share of tokens, so that every group has signal; nothing is downloaded. Needs
torch, transformers, vllm, deepspeed, datasets and pyarrow, but neither Hydra nor Prefect. Where trl is installed, its
GRPOTrainer does the same work (vLLM colocated). The worker alone prints to logs in its stage directory; what goes wrong
there ends up in the message here.
"""

import argparse
import importlib.util
import json
import os
import platform
import random
import re
import shlex
import string
import sys
import tempfile
import threading
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from bench_common import ROOT, median, peak_gib, run_side, write_result, write_stage

QWEN25 = {
    "vocab_size": 151936,
    "tie_word_embeddings": True,
    "max_position_embeddings": 32768,
    "num_key_value_heads": 2,
    "rope_parameters": {"rope_type": "default", "rope_theta": 1e6},
}
SHAPES = {
    "tiny": {
        **QWEN25,
        "vocab_size": 1024,
        "hidden_size": 128,
        "intermediate_size": 256,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
    },
    "0.5b": {
        **QWEN25,
        "hidden_size": 896,
        "intermediate_size": 4864,
        "num_hidden_layers": 24,
        "num_attention_heads": 14,
    },
    "1.5b": {
        **QWEN25,
        "hidden_size": 1536,
        "intermediate_size": 8960,
        "num_hidden_layers": 28,
        "num_attention_heads": 12,
    },
}
PEAKS = {
    r"H200": 989e12,
    r"H100 (?!PCIe|NVL)": 989e12,
    r"A100": 312e12,
    r"\bL4\b": 121e12,
    r"RTX 4090": 165e12,
}  # dense bf16 FLOP/s
WORK = {  # by device
    "cuda": {
        "prompts": 8,
        "group": 16,
        "tokens": 4096,
        "prompt_tokens": 128,
        "micro_batch_tokens": 16384,
        "sft_batch": 16,
        "sft_tokens": 16384,
        "threads": 8,
    },
    "cpu": {
        "prompts": 4,
        "group": 4,
        "tokens": 32,
        "prompt_tokens": 24,
        "micro_batch_tokens": 512,
        "sft_batch": 8,
        "sft_tokens": 256,
        "threads": 1,
    },
}
BETA = 0.001
PHASES = ("sync", "rollout", "reward", "probe", "log", "train")
NEEDED = ("torch", "transformers", "tokenizers", "safetensors", "vllm", "deepspeed", "datasets", "pyarrow")


def make_model(shape: str, directory: Path, precision: str) -> Path:
    """A random Qwen2 and a tokenizer of one token a byte. (A directory of Qwen2 gets Qwen2's byte-level tokenizer
    whatever its files say: a word-level one would read every prompt as empty.)
    """
    import torch
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import Qwen2Config, Qwen2ForCausalLM, Qwen2Tokenizer

    torch.manual_seed(0)
    names = ["<|endoftext|>", *sorted(ByteLevel.alphabet())]
    names += [f"w{i}" for i in range(len(names), SHAPES[shape]["vocab_size"])]
    Qwen2Tokenizer(vocab={name: i for i, name in enumerate(names)}, merges=[]).save_pretrained(directory)
    model = Qwen2ForCausalLM(Qwen2Config(**SHAPES[shape], eos_token_id=0, pad_token_id=0))
    model.to(torch.bfloat16 if precision == "bf16" else torch.float32).save_pretrained(directory)
    return directory


def random_text(rng: random.Random, num_tokens: int) -> str:
    return "".join(rng.choices(string.ascii_lowercase + " ", k=num_tokens - 1)) + "."


def write_prompts(path: Path, num: int, num_tokens: int) -> Path:
    """Prompts that are `num_tokens` long in the plain template, which adds "User:" and "Assistant:"."""
    rng = random.Random(0)
    path.write_text(
        "".join(json.dumps({"prompt": random_text(rng, num_tokens - 15), "answer": "none"}) + "\n" for _ in range(num))
    )
    return path


def write_samples(directory: Path, num: int, max_tokens: int) -> Path:
    """Training pairs from an eighth of max_tokens to max_tokens long, more short ones than long ones; the prompt is a
    tenth.
    """
    import pyarrow
    import pyarrow.parquet

    rng, rows = random.Random(0), []
    for _ in range(num):
        length = int(max_tokens * (1 + 7 * rng.random() ** 2) / 8) - 1  # and the end-of-sequence token
        rows.append({"prompt": random_text(rng, length // 10), "completion": random_text(rng, length - length // 10)})
    (directory / "data").mkdir(parents=True)
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), directory / "data" / "train.parquet")
    return directory


def reward_of(completion_ids: list[int], vocabulary: int) -> float:
    """Share of tokens in the lower half of the vocabulary: differs within every group."""
    return sum(token < vocabulary / 2 for token in completion_ids) / max(1, len(completion_ids))


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
            r.reward_parts = {"accuracy": reward_of(r.completion_ids, vocabulary), "format": 0.0, "language": 0.0}

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
    """Looks at the GPU twenty times a second (vLLM's pool is not in PyTorch's own counters). Returns a function that
    gives the peaks.
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
            Path(__file__),
            ["--worker", str(directory), "--shape", options.shape],
            directory / "result.json",
            options.processes,
            options.threads,
        )
    except RuntimeError as error:
        log = directory / "logs" / "latest" / "rank0.log"
        raise RuntimeError(f"{error}\n{log.read_text()[-4000:] if log.exists() else ''}") from error
    from stages.contract.files import read_json, read_jsonl

    rows = read_jsonl(directory / "metrics.jsonl")
    ends = ranks[0]["ends"]
    for row, before, end in zip(rows[1:], ends, ends[1:]):
        row["wall"] = end - before
    return {
        "rows": rows[options.warmup :],
        "ranks": ranks,
        "startup_s": read_json(directory / "manifest.json")["timing"]["startup_s"],
    }


def run_trl(options) -> None:
    """GRPOTrainer with vLLM in its process, asleep during updates: the same model, prompts, lengths, beta and
    activation recomputation.
    """
    os.environ.update(
        {
            "VLLM_CPU_KVCACHE_SPACE": "1",
            "VLLM_CPU_OMP_THREADS_BIND": "nobind",
            "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
            "HF_HUB_OFFLINE": "1",
            "VLLM_LOGGING_LEVEL": "ERROR",
            "TOKENIZERS_PARALLELISM": "false",
            "RANK": "0",
            "LOCAL_RANK": "0",
            "WORLD_SIZE": "1",
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": "29511",
        }
    )
    import torch
    from datasets import load_dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
    from trl import GRPOConfig, GRPOTrainer

    on_gpu = options.device == "cuda"
    if not on_gpu:
        from stages.engines.patches import inspect_models_in_process

        inspect_models_in_process()
    memory, steps, marks = watch_memory(), [], {"rollout": 0.0}
    micro = max(1, options.micro_batch_tokens // (options.tokens + options.prompt_tokens))
    while options.prompts * options.group % micro:
        micro -= 1
    settings = GRPOConfig(
        output_dir=tempfile.mkdtemp(),
        per_device_train_batch_size=micro,
        gradient_accumulation_steps=options.prompts * options.group // micro,
        num_generations=options.group,
        max_completion_length=options.tokens,
        beta=BETA,
        learning_rate=1e-6,
        lr_scheduler_type="constant",
        temperature=1.0,
        loss_type="grpo",
        max_steps=options.warmup + options.steps,
        logging_steps=10**6,
        report_to="none",
        save_strategy="no",
        use_cpu=not on_gpu,
        bf16=options.precision == "bf16",
        gradient_checkpointing=not options.keep_activations,
        adam_beta2=0.95,
        shuffle_dataset=False,
        disable_tqdm=True,
        use_vllm=True,
        vllm_mode="colocate",
        vllm_gpu_memory_utilization=options.gpu_memory_fraction if on_gpu else 0.1,
        vllm_enable_sleep_mode=on_gpu,
        vllm_max_model_length=options.tokens + options.prompt_tokens,
    )

    class Clock(TrainerCallback):
        def on_step_end(self, *_, **__):
            steps.append({"end": time.perf_counter(), **marks})
            marks["rollout"] = 0.0

    def reward(completion_ids, **_):
        marks["tokens"] = sum(map(len, completion_ids))
        return [reward_of(ids, SHAPES[options.shape]["vocab_size"]) for ids in completion_ids]

    data = load_dataset("json", data_files=options.data, split="train", cache_dir=tempfile.mkdtemp())
    data = data.map(lambda row: {"prompt": f"User:{row['prompt']}Assistant:"}).remove_columns("answer")
    trainer = GRPOTrainer(
        model=AutoModelForCausalLM.from_pretrained(options.model, dtype=torch.float32),
        args=settings,
        train_dataset=data,
        reward_funcs=[reward],
        processing_class=AutoTokenizer.from_pretrained(options.model),
        callbacks=[Clock()],
    )
    if not on_gpu:
        from bench_grpo import reload_weights

        trainer.vllm_generation.sync_weights = lambda: reload_weights(trainer)
    generate = trainer._generate_single_turn

    def timed(*arguments, **more):
        started = time.perf_counter()
        result = generate(*arguments, **more)
        marks["rollout"] += time.perf_counter() - started
        return result

    trainer._generate_single_turn = timed
    trainer.train()
    rows = [{**row, "wall": row["end"] - before["end"]} for before, row in zip(steps, steps[1:])]
    write_result(options.result, {"rows": rows[max(0, options.warmup - 1) :], "micro": micro, **memory()})
    sys.stdout.flush()
    os._exit(0)


def forward_flops(shape: dict, lengths: list[int], num_scored: int) -> float:
    """Of one forward pass: matrices on every token, attention on half of each sequence's own square, the head on scored
    tokens.
    """
    d, layers = shape["hidden_size"], shape["num_hidden_layers"]
    kv = d * shape["num_key_value_heads"] // shape["num_attention_heads"]
    body = layers * (2 * d * d + 2 * d * kv + 3 * d * shape["intermediate_size"])
    return 2.0 * (sum(lengths) * body + layers * d * sum(n * n for n in lengths) + num_scored * d * shape["vocab_size"])


def grpo_flops(options, directory: Path, step: int) -> float:
    """Model FLOPs of a step's update, without recomputation: forward and backward of the policy, forward of the
    reference.
    """
    from stages.contract.files import read_jsonl

    rollouts = read_jsonl(directory / "rollouts" / f"step_{step:06d}.jsonl")[:-1]  # the last line is the checksum
    scored = sum(len(r["completion_ids"]) for r in rollouts)
    return (3 + (BETA > 0)) * forward_flops(
        SHAPES[options.shape], [len(r["prompt_ids"]) + len(r["completion_ids"]) for r in rollouts], scored
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


def check(options) -> None:
    """The whole check: device, model, two stages, TRL, report."""
    with tempfile.TemporaryDirectory(dir=options.scratch) as scratch:
        folder = Path(scratch)
        device = run_side(
            Path(__file__), ["--probe", "--device", options.device], folder / "device.json", 1, options.threads
        )[0]
        if not device["name"]:
            raise SystemExit(
                "gpu_check: PyTorch finds no GPU here. Run it on a machine with one, "
                "or prove its logic with --device cpu --shape tiny"
            )
        peak, source = peak_of(device)
        print(f"{device['name']}: MFU is a share of {source}", flush=True)
        model = make_model(options.shape, folder / "model", options.precision)
        prompts = write_prompts(
            folder / "prompts.jsonl", options.prompts * (options.warmup + options.steps), options.prompt_tokens
        )
        report = header(options, device, source)

        def add(lines: list[str]) -> None:
            """Shown and written at once: what was measured is kept, whatever happens to the rest."""
            print("\n".join(lines), flush=True)
            report.extend(lines)
            options.out.parent.mkdir(parents=True, exist_ok=True)
            options.out.write_text("\n".join(report) + "\n")

        directory = write_stage(folder / "grpo", "grpo", grpo_config(options, prompts), {"policy": model})
        grpo = run_stage(options, directory)
        add(grpo_lines(options, grpo, directory, peak))

        data = write_samples(folder / "data", options.sft_batch * (options.warmup + options.steps), options.sft_tokens)
        directory = write_stage(folder / "sft", "sft", sft_config(options), {"policy": model, "data": data})
        add(sft_lines(options, run_stage(options, directory), sft_flops_a_token(options, data), peak))

        if not options.no_trl and options.processes == 1 and importlib.util.find_spec("trl"):
            add(trl_lines(grpo, trl_side(options, model, prompts, folder), options.precision == "bf16"))
    print(f"\nwritten to {options.out}")


def trl_side(options, model: Path, prompts: Path, folder: Path) -> dict | str:
    """TRL's numbers, or why there are none: its failure does not lose ours."""
    numbers = ("steps", "warmup", "prompts", "group", "tokens", "prompt_tokens", "micro_batch_tokens")
    arguments = [
        "--trl",
        "--model",
        str(model),
        "--data",
        str(prompts),
        "--device",
        options.device,
        "--shape",
        options.shape,
        "--precision",
        options.precision,
        "--gpu-memory-fraction",
        str(options.gpu_memory_fraction),
        *(["--keep-activations"] if options.keep_activations else []),
    ]
    try:
        return run_side(
            Path(__file__),
            arguments
            + [text for name in numbers for text in ("--" + name.replace("_", "-"), str(getattr(options, name)))],
            folder / "trl.json",
            1,
            options.threads,
        )[0]
    except Exception as error:  # whatever an optional peer does
        print(error, file=sys.stderr)
        return f"GRPOTrainer did not finish: {str(error).strip().splitlines()[-1]}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", choices=list(WORK))
    parser.add_argument("--shape", default="0.5b", choices=list(SHAPES))
    parser.add_argument(
        "--precision", choices=("bf16", "fp32"), help="bf16 (cpu: fp32); bf16 trains under ZeRO stage 1"
    )
    parser.add_argument(
        "--out", type=Path, default=ROOT / "docs" / "benchmarks" / "gpu.md", help="the Markdown file with the results"
    )
    parser.add_argument("--steps", type=int, default=3, help="measured steps of each stage")
    parser.add_argument("--warmup", type=int, default=1, help="steps before them, at least 1")
    parser.add_argument("--processes", type=int, default=1, help="more than one: under torchrun, a GPU each")
    for name in WORK["cuda"]:
        parser.add_argument(
            "--" + name.replace("_", "-"), type=int, help=f"{WORK['cuda'][name]} (cpu: {WORK['cpu'][name]})"
        )
    parser.add_argument("--gpu-memory-fraction", type=float, default=0.5, help="of vLLM while it is awake")
    parser.add_argument(
        "--tolerance", type=float, default=1.0, help="largest |sampler - trainer| logprob that the probe accepts"
    )
    parser.add_argument("--keep-activations", action="store_true", help="no recomputation in the backward pass")
    parser.add_argument("--no-trl", action="store_true", help="leave TRL out (it is with several processes)")
    parser.add_argument(
        "--scratch", help="folder for models and stage directories, removed at the end (about 12 times the model)"
    )
    for name in ("--worker", "--model", "--data", "--result"):
        parser.add_argument(name, help=argparse.SUPPRESS)
    for name in ("--probe", "--trl"):
        parser.add_argument(name, action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.precision = options.precision or ("bf16" if options.device == "cuda" else "fp32")
    for name, value in WORK[options.device].items():
        if getattr(options, name) is None:
            setattr(options, name, value)
    if options.worker:
        run_worker(options)
    elif options.probe:
        probe_device(options)
    elif options.trl:
        run_trl(options)
    else:
        missing = [name for name in NEEDED if not importlib.util.find_spec(name)]
        if missing:
            raise SystemExit(f"gpu_check: install {', '.join(missing)} first")
        if options.warmup < 1 or options.prompt_tokens < 20:
            raise SystemExit("gpu_check: --warmup must be at least 1 and --prompt-tokens at least 20")
        check(options)


if __name__ == "__main__":
    main()
