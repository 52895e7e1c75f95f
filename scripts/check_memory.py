"""Compares the memory that the planner predicts with what stages take: small runs of the real worker, part by part.

    python scripts/check_memory.py                      # every case below; a table in Markdown
    python scripts/check_memory.py --cases grpo_41m_2_zero3,sft_86m_1_zero0
    python scripts/check_memory.py --list

Each case composes a configuration as a user would, asks the planner what a rank will take, and runs two steps of the
stage. The model is random, and the reward a share of tokens, so that every group has signal. Measured is the largest
resident memory of a rank (VmHWM), which its libraries are part of.
"""

import argparse
import json
import random
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from bench_common import ROOT, run_side, write_stage
from check_memory_tools.watched import run_watched
from gpu_check_tools.work import SHAPES, make_model, random_text, reward_of, write_prompts

STAGES = {"grpo": "r1_zero", "sft": "cold_start", "pretrain": "base"}
TINY = ("stages.r1_zero.prompts_per_step=8", "stages.r1_zero.group_size=8")
STEPS = ("stages.r1_zero.num_steps=2", "stages.r1_zero.reference_every=1", "stages.r1_zero.save_every=1",
         "stages.cold_start.max_steps=2", "stages.cold_start.num_epochs=1", "stages.cold_start.save_every=1",
         "stages.base.num_steps=2", "stages.base.save_every=1",
         "rollout.logprob_tolerance=1", "stages.r1_zero.optim.lr=1e-6", "stages.cold_start.optim.lr=1e-6")  # fmt: skip
MIDDLE = ("stages.r1_zero.prompts_per_step=4", "stages.r1_zero.group_size=8", "stages.cold_start.batch_size=8",
          "stages.r1_zero.max_completion_tokens=[[0,96]]", "data.max_prompt_tokens=48",
          "stages.r1_zero.micro_batch_tokens=1024", "stages.cold_start.micro_batch_tokens=1024",
          "stages.cold_start.max_tokens=512")  # fmt: skip


@dataclass(frozen=True)
class Case:
    """A stage with its settings."""

    kind: str
    shape: str  # of the model; "own": the recipe's
    ranks: int
    overrides: tuple[str, ...]


def cases() -> dict[str, Case]:
    """Every case by name."""
    found = {"pretrain_own_2": Case("pretrain", "own", 2, ()), "sft_tiny_2": Case("sft", "tiny", 2, MIDDLE),
             "grpo_tiny_1": Case("grpo", "tiny", 1, TINY), "grpo_tiny_2": Case("grpo", "tiny", 2, TINY),}  # fmt: skip
    for kind in ("sft", "grpo"):
        for stage in (0, 1):
            zero = f"deepspeed=zero{stage}"
            found[f"{kind}_86m_1_zero{stage}"] = Case(kind, "86m", 1, (*MIDDLE, zero))
        for stage in range(4):  # two ranks of 86M would take 9 GiB
            found[f"{kind}_41m_2_zero{stage}"] = Case(kind, "41m", 2, (*MIDDLE, f"deepspeed=zero{stage}"))
        found[f"{kind}_41m_1_lora"] = Case(kind, "41m", 1, (*MIDDLE, "lora=on"))
        found[f"{kind}_41m_2_zero3_lora"] = Case(kind, "41m", 2, (*MIDDLE, "deepspeed=zero3", "lora=on"))
    recomputed = (*MIDDLE, "deepspeed.gradient_checkpointing=true")
    found["sft_41m_1_recomputed"] = Case("sft", "41m", 1, recomputed)
    return found


