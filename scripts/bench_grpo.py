"""Measures GRPO steps of this project and of TRL's GRPOTrainer, one after the other.

Model, prompts, group size, lengths, loss and optimizer are the same.

    python scripts/bench_grpo.py               # tiny: 0.51M parameters, 16 prompts x 16 completions, at most 48 tokens
    python scripts/bench_grpo.py --shape 86m   # 86M parameters, 32,000 tokens of vocabulary, 4 x 8, 64 tokens
    python scripts/bench_grpo.py --shape smollm2   # the shape of SmolLM2-135M, 49,152 tokens of vocabulary, 4 x 8, 64
    python scripts/bench_grpo.py --lora        # 86M: ours with LoRA, ours without, TRL with peft; rank 16, all layers

Prints medians over the steps after warm-up, ratios, and the work that each side leaves out. `bare` is vLLM's generate()
alone on our requests. The machine should have nothing else to do. TRL needs `pip install trl==1.16.0` (part of the dev
extra).
"""

import argparse
import os
import statistics
import sys
import tempfile
from pathlib import Path

from bench_common import (
    make_model,
    median,
    quartiles,
    run_side,
    write_stage,
)
from bench_grpo_sides import WORK, bare, our_config, ours, trl

SIDES = {  # name -> (shape -> processes, threads of each)
    "ours": {"tiny": (2, 1), "86m": (1, 2), "smollm2": (1, 2)},
    "ours_hf": {"tiny": (2, 1), "86m": (1, 2), "smollm2": (1, 2)},  # rollout=transformers: shares the trainer's weights
    "bare": {"tiny": (2, 1), "86m": (1, 2), "smollm2": (1, 2)},
    "trl": {"tiny": (1, 2), "86m": (1, 2), "smollm2": (1, 2)},
    "trl_2": {"tiny": (2, 1), "86m": (2, 1), "smollm2": (2, 1)},  # the same on two processes
    "trl_vllm": {"tiny": (1, 2), "86m": (1, 2), "smollm2": (1, 2)},  # vLLM in the trainer's process ("colocate")
    "ours_lora": {"tiny": (2, 1), "86m": (1, 2), "smollm2": (1, 2)},  # the sampler gets merged weights
    "ours_lora_adapter": {"tiny": (2, 1), "86m": (1, 2), "smollm2": (1, 2)},  # vLLM's own LoRA
    "ours_lora_hf": {"tiny": (2, 1), "86m": (1, 2), "smollm2": (1, 2)},
    "trl_lora": {"tiny": (1, 2), "86m": (1, 2), "smollm2": (1, 2)},  # TRL with peft
}
ALL = "ours,ours_hf,bare,trl,trl_2,trl_vllm"
WITH_LORA = "ours_lora,ours_lora_adapter,ours_lora_hf,ours,trl_lora"


def compare(options, work: dict) -> dict:
    """Runs the sides one after the other and prints the table."""
    found = {}
    with tempfile.TemporaryDirectory() as scratch:
        model = str(make_model(options.shape, Path(scratch) / "model"))
        for side in options.sides.split(","):
            processes, threads = SIDES[side][options.shape]
            folder = Path(scratch) / side
            folder.mkdir()
            arguments = [
                "--side",
                side,
                "--model",
                model,
                "--shape",
                options.shape,
                "--steps",
                str(options.steps),
                "--warmup",
                str(options.warmup),
                "--micro-batch-tokens",
                str(options.micro_batch_tokens),
                "--trl-micro-batch",
                str(options.trl_micro_batch),
                "--reward",
                options.reward,
            ]
            if side.startswith("ours"):
                arguments += [
                    "--stage",
                    str(write_stage(folder / "stage", "grpo", our_config(side, options, work), {"policy": model})),
                ]
            ranks = run_side(Path(__file__), arguments, folder / "result.json", processes, threads)
            found[side] = {
                **ranks[0],
                "peak": sum(r["peak"] for r in ranks),
                "rate": sum(r.get("rate", 0.0) for r in ranks),
                "steps": merged(ranks) if side in ("bare", "trl_2") else ranks[0]["steps"],
            }
            print(line(side, found[side]), flush=True)
    conclude(found, options.reward)
    return found


def merged(ranks: list[dict]) -> list[dict]:
    """Tokens of all ranks, times of the slowest."""
    return [
        {name: (sum if name in ("tokens", "processor") else max)(row[name] for row in rows) for name in rows[0]}
        for rows in zip(*(r["steps"] for r in ranks))
    ]


