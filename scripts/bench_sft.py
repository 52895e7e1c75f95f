"""Measures SFT tokens per second of this project's stage and of TRL's SFTTrainer, one after the other.

Model, samples, loss and optimizer are the same.

    python scripts/bench_sft.py                        # tiny: 0.51M parameters, 128 samples a step, about 4,900 tokens
    python scripts/bench_sft.py --shape 86m            # 86M parameters, 32,000 tokens of vocabulary, 32 samples, about
                                                       1,100 tokens
    python scripts/bench_sft.py --sides ours,trl_bfd --layouts 2x1 --trl-micro-batch 4

Real tokens (prompt and completion, no padding) per second from the end of one optimizer step to the end of the next,
all steps after warm-up; the step itself as median and quartiles. TRL runs packed (bfd: whole samples, isolated;
wrapped: cut anywhere, not isolated), padded, and padded with samples of like length together. Tokens per processor
second (of all ranks) say more on a machine that others use; on an idle one the first number counts. TRL needs `pip
install trl==1.16.0` (part of the dev extra).
"""

import argparse
import os
import random
import statistics
import sys
import tempfile
import time
from pathlib import Path

from bench_common import make_model, median, peak_gib, quartiles, run_side, write_result, write_stage

WORK = {
    "tiny": {"batch": 128, "max_tokens": 128, "micro_batch_tokens": 1024, "layouts": "2x1,1x2"},
    "86m": {"batch": 32, "max_tokens": 256, "micro_batch_tokens": 640, "layouts": "2x1,1x2"},
}
LONGEST, SHORTEST, LR = 120, 10, 1e-4
OURS = {"ours": "off", "ours_packed": "on"}  # side -> packing
TRL = {  # side -> its settings, rows (or samples) of one forward pass by shape
    "trl_bfd": ({"packing": True, "packing_strategy": "bfd"}, {"tiny": 2, "86m": 2}),
    "trl_wrapped": ({"packing": True, "packing_strategy": "wrapped"}, {"tiny": 8, "86m": 2}),
    "trl_pad": ({"packing": False}, {"tiny": 32, "86m": 16}),
    "trl_sorted": ({"packing": False, "train_sampling_strategy": "group_by_length"}, {"tiny": 16, "86m": 16}),
}
NOT_ISOLATED = ("trl_wrapped",)  # its tokens see the samples before theirs in the row: another loss than ours


