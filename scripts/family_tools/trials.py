"""Two steps of each kind of training with one family, through the real worker, as people run it."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from stages.contract.description import StageDescription
from stages.contract.error_report import ErrorReport
from stages.contract.files import read_jsonl
from stages.contract.inputs import StageInput, write_inputs

ROOT = Path(__file__).resolve().parent.parent.parent
GRPO: dict[str, Any] = {
    "num_steps": 2,
    "prompts_per_step": 3,
    "group_size": 6,
    "updates_per_rollout": 1,
    "max_completion_tokens": [[0, 16]],
    "beta": 0.05,
    "reference_every": 1,
    "rewards": {"overlong": 1.0, "overlong_buffer": 12},  # lengths differ, so there is something to learn
    "micro_batch_tokens": 300,
    "data": {"max_prompt_tokens": 24},
    "optim": {"lr": 1e-3},
}
SFT: dict[str, Any] = {
    "num_epochs": 2,
    "max_steps": 2,
    "batch_size": 4,
    "max_tokens": 64,
    "micro_batch_tokens": 400,
    "optim": {"lr": 1e-3},
}


def write_samples(directory: Path, count: int = 16) -> Path:
    """A data directory with a few worked examples of the tiny world."""
    from datasets import Dataset

    rows = [
        {
            "prompt": f"User:what is{10 + i}-3?Assistant:",
            "kind": "arithmetic",
            "language": "en",
            "prompt_id": f"p{i}",
            "source": "sampled",
            "completion": f"<think>wait,{10 + i}-3={7 + i}</think><answer>{7 + i}</answer>",
        }
        for i in range(count)
    ]
    (directory / "data").mkdir(parents=True, exist_ok=True)
    Dataset.from_list(rows).to_parquet(str(directory / "data" / "train.parquet"))
    return directory


def run_grpo(directory: Path, model: Path, engine: str, timeout_s: float, lora: dict[str, Any] | None = None) -> str:
    """Two steps of reinforcement learning, with adapters where `lora` is given; "works", or what the stage says."""
    config = {**GRPO, "rollout": {"engine": engine, "kv_cache_gib": 0.02}, "lora": lora or {}}
    outcome = run_stage(directory, "grpo", config, {"policy": model}, timeout_s)
    if outcome != "works":
        return outcome
    rows = read_jsonl(directory / "metrics.jsonl")
    if not all(row["train/grad_norm"] > 0 for row in rows):
        return "failed: a step had no gradient"
    worst = max(row["policy/mismatch_max"] for row in rows)
    return outcome if worst <= 1e-3 else f"failed: the update saw logprobs {worst:.1e} away from the sampler's"


def sampler_difference(directory: Path) -> float | None:
    """The largest difference of logprobs between the sampler of a GRPO stage and its trainer, at any of its steps.

    The weights of the first step went over random ones in vLLM, those of the second over the first's.
    """
    rows = read_jsonl(directory / "metrics.jsonl")
    return max((row["policy/probe_max"] for row in rows), default=None)


def run_sft(directory: Path, model: Path, data: Path, timeout_s: float, lora: dict[str, Any] | None = None) -> str:
    """Two steps of supervised fine-tuning, with adapters where `lora` is given; "works", or what the stage says."""
    return run_stage(directory, "sft", {**SFT, "lora": lora or {}}, {"policy": model, "data": data}, timeout_s)


def run_stage(directory: Path, kind: str, config: dict, inputs: dict[str, Path], timeout_s: float) -> str:
    """Runs a stage in a process of its own; returns "works", "refused: ..." or "failed: ..."."""
    directory.mkdir(parents=True)
    write_inputs(
        directory,
        {
            role: StageInput(path=str(path), model_dir=None if role == "data" else str(path), fingerprint="0")
            for role, path in inputs.items()
        },
    )
    StageDescription(stage=kind, kind=kind, fingerprint="0", run="families", config=config).write(directory)
    code, output = run_limited([sys.executable, "-m", "stages", str(directory)], timeout_s)
    if code is None:
        return f"failed: {output}"
    if code == 0 and (directory / "manifest.json").exists():
        return reloaded(directory / "model")
    error = ErrorReport.find(directory)
    if error is None:
        return f"failed: exit code {code}: {output.strip()[-300:]}"
    return f"{'refused' if error.is_bad_input else 'failed'}: {error.message}"


def run_limited(command: list[str], timeout_s: float) -> tuple[int | None, str]:
    """Runs a command and what it starts; (exit code, or None for one that was stopped; what it printed)."""
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    try:
        output, _ = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return None, f"no end within {timeout_s:g} s"
    return process.returncode, output


def reloaded(model_dir: Path) -> str:
    """Loads what the stage exported in a process that knows nothing of ours; "works", or what is wrong with it."""
    program = (
        "import sys, json, stages, torch\n"
        "from transformers import AutoModelForCausalLM\n"
        "model, info = AutoModelForCausalLM.from_pretrained(sys.argv[1], output_loading_info=True)\n"
        "finite = bool(model(torch.tensor([[20, 21, 22]])).logits.isfinite().all())\n"
        "print(json.dumps([sorted(info['missing_keys']), sorted(info['unexpected_keys']), finite]))\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program, str(model_dir)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    if ended.returncode != 0:
        return f"failed: the export does not load: {ended.stderr.strip()[-300:]}"
    missing, unexpected, is_finite = json.loads(ended.stdout.strip().splitlines()[-1])
    if missing or unexpected or not is_finite:
        return f"failed: the export lacks {missing[:3]}, has {unexpected[:3]} too many, finite: {is_finite}"
    return "works"
