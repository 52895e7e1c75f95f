"""Evaluation beside a bare vLLM loop: 500 problems of the tiny world x 16 samples on two processes, and what grading takes.

    python scripts/bench_evaluate.py MODEL_DIR [--problems 500] [--samples 16] [--rounds 2]

Both sides have the same engine settings, prompts and sampling parameters. `bare`: LLM.generate with n samples a prompt, nothing else. `stage`: the
evaluate stage as the product runs it, which templates, decodes, records and grades besides. Sides take turns. Tokens per processor second are what
another process on the machine does not change much; tokens per second are what a person sees on an idle machine.
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

from stages import environment

MAX_TOKENS, PROMPT_TOKENS = 110, 32
ROLLOUT = {"temperature": 1.0, "top_p": 1.0, "max_sequences": 256, "kv_cache_gib": 0.0625}


def bare(options: argparse.Namespace) -> None:
    """This rank's share of the problems, drawn by LLM.generate."""
    environment.prepare()
    from stages.config import RolloutConfig
    from stages.engine import init_distributed
    from stages.model import load_tokenizer
    from stages.prompts import PLAIN_TEMPLATE
    from stages.rollout import make_sampler
    from stages.tiny_world.sources import held_out_sets
    init_distributed()
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind
    rank, ranks = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    tokenizer = load_tokenizer(Path(options.model))
    prompts = held_out_sets(options.problems, 1, 1)["tiny_math"][rank::ranks]
    inputs = [{"prompt_token_ids": tokenizer(PLAIN_TEMPLATE.replace("{prompt}", prompt.text))["input_ids"]} for prompt in prompts]
    sampler = make_sampler(RolloutConfig(**ROLLOUT), Path(options.model), PROMPT_TOKENS, MAX_TOKENS)
    params = [SamplingParams(n=options.samples, temperature=1.0, top_p=1.0, max_tokens=MAX_TOKENS, seed=4096 * i, stop_token_ids=sampler.stop_ids, detokenize=False,
                             output_kind=RequestOutputKind.FINAL_ONLY) for i in range(len(inputs))]
    started, cpu_started = time.time(), time.process_time()
    outputs = sampler.llm.generate(inputs, params, use_tqdm=False)
    seconds, cpu_s = time.time() - started, time.process_time() - cpu_started
    tokens = sum(len(completion.token_ids) for output in outputs for completion in output.outputs)
    common.write_result(options.result, {"tokens": tokens, "seconds": seconds, "cpu_s": cpu_s})
    os._exit(0)  # engines leave threads behind


def measure_bare(options: argparse.Namespace, directory: Path) -> dict:
    rows = common.run_side(Path(__file__), [options.model, "--side", "bare", "--problems", str(options.problems), "--samples", str(options.samples)],
                           directory / "bare", 2, 1)
    return {"tokens_per_s": sum(row["tokens"] for row in rows) / max(row["seconds"] for row in rows),
            "tokens_per_cpu_s": sum(row["tokens"] for row in rows) / sum(row["cpu_s"] for row in rows)}


def measure_stage(options: argparse.Namespace, directory: Path) -> dict:
    """The real worker on two processes; rank 0's own clock."""
    config = {"num_reasoning": options.problems, "num_general": 0, "num_safety": 0, "samples_per_prompt": options.samples, "max_completion_tokens": MAX_TOKENS,
              "data": {"max_prompt_tokens": PROMPT_TOKENS}, "rollout": ROLLOUT}
    stage = common.write_stage(directory / "stage", "evaluate", config, {"model": Path(options.model)})
    run_worker(stage, 2)
    (row,) = [json.loads(line) for line in (stage / "metrics.jsonl").read_text().splitlines()]
    results = {row["metric"]: row["value"] for row in json.loads((stage / "results.json").read_text())}
    share = row["perf/tokens_per_s"] * row["time/sample"] / 2  # tokens of rank 0
    return {"tokens_per_s": row["perf/tokens_per_s"], "tokens_per_cpu_s": share / row["time/sample_cpu"], "grade_share": row["time/grade_cpu"] / row["time/sample_cpu"],
            "wait_share": row["time/grade_wait"] / row["time/sample"], "pass@1": results["pass@1"]}


def run_worker(stage: Path, num_processes: int) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={num_processes}", "-m", "stages", str(stage)]
    process = subprocess.Popen(command, cwd=common.ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
                               env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(common.ROOT)})
    try:
        output, _ = process.communicate(timeout=1800)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    if process.returncode:
        log = stage / "logs" / "latest" / "rank0.log"
        raise RuntimeError(f"the stage ended with {process.returncode}\n{output[-2000:]}\n{log.read_text()[-2000:] if log.exists() else ''}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--problems", type=int, default=500)
    parser.add_argument("--samples", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--side", choices=("bare",), help=argparse.SUPPRESS)
    parser.add_argument("--result", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        return bare(options)
    rounds = []
    for number in range(options.rounds):
        directory = Path(tempfile.mkdtemp(prefix="bench_evaluate_"))
        try:
            rounds.append((measure_bare(options, directory), measure_stage(options, directory)))
        finally:
            shutil.rmtree(directory)
        alone, stage = rounds[-1]
        print(f"round {number + 1}: bare {alone['tokens_per_s']:,.0f} tokens/s, {alone['tokens_per_cpu_s']:,.0f} per CPU-s; stage {stage['tokens_per_s']:,.0f} tokens/s, "
              f"{stage['tokens_per_cpu_s']:,.0f} per CPU-s; grading {stage['grade_share']:.1%} of its CPU, {stage['wait_share']:.1%} waited for after sampling; "
              f"pass@1 {stage['pass@1']:.3f}; load {os.getloadavg()[0]:.1f}", flush=True)
    for name in ("tokens_per_s", "tokens_per_cpu_s"):
        print(f"stage / bare, {name}: {statistics.median(stage[name] / alone[name] for alone, stage in rounds):.3f}")


if __name__ == "__main__":
    main()
