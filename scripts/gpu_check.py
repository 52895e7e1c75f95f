"""Measures GRPO and SFT steps of the real worker on a GPU.

Seconds of each phase, tokens per second, MFU, memory, and the sampler against the trainer.

    scripts/gpu_check.sh                             # Qwen2.5-0.5B shape, 8 prompts x 16 completions x 4,096 tokens;
                                                     # SFT up to 16k tokens
    scripts/gpu_check.sh --shape 1.5b --tokens 8192 --steps 3
    scripts/gpu_check.sh --device cpu --shape tiny   # the same program in fp32 at a toy size: proves the logic,
                                                     # measures nothing

The model is random and the reward a share of tokens, so that every group has signal; nothing is downloaded. Needs
torch, transformers, vllm, deepspeed, datasets and pyarrow, but neither Hydra nor Prefect. Where trl is installed, its
GRPOTrainer does the same work (vLLM colocated). The worker alone prints to logs in its stage directory; what goes wrong
there ends up in the message here.
"""

import argparse
import importlib.util
import sys
import tempfile
from pathlib import Path

from bench_common import ROOT, run_side, write_stage
from gpu_check_tools.ours import grpo_config, run_stage, run_worker, sft_config
from gpu_check_tools.peer import run_trl
from gpu_check_tools.report import grpo_lines, header, peak_of, probe_device, sft_flops_a_token, sft_lines, trl_lines
from gpu_check_tools.work import NEEDED, SHAPES, WORK, make_model, write_prompts, write_samples


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


def parse() -> argparse.Namespace:
    """The command line, with what the device does by default filled in."""
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
    return options


def main() -> None:
    """Runs the side that the command line names; without one, the whole check."""
    options = parse()
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
