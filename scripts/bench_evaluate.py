"""Measures evaluation beside a bare vLLM loop: 500 problems of the tiny world x 16 samples on two processes.

    python scripts/bench_evaluate.py MODEL_DIR [--problems 500] [--samples 16] [--rounds 2]

Prompts, sampling parameters and limits are the same on all sides. `vllm`: LLM.generate with n samples a prompt, nothing
else, on an engine with vLLM's own choices (block size, prefix cache, garbage collection). `tuned`: the same loop on the
stage's engine. `stage`: the evaluate stage as the product runs it, which templates, decodes, records and grades
besides. Sides take turns, another one first in each round. Tokens per processor second are what another process on the
machine does not change much; tokens per second are what a person sees on an idle machine.
"""

import argparse
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import bench_common as common

from stages.contract.results import read_results
from stages.runtime import environment

MAX_TOKENS, PROMPT_TOKENS = 110, 32
LAUNCHED = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
ROLLOUT = {"temperature": 1.0, "top_p": 1.0, "max_sequences": 256, "kv_cache_gib": 0.0625}


def loop(options: argparse.Namespace) -> None:
    """This rank's share of the problems, drawn by LLM.generate."""
    environment.prepare()
    from vllm import LLM, SamplingParams
    from vllm.sampling_params import RequestOutputKind

    from stages.config import RolloutConfig
    from stages.engines.patches import inspect_models_in_process
    from stages.engines.sampling import make_sampler, stop_token_ids
    from stages.engines.training import init_distributed
    from stages.modeling.model import load_tokenizer
    from stages.prompting.templates import PLAIN_TEMPLATE
    from stages.worlds.tiny_world.sources import held_out_sets

    rank, ranks = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    tokenizer = load_tokenizer(Path(options.model))
    prompts = held_out_sets(options.problems, 1, 1)["tiny_math"][rank::ranks]
    inputs = [
        {"prompt_token_ids": tokenizer(PLAIN_TEMPLATE.replace("{prompt}", prompt.text))["input_ids"]}
        for prompt in prompts
    ]
    model_dir = Path(options.model)
    if options.side == "tuned":
        init_distributed()
        llm = make_sampler(RolloutConfig(**ROLLOUT), model_dir, PROMPT_TOKENS, MAX_TOKENS).llm
    else:
        launched = {
            name: os.environ.pop(name)
            for name in list(os.environ)
            if name in LAUNCHED or name.startswith("TORCHELASTIC")
        }  # an engine by itself
        inspect_models_in_process()
        llm = LLM(
            str(model_dir),
            dtype="float32",
            enforce_eager=True,
            max_model_len=PROMPT_TOKENS + MAX_TOKENS,
            max_num_seqs=ROLLOUT["max_sequences"],
            kv_cache_memory_bytes=int(ROLLOUT["kv_cache_gib"] * 2**30),
            enable_chunked_prefill=False,
            max_num_batched_tokens=4096,
        )
        os.environ.update(launched)
    params = [
        SamplingParams(
            n=options.samples,
            temperature=1.0,
            top_p=1.0,
            max_tokens=MAX_TOKENS,
            seed=4096 * i,
            stop_token_ids=stop_token_ids(model_dir),
            detokenize=False,
            output_kind=RequestOutputKind.FINAL_ONLY,
        )
        for i in range(len(inputs))
    ]
    started, cpu_started = time.time(), time.process_time()
    outputs = llm.generate(inputs, params, use_tqdm=False)
    seconds, cpu_s = time.time() - started, time.process_time() - cpu_started
    tokens = sum(len(completion.token_ids) for output in outputs for completion in output.outputs)
    common.write_result(options.result, {"tokens": tokens, "seconds": seconds, "cpu_s": cpu_s})
    os._exit(0)  # engines leave threads behind