def configuration(case: Case, scratch: Path):
    """(stage, its configuration, the run's) as the driver composes them."""
    from pipeline.configuration import compose, spelling

    words = [f"+stage={STAGES[case.kind]}", f"runs_dir={scratch}/runs", f"launcher.num_processes={case.ranks}"]
    if case.shape != "own":
        model = scratch / case.shape
        if not model.is_dir():
            make_model(case.shape, model, "fp32")
        if not (scratch / "prompts.jsonl").is_file():
            write_prompts(scratch / "prompts.jsonl", 64, 48)
        words += [f"model.path={model}", f"student.path={model}", "data=file", f"data.path={scratch}/prompts.jsonl",
                  "data.verifier=exact", "data.eval_fraction=0", "data.template=plain"]  # fmt: skip
    run = compose.compose_config(spelling.rewrite([*words, *STEPS, *case.overrides]))
    return STAGES[case.kind], run.stage(STAGES[case.kind]), run


def write_pairs(directory: Path, num: int, num_tokens: int) -> None:
    """Writes training pairs that are all as long as a row may be, so that micro-batches are full."""
    import pyarrow
    import pyarrow.parquet

    draw, rows = random.Random(0), []
    for _ in range(num):
        prompt, completion = random_text(draw, num_tokens // 8), random_text(draw, num_tokens * 7 // 8 - 32)
        rows.append({"prompt": prompt, "completion": completion})
    (directory / "data").mkdir(parents=True)
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), directory / "data" / "train.parquet")


def measure(name: str, case: Case, scratch: Path) -> dict:
    """Runs a case; its parts as rank 0 went through them, and the peak of each rank, GiB."""
    from stages.config import to_dict

    _, own, _ = configuration(case, scratch)
    inputs = {"policy": scratch / case.shape}
    if case.kind == "sft":
        inputs["data"] = scratch / "samples"
        if not inputs["data"].is_dir():
            write_pairs(inputs["data"], 16, 512)
    directory = write_stage(scratch / name, case.kind, to_dict(own), inputs if case.shape != "own" else {})
    try:
        ranks = run_side(Path(__file__), ["--worker", str(directory), "--shape", case.shape],
                         directory / "result.json", case.ranks, 1)  # fmt: skip
    except RuntimeError as error:
        log = directory / "logs" / "latest" / "rank0.log"
        raise RuntimeError(f"{error}\n{log.read_text()[-3000:] if log.exists() else ''}") from error
    return {"peaks": [max(row["peak"] for row in rank["rows"]) for rank in ranks], "rows": ranks[0]["rows"]}


def predict(case: Case, scratch: Path) -> dict:
    """What the planner says of a rank: GiB by part."""
    from pipeline.planning import memory

    stage, own, run = configuration(case, scratch)
    needed = memory.needed(run.node(stage), own, run)
    return needed.rank if needed else {}


def main() -> None:
    """Runs the side that the command line names; without one, the cases."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", help="comma-separated; without it all")
    parser.add_argument("--list", action="store_true", help="names of the cases")
    parser.add_argument("--out", type=Path, help="file that gets a JSON line for each case")
    parser.add_argument("--scratch", type=Path, help="folder for models and stages, kept")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--shape", help=argparse.SUPPRESS)
    parser.add_argument("--result", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        run_watched(options, reward_of, SHAPES.get(options.shape, {"vocab_size": 288})["vocab_size"])
        return
    if options.list:
        print("\n".join(cases()))
        return
    sys.path.insert(0, str(ROOT))
    chosen = options.cases.split(",") if options.cases else list(cases())
    with tempfile.TemporaryDirectory() as temporary:
        scratch = options.scratch or Path(temporary)
        scratch.mkdir(parents=True, exist_ok=True)
        print("| case | predicted, GiB a rank | measured | error |\n|---|---|---|---|")
        for name in chosen:
            case = cases()[name]
            found = {"case": name, **measure(name, case, scratch)}
            if options.out:
                with open(options.out, "a") as stream:
                    stream.write(json.dumps(found) + "\n")
            predicted = sum(predict(case, scratch).values())
            peak = max(found["peaks"])
            print(f"| {name} | {predicted:.2f} | {peak:.2f} | {predicted / peak - 1:+.0%} |", flush=True)


if __name__ == "__main__":
    main()