def make_samples(num: int, vocabulary: int) -> list[dict]:
    """Random words, 10 to 120 tokens with the end-of-sequence token, most of them short; a quarter is the prompt."""
    rng, rows = random.Random(0), []
    for _ in range(num):
        length = SHORTEST + int((LONGEST - SHORTEST) * rng.random() ** 3)
        words = [f"w{rng.randrange(4, vocabulary)}" for _ in range(length - 1)]
        cut = max(4, length // 4)
        rows.append({"prompt": " ".join(words[:cut]) + " ", "completion": " ".join(words[cut:])})
    return rows


def differences(rows: list[dict], warmup: int) -> list[dict]:
    """Steps after warm-up: seconds, and this process's processor seconds, since the end of the one before."""
    return [
        {**row, "step": row["end"] - before["end"], "cpu": row["cpu"] - before["cpu"]}
        for before, row in zip(rows[warmup - 1 :], rows[warmup:])
    ]


def clock() -> dict[str, float]:
    return {"end": time.perf_counter(), "cpu": time.process_time()}


def ours(options) -> None:
    """The project's own stage, from its directory to the exported model; only the clock is the benchmark's."""
    from stages.runtime import environment

    environment.prepare()
    from stages.kinds import sft
    from stages.runtime.worker import Worker

    rows = []
    with Worker(options.stage) as worker:
        log_step = worker.log_step

        def log(step: int, metrics: dict) -> None:
            log_step(step, metrics)
            rows.append({**clock(), "tokens": metrics["train/tokens"], "loss": metrics["train/loss"]})

        worker.log_step = log
        sft.run(worker)
        write_result(options.result, {"steps": differences(rows, options.warmup), "peak": peak_gib()})
    if worker.exit_code:
        raise SystemExit(worker.exit_code)


def trl(options, work: dict) -> None:
    """SFTTrainer with the same work; real tokens are counted in compute_loss."""
    waiting = {"KMP_BLOCKTIME": "0", "OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "2000"}  # as our threads do
    os.environ.update({"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", **waiting})
    import torch

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    from datasets import load_dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
    from trl import SFTConfig, SFTTrainer

    world, (choice, micro) = int(os.environ.get("WORLD_SIZE", "1")), TRL[options.side]
    micro = options.trl_micro_batch or micro[options.shape]
    data = load_dataset(
        "parquet", data_files=f"{options.data}/data/train.parquet", split="train", cache_dir=tempfile.mkdtemp()
    )
    rows_a_step = work["batch"] if not choice["packing"] else options.step_tokens / work["max_tokens"]
    settings = SFTConfig(
        output_dir=tempfile.mkdtemp(),
        per_device_train_batch_size=micro,
        gradient_accumulation_steps=max(1, round(rows_a_step / micro / world)),
        max_length=work["max_tokens"],
        completion_only_loss=True,
        learning_rate=LR,
        lr_scheduler_type="constant",
        adam_beta2=0.95,
        max_steps=options.warmup + options.steps,
        logging_steps=10**6,
        report_to="none",
        save_strategy="no",
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        disable_tqdm=True,
        **choice,
    )
    rows, counted = [], {"tokens": 0, "losses": []}

    class Clock(TrainerCallback):
        def on_step_end(self, *_, **__):
            rows.append({**clock(), "tokens": counted["tokens"], "loss": sum(counted["losses"])})
            counted.update(tokens=0, losses=[])

    trainer = SFTTrainer(
        model=AutoModelForCausalLM.from_pretrained(options.model, dtype=torch.float32),
        args=settings,
        train_dataset=data,
        processing_class=AutoTokenizer.from_pretrained(options.model),
        callbacks=[Clock()],
    )
    compute_loss = trainer.compute_loss

    def count(model, inputs, *arguments, **more):
        counted["tokens"] += (
            int(inputs["attention_mask"].sum()) if "attention_mask" in inputs else inputs["input_ids"].numel()
        )
        loss = compute_loss(model, inputs, *arguments, **more)
        counted["losses"].append(float(loss.detach()))
        return loss

    trainer.compute_loss = count
    leak = leakage(trainer) if options.side == "trl_bfd" else None
    trainer.train()
    write_result(
        options.result,
        {
            "steps": differences(rows, options.warmup),
            "peak": peak_gib(),
            "leak": leak,
            "micro": micro,
            "attention": trainer.model.config._attn_implementation,
        },
    )


def leakage(trainer) -> float:
    """The largest difference that a packed row's first sample makes to the hidden states of its second.

    It is 0 but for rounding where the samples are isolated.
    """
    import torch

    row = next(row for row in trainer.train_dataset if len(row["seq_lengths"]) > 1)
    first, second = row["seq_lengths"][:2]
    batch = trainer.data_collator([row])
    with torch.no_grad():
        body = trainer.model.get_decoder()
        packed = body(
            **{name: value for name, value in batch.items() if name != "labels"}, use_cache=False
        ).last_hidden_state[0, first : first + second]
        alone = body(input_ids=batch["input_ids"][:, first : first + second], use_cache=False).last_hidden_state[0]
    return (packed - alone).abs().max().item()


def compare(options, work: dict) -> dict:
    """Runs the sides one after the other and prints the table."""
    found = {}
    with tempfile.TemporaryDirectory() as scratch:
        model = make_model(options.shape, Path(scratch) / "model")
        samples = write_data(Path(scratch) / "data", model, work["batch"] * (options.warmup + options.steps + 1))
        step_tokens = (
            work["batch"] * sum(len(f"{s['prompt']} {s['completion']}".split()) + 1 for s in samples) / len(samples)
        )
        for side in options.sides.split(","):
            for layout in (options.layouts or work["layouts"]).split(","):
                processes, threads = map(int, layout.split("x"))
                folder = Path(scratch) / f"{side}_{layout}"
                folder.mkdir()
                if side in OURS:
                    write_stage(
                        folder / "stage",
                        "sft",
                        stage_config(options, work, OURS[side]),
                        {"policy": model, "data": Path(scratch) / "data"},
                    )
                arguments = [
                    "--side",
                    side,
                    "--shape",
                    options.shape,
                    "--steps",
                    str(options.steps),
                    "--warmup",
                    str(options.warmup),
                    "--model",
                    str(model),
                    "--data",
                    str(Path(scratch) / "data"),
                    "--stage",
                    str(folder / "stage"),
                    "--step-tokens",
                    str(step_tokens),
                    "--trl-micro-batch",
                    str(options.trl_micro_batch),
                ]
                ranks = run_side(Path(__file__), arguments, folder / "result.json", processes, threads)
                found[side, layout] = {
                    **ranks[0],
                    "peak": sum(r["peak"] for r in ranks),
                    "steps": merged(ranks, side in TRL),
                }
                print(line(side, layout, found[side, layout]), flush=True)
    conclude(found)
    return found


def write_data(directory: Path, model: Path, num: int) -> list[dict]:
    from datasets import Dataset

    from stages.contract.files import read_json

    samples = make_samples(num, read_json(model / "config.json")["vocab_size"])
    (directory / "data").mkdir(parents=True)
    Dataset.from_list(samples).to_parquet(str(directory / "data" / "train.parquet"))
    return samples


def stage_config(options, work: dict, packing: str) -> dict:
    return {
        "num_epochs": 1,
        "max_steps": options.warmup + options.steps,
        "batch_size": work["batch"],
        "max_tokens": work["max_tokens"],
        "packing": packing,
        "micro_batch_tokens": options.micro_batch_tokens or work["micro_batch_tokens"],
        "save_every": 10**6,
        "optim": {"lr": LR},
    }


def merged(ranks: list[dict], adds_tokens: bool) -> list[dict]:
    """Processor time of all ranks, time of the slowest; `adds_tokens`: each rank counted its own."""
    return [
        {
            "step": max(r["step"] for r in rows),
            "cpu": sum(r["cpu"] for r in rows),
            "loss": statistics.mean(r["loss"] for r in rows),
            "tokens": sum(r["tokens"] for r in rows) if adds_tokens else rows[0]["tokens"],
        }
        for rows in zip(*(r["steps"] for r in ranks))
    ]


def rate(result: dict, per: str = "step") -> float:
    """The rate of all steps together.

    Where samples of similar length stand together, single steps differ too much for a median of rates.
    """
    return sum(row["tokens"] for row in result["steps"]) / sum(row[per] for row in result["steps"])


def line(side: str, layout: str, result: dict) -> str:
    steps = result["steps"]
    more = f"  rows {result['micro']}, attention {result['attention']}" if side in TRL else ""
    more += f", one sample's effect on the next {result['leak']:.0e}" if result.get("leak") is not None else ""
    return (
        f"{side:11} {layout}  step {median(steps, 'step'):6.3f} s ({quartiles(steps, 'step')})  "
        f"{median(steps, 'tokens'):6.0f} tokens  {rate(result):7.0f} "
        f"tokens/s  {rate(result, 'cpu'):6.0f} a processor second  loss {steps[-1]['loss']:.3f}  peak "
        f"{result['peak']:.2f} GiB{more}"
    )


def conclude(found: dict) -> None:
    """Our best against TRL's best of each kind."""
    mine = max((key for key in found if key[0] in OURS), key=lambda key: rate(found[key]), default=None)
    peers = [key for key in found if key[0] in TRL]
    if not mine or not peers:
        return
    for kind, keys in (
        ("packed and isolated", [k for k in peers if k[0] == "trl_bfd"]),
        ("any valid mode", [k for k in peers if k[0] not in NOT_ISOLATED]),
        ("not isolated", [k for k in peers if k[0] in NOT_ISOLATED]),
    ):
        if keys:
            best = max(keys, key=lambda key: rate(found[key]))
            print(
                f"{' '.join(mine)} / {' '.join(best)} ({kind}): tokens per second "
                f"{rate(found[mine]) / rate(found[best]):.2f}, "
                f"per processor second {rate(found[mine], 'cpu') / rate(found[best], 'cpu'):.2f}, "
                f"peak memory {found[mine]['peak'] / found[best]['peak']:.2f}"
            )
    print(
        "Left out: ours projects only tokens with a loss to the vocabulary and computes no entropy and no accuracy; "
        "TRL on a CPU projects all tokens and "
        "computes both. Ours lays a batch out at every step and writes a line of metrics; "
        "TRL tokenises and packs before the clock starts. Neither "
        "recomputes activations; both clip gradients and use fused AdamW. "
        "Steps of trl_sorted hold samples of like length only, so that they differ in size."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", default="tiny", choices=list(WORK))
    parser.add_argument("--sides", default=",".join([*OURS, *TRL]), help="comma-separated; " + ", ".join([*OURS, *TRL]))
    parser.add_argument("--layouts", default="", help="comma-separated processes x threads; empty: the shape's")
    parser.add_argument("--steps", type=int, default=8, help="measured steps")
    parser.add_argument("--warmup", type=int, default=2, help="steps before them, at least 1")
    parser.add_argument("--micro-batch-tokens", type=int, default=0, help="ours; 0: the shape's")
    parser.add_argument(
        "--trl-micro-batch", type=int, default=0, help="TRL's per_device_train_batch_size; 0: the shape's and mode's"
    )
    parser.add_argument("--side", choices=[*OURS, *TRL], help=argparse.SUPPRESS)
    for name in ("--model", "--data", "--stage", "--result"):
        parser.add_argument(name, help=argparse.SUPPRESS)
    parser.add_argument("--step-tokens", type=float, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if not options.side:
        compare(options, WORK[options.shape])
        return
    ours(options) if options.side in OURS else trl(options, WORK[options.shape])
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