def measure_loop(options: argparse.Namespace, side: str, directory: Path) -> dict:
    rows = common.run_side(
        Path(__file__),
        [options.model, "--side", side, "--problems", str(options.problems), "--samples", str(options.samples)],
        directory / side,
        2,
        1,
    )
    return {
        "tokens_per_s": sum(row["tokens"] for row in rows) / max(row["seconds"] for row in rows),
        "tokens_per_cpu_s": sum(row["tokens"] for row in rows) / sum(row["cpu_s"] for row in rows),
    }


def measure_stage(options: argparse.Namespace, directory: Path) -> dict:
    """The real worker on two processes; rank 0's own clock."""
    config = {
        "num_reasoning": options.problems,
        "num_general": 0,
        "num_safety": 0,
        "samples_per_prompt": options.samples,
        "max_completion_tokens": MAX_TOKENS,
        "data": {"max_prompt_tokens": PROMPT_TOKENS},
        "rollout": ROLLOUT,
    }
    stage = common.write_stage(directory / "stage", "evaluate", config, {"model": Path(options.model)})
    run_worker(stage, 2)
    (row,) = [json.loads(line) for line in (stage / "metrics.jsonl").read_text().splitlines()]
    results = {row["metric"]: row["value"] for row in read_results(stage)}
    share = row["perf/tokens_per_s"] * row["time/sample"] / 2  # tokens of rank 0
    return {
        "tokens_per_s": row["perf/tokens_per_s"],
        "tokens_per_cpu_s": share / row["time/sample_cpu"],
        "grade_share": row["time/grade_cpu"] / row["time/sample_cpu"],
        "wait_share": row["time/grade_wait"] / row["time/sample"],
        "pass@1": results["pass@1"],
    }


def run_worker(stage: Path, num_processes: int) -> None:
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        f"--nproc-per-node={num_processes}",
        "-m",
        "stages",
        str(stage),
    ]
    process = subprocess.Popen(
        command,
        cwd=common.ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(common.ROOT)},
    )
    try:
        output, _ = process.communicate(timeout=1800)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    if process.returncode:
        log = stage / "logs" / "latest" / "rank0.log"
        raise RuntimeError(
            "the stage ended with "
            f"{process.returncode}\n{output[-2000:]}\n{log.read_text()[-2000:] if log.exists() else ''}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--problems", type=int, default=500)
    parser.add_argument("--samples", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--side", choices=("vllm", "tuned"), help=argparse.SUPPRESS)
    parser.add_argument("--result", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        loop(options)
        return
    rounds = []
    for number in range(options.rounds):
        directory = Path(tempfile.mkdtemp(prefix="bench_evaluate_"))
        sides = ("vllm", "tuned", "stage")
        try:
            measured = {
                side: measure_stage(options, directory) if side == "stage" else measure_loop(options, side, directory)
                for side in (sides[(number + i) % 3] for i in range(3))
            }
        finally:
            shutil.rmtree(directory)
        rounds.append(measured)
        stage = measured["stage"]
        print(
            f"round {number + 1}: "
            + "; ".join(
                f"{side} {measured[side]['tokens_per_s']:,.0f} tokens/s, {measured[side]['tokens_per_cpu_s']:,.0f} "
                "per CPU-s"
                for side in sides
            )
            + f"; grading {stage['grade_share']:.1%} of the stage's CPU, {stage['wait_share']:.1%} waited for after "
            f"sampling; pass@1 {stage['pass@1']:.3f}; "
            f"load {os.getloadavg()[0]:.1f}",
            flush=True,
        )
    for side in ("vllm", "tuned"):
        ratios = [
            [one["stage"][name] / one[side][name] for one in rounds] for name in ("tokens_per_s", "tokens_per_cpu_s")
        ]
        print(
            f"stage / {side}, medians: {statistics.median(ratios[0]):.3f} by the clock, "
            f"{statistics.median(ratios[1]):.3f} by processor time"
        )


if __name__ == "__main__":
    main()
