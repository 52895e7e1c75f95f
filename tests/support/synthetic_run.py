"""A run directory as the stages would leave it, with made-up numbers: what the report's tests, and whoever edits its
look, read.
"""

import json
import math
import random
from pathlib import Path

from stages.contract.description import StageDescription
from stages.contract.inputs import StageInput, write_inputs
from stages.contract.manifest import Manifest, Timing
from stages.contract.progress import StageProgress

SOURCES = {
    "base": {},
    "student_base": {},
    "r1_zero": {"policy": "base"},
    "cold_start_data": {"policy": "r1_zero"},
    "cold_start": {"policy": "base", "data": "cold_start_data"},
    "reasoning_rl": {"policy": "cold_start"},
    "rejection_data": {"policy": "reasoning_rl"},
    "rejection_sft": {"policy": "base", "data": "rejection_data"},
    "reward_models": {"policy": "rejection_sft"},
    "preference_rl": {"policy": "rejection_sft", "reward_models": "reward_models"},
    "distill": {"policy": "student_base", "data": "rejection_data"},
}
KINDS = {
    "base": "pretrain",
    "student_base": "pretrain",
    "r1_zero": "grpo",
    "cold_start_data": "collect",
    "cold_start": "sft",
    "reasoning_rl": "grpo",
    "rejection_data": "collect",
    "rejection_sft": "sft",
    "reward_models": "reward_models",
    "preference_rl": "grpo",
    "distill": "sft",
    "evaluate": "evaluate",
}
STEPS = {
    "base": 300,
    "student_base": 200,
    "r1_zero": 36,
    "cold_start": 24,
    "reasoning_rl": 20,
    "rejection_sft": 60,
    "reward_models": 50,
    "preference_rl": 24,
    "distill": 40,
}
PASS_AT_1 = {
    "base": 0.27,
    "r1_zero": 0.93,
    "cold_start": 0.79,
    "reasoning_rl": 0.91,
    "rejection_sft": 0.88,
    "preference_rl": 0.92,
    "student_base": 0.11,
    "distill": 0.74,
}
HOSTILE = '</script><script>alert("x")</script><img src=x onerror=alert(1)>'


def fingerprint(stage: str) -> str:
    return f"{sum(stage.encode()) * 7919:08x}"[:8] + "0" * 56


def stage_dir(run_dir: Path, stage: str) -> Path:
    return run_dir / stage / fingerprint(stage)[:8]


def write_run(run_dir: Path, stages=(*KINDS,), unfinished: str | None = None) -> Path:
    """A run with the given stages; `unfinished` gets no manifest."""
    run_dir.mkdir(parents=True, exist_ok=True)
    (run_dir / "config.yaml").write_text(
        "run: demo\nrecipe: tiny\nseed: 0\nmodel:\n  path: null\n  hidden_size: 128\ndata:\n  name: tiny_world\n"
        f"note: '{HOSTILE}'\n"
    )
    for stage in stages:
        write_stage(run_dir, stage, is_finished=stage != unfinished)
    return run_dir


def write_stage(run_dir: Path, stage: str, is_finished: bool = True) -> None:
    directory, draw = stage_dir(run_dir, stage), random.Random(stage)
    directory.mkdir(parents=True)
    sources = SOURCES.get(stage) if stage != "evaluate" else {model: model for model in PASS_AT_1}
    inputs = {
        role: StageInput(stage=source, fingerprint=fingerprint(source), path=str(stage_dir(run_dir, source)))
        for role, source in sources.items()
    }
    StageDescription(
        stage=stage,
        kind=KINDS[stage],
        version=1,
        fingerprint=fingerprint(stage),
        run="demo",
        config={"num_steps": STEPS.get(stage, 0), "optim": {"lr": 7e-4}, "rollout": {"temperature": 1.0}},
    ).write(directory)
    write_inputs(directory, inputs)
    num_steps = STEPS.get(stage, 1)
    StageProgress(phase="train", step=num_steps, num_steps=num_steps, message="ok").write(directory)
    write_lines(directory / "metrics.jsonl", [metrics(stage, step, draw) for step in range(1, STEPS.get(stage, 0) + 1)])
    if KINDS[stage] == "grpo":
        write_lines(directory / "samples.jsonl", [training_sample(step) for step in range(1, STEPS[stage] + 1)])
    if stage == "evaluate":
        write(directory / "results.json", results(draw))
        write_lines(directory / "samples.jsonl", evaluation_samples())
    if is_finished:
        final = (
            {"helpful/holdout_accuracy": 0.89, "safety/holdout_accuracy": 0.97, "helpful/pairs": 812}
            if stage == "reward_models"
            else {"train/loss": 0.41}
        )
        Manifest(
            stage=stage,
            kind=KINDS[stage],
            version=1,
            fingerprint=fingerprint(stage),
            inputs={role: source.fingerprint for role, source in inputs.items()},
            files={},
            metrics=final,
            timing=Timing(total_s=20 + 90 * draw.random(), startup_s=8 + 6 * draw.random()),
            peak_memory_gib=1 + 2 * draw.random(),
            created="2026-01-01T12:00:00+00:00",
            versions={"torch": "2.13.0+cpu", "transformers": "5.19.0"},
        ).write(directory)
    (run_dir / stage / "latest").symlink_to(directory.name)


def write(path: Path, data) -> None:
    path.write_text(json.dumps(data, ensure_ascii=False), encoding="utf-8")