def line(side: str, result: dict) -> str:
    steps = result["steps"]
    tokens, rollout = median(steps, "tokens"), median(steps, "rollout")
    return (
        f"{side:17} step {median(steps, 'step'):6.2f} s ({quartiles(steps, 'step')})  rollout {rollout:6.2f} s "
        f"({tokens / rollout:6.0f} tokens/s)  "
        f"train {median(steps, 'train'):6.2f} s  sync {median(steps, 'sync'):5.3f} s  "
        f"{tokens / median(steps, 'step'):6.0f} tokens/s in all  processor {median(steps, 'processor'):6.2f} s  "
        f"peak {result['peak']:.2f} GiB"
    )


def conclude(found: dict, reward: str) -> None:
    """Ratios: each of TRL's modes over ours, rollouts over bare vLLM, arithmetic over a matrix product."""
    mine, peers = [s for s in found if s.startswith("ours")], [s for s in found if s.startswith("trl")]
    for side in mine:
        row = found[side]
        for peer in peers:
            print(
                f"{peer} / {side}: time {median(found[peer]['steps'], 'step') / median(row['steps'], 'step'):.2f}, "
                f"processor time {median(found[peer]['steps'], 'processor') / median(row['steps'], 'processor'):.2f}, "
                f"peak memory of {side} / {peer}: {row['peak'] / found[peer]['peak']:.2f}"
            )
        rate = row["update_flops"] / median(row["steps"], "train")
        print(
            f"{side}: the update makes {rate / 1e9:.0f} GFLOP/s, {rate / row['rate']:.2f} of a 2048 x 2048 product "
            "in the same processes "
            f"({row['rate'] / 1e9:.0f} GFLOP/s); sampler against trainer {row['mismatch']:.1e}"
        )
    if "bare" in found and "ours" in found:
        rates = {
            side: statistics.median(row["tokens"] / row["rollout"] for row in found[side]["steps"])
            for side in ("ours", "bare")
        }
        print(f"ours: rollout throughput / bare vLLM's: {rates['ours'] / rates['bare']:.3f}")
    print(
        "Left out: ours makes no old-logprob pass (its sampler's logprobs are compared with the trainer's after "
        "every sync); TRL makes one with vLLM "
        "only. All make a reference pass (beta > 0). "
        + (
            "Ours leaves groups of equal rewards out of both passes: their advantage is 0, so they only "
            "lose their KL term; TRL computes them."
            if reward == "sparse"
            else "All groups have rewards that differ: none is left out."
        )
        + " Ours also writes its rollouts to disk before every update."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=list(WORK), help="tiny; with --lora 86m")
    parser.add_argument("--lora", action="store_true", help=f"compares these sides: {WITH_LORA}")
    parser.add_argument("--sides", help=f"comma-separated, of {', '.join(SIDES)}; without --lora: {ALL}")
    parser.add_argument("--steps", type=int, default=8, help="measured steps")
    parser.add_argument("--warmup", type=int, default=2, help="steps before them")
    parser.add_argument("--micro-batch-tokens", type=int, default=0, help="ours; 0: the shape's")
    parser.add_argument(
        "--trl-micro-batch", type=int, default=0, help="TRL's per_device_train_batch_size; 0: the whole step at once"
    )
    parser.add_argument(
        "--reward",
        default="dense",
        choices=("dense", "sparse"),
        help="dense: every group has signal; sparse: about half have none",
    )
    parser.add_argument("--packing", default="auto", choices=("auto", "on", "off"), help="ours")
    parser.add_argument("--side", choices=list(SIDES), help=argparse.SUPPRESS)
    parser.add_argument("--model", help=argparse.SUPPRESS)
    parser.add_argument("--stage", help=argparse.SUPPRESS)
    parser.add_argument("--result", help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.shape = options.shape or ("86m" if options.lora else "tiny")
    options.sides = options.sides or (WITH_LORA if options.lora else ALL)
    options.rank = int(os.environ.get("RANK", "0"))
    work = WORK[options.shape]
    if not options.side:
        compare(options, work)
    elif options.side.startswith("ours"):
        ours(options, work)
    elif options.side == "bare":
        bare(options, work)
    else:
        trl(options, work, with_vllm=options.side == "trl_vllm", with_lora=options.side == "trl_lora")
    if options.side:
        sys.stdout.flush()
        os._exit(0)


if __name__ == "__main__":
    main()