def write_lines(path: Path, rows: list[dict]) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def metrics(stage: str, step: int, draw: random.Random) -> dict:
    """Curves of about the right shape."""
    rise, noise = 1 - math.exp(-step / (STEPS[stage] / 4)), lambda scale: draw.gauss(0, scale)
    if KINDS[stage] == "reward_models":
        return {
            "step": step,
            ("helpful" if step <= 30 else "safety") + "/loss": 0.69 - 0.5 * rise + noise(0.02),
            "train/grad_norm": 1.0,
            "train/lr": 5e-4,
        }
    row = {
        "step": step,
        "train/loss": 2.2 - 1.6 * rise + noise(0.03),
        "train/grad_norm": 1.2 - 0.5 * rise + abs(noise(0.1)),
        "train/lr": 7e-4,
        "train/tokens": 8000,
        "perf/tokens_per_s": 9000 + noise(400),
        "perf/step_s": 1.1,
    }
    if KINDS[stage] == "grpo":
        start = PASS_AT_1["base"] if stage == "r1_zero" else PASS_AT_1["cold_start"]
        row |= {
            "reward/mean": start + (1.4 - start) * rise,
            "reward/std": 0.6 - 0.4 * rise,
            "reward/accuracy": start + (PASS_AT_1[stage] - start) * rise + noise(0.02),
            "reward/format": 0.6 + 0.39 * rise,
            "reward/language": float("nan") if stage == "r1_zero" else 0.85 + 0.14 * rise,
            "reward/zero_std_frac": 0.1 + 0.5 * rise,
            "completion/mean_tokens": 25 + 24 * rise + noise(0.8),
            "completion/max_tokens": 96,
            "completion/truncated_frac": 0.02 * (1 - rise),
            "completion/reflection_rate": min(1, 0.3 + 0.65 * rise),
            "completion/language": 0.8 + 0.01 * rise if stage == "r1_zero" else 0.88 + 0.11 * rise,
            "policy/kl": 0.02 * rise,
            "policy/entropy": 0.9 - 0.5 * rise,
            "policy/clip_frac": 0.012 * rise,
            "policy/mismatch_max": 10 ** (-5.8 + noise(0.1)),
            "time/rollout": 0.9,
            "time/reward": 0.05,
            "time/train": 1.1,
            "time/sync": 0.04,
            "time/save": 0.1,
        }
        if stage == "preference_rl":
            row |= {"reward/helpful": -0.3 + 1.2 * rise, "reward/safety": 0.6 + 0.35 * rise}
    return row


def training_sample(step: int) -> dict:
    return {
        "step": step,
        "prompt_id": f"p{step}",
        "kind": "math",
        "language": "en",
        "prompt": "what is 31 - 3 - 7 ?",
        "answer": "21",
        "completion": "<think> 31 - 3 = 28 , wait , 28 - 7 = 21 </think> <answer> 21 </answer>",
        "reward": 1.5,
        "reward_parts": {"accuracy": 1.0, "format": 1.0, "language": 0.93},
        "advantage": 0.4,
        "truncated": False,
    }


def results(draw: random.Random) -> list[dict]:
    def row(model, set_name, metric, value, n, spread=None):
        margin = 1.96 * (math.sqrt(max(value * (1 - value), 1e-9) / n) if spread is None else spread)
        return {
            "model": model,
            "set": set_name,
            "metric": metric,
            "value": value,
            "low": value - margin,
            "high": value + margin,
            "n": n,
        }

    rows = []
    for model, accuracy in PASS_AT_1.items():
        late = model in ("rejection_sft", "preference_rl", "distill")
        rows += [
            row(model, "tiny_math", metric, value, 256)
            for metric, value in (
                ("pass@1", accuracy),
                ("cons@16", min(1, accuracy + 0.05)),
                ("format", 0.6 + 0.39 * accuracy),
                ("language", 0.81 if accuracy < 0.5 or model == "r1_zero" else 0.99),
                ("reflection", accuracy),
            )
        ]
        rows.append(row(model, "tiny_math", "tokens", 25 + 25 * accuracy, 256, 0.4))
        rows += [
            row(model, "tiny_general", metric, value, 192)
            for metric, value in (
                ("pass@1", 0.77 if late else 0.55),
                ("rude", 0.04 if model == "preference_rl" else 0.2 if late else 0.46),
                ("polite", 0.83 if model == "preference_rl" else 0.16),
                ("refused", 0.1),
            )
        ]
        rows += [
            row(model, "tiny_safety", metric, value, 64)
            for metric, value in (
                ("harmful_refused", 0.97 if model == "preference_rl" else 0.7 if late else 0.3),
                ("benign_refused", 0.06 if model == "preference_rl" else 0.25),
            )
        ]
    return rows


def evaluation_samples() -> list[dict]:
    prompts = [
        ("tiny_math", "m1", "what is 45 - 3 * 7 + 2 ?", "26"),
        ("tiny_math", "m2", "请计算 12 + 9 - 4", "17"),
        ("tiny_general", "g1", "what is the capital of France ?", "Paris"),
    ]
    return [
        {
            "step": 1,
            "model": model,
            "set": set_name,
            "prompt_id": prompt_id,
            "prompt": prompt,
            "answer": answer,
            "correct": accuracy > 0.5,
            "completion": "<think> 3 * 7 = 21 , 45 - 21 = 24 , 等一下 , let me check </think> <answer> "
            f"{answer if accuracy > 0.5 else 7} </answer>" + (HOSTILE if model == "base" else ""),
        }
        for set_name, prompt_id, prompt, answer in prompts
        for model, accuracy in PASS_AT_1.items()
    ]


def a_row(model: str, set_name: str, metric: str, value: float, margin: float = 0.02) -> dict:
    """A row of results.json: 100 problems, and an interval of `margin` to both sides."""
    return {
        "model": model,
        "set": set_name,
        "metric": metric,
        "value": value,
        "low": value - margin,
        "high": value + margin,
        "n": 100,
    }
