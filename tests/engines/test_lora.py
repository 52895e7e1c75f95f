"""Stages that train adapters, with the real engines: every ZeRO stage, one process and two, killed and resumed.

Checkpoints and references hold adapters only, and what comes out is a whole model.
"""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.support.paths import ENGINE_SCRIPTS
from tests.support.stage_dirs import StageRun, attempt_log, run_script, run_stage, sampled, steps, write_stage
from tests.support.tiny_stages import DATA, GRPO

SCRIPT = ENGINE_SCRIPTS / "several_stages.py"
LORA = {"rank": 4, "alpha": 8.0}
DORA = {**LORA, "dora": True, "whole": ["model.norm"]}
ZERO_STAGES, NUM_STEPS, STOP = (0, 2, 3), 7, 4
DONE, INTERRUPTED = 0, 75
STAGE = "collected"  # the policy knows this stage's first prompts by heart, so that groups have rewards to differ in
RL = {**GRPO, "lora": LORA, "optim": {"lr": 5e-3}}


@pytest.fixture(scope="module")
def sft_runs(base, sft_data, tmp_path_factory) -> dict[str, Path]:
    """Finished stage directories by name: z2_from_1 was stopped on one process and finished on two."""
    root = tmp_path_factory.mktemp("lora_sft")

    def stage(name: str, zero_stage: int, lora: dict, **more: Any) -> str:
        config = {
            "max_steps": NUM_STEPS,
            "batch_size": 4,
            "max_tokens": 64,
            "micro_batch_tokens": 60,
            "save_every": 100,
            "optim": {"lr": 1e-2, "warmup_steps": 2, "weight_decay": 0.01, "grad_clip": 0.5},
            "deepspeed": {"zero_stage": zero_stage, **more},
            "lora": lora,
        }
        return str(write_stage(root / name, "sft", config, {"policy": base, "data": sft_data}, stage="sft"))

    def launch(cases: list, num_processes: int, code: int) -> None:
        assert set(run_script(SCRIPT, json.dumps(cases), root / "codes.json", num_processes=num_processes)) == {code}

    stopped = {n: [[stage(f"z{z}_from_{n}", z, LORA), STOP] for z in ZERO_STAGES] for n in (1, 2)}
    whole = [[stage(f"z{z}_whole", z, LORA), None] for z in (0, 1, 2, 3)]
    launch([*whole, *([stage(f"dora_z{z}", z, DORA), None] for z in (0, 2, 3))], 2, DONE)
    alone = stage("z0_alone", 0, LORA), stage("z3_recomputed", 3, LORA, gradient_checkpointing=True)
    launch([[directory, None] for directory in alone], 1, DONE)
    for num_processes in (1, 2):
        launch(stopped[num_processes], num_processes, INTERRUPTED)
    for path in root.glob("*/state/step_*"):
        check_checkpoint(path)
    for num_processes in (1, 2):
        launch([[directory, None] for directory, _ in stopped[3 - num_processes]], num_processes, DONE)
    return {path.name: path for path in root.iterdir() if path.is_dir()}


def check_checkpoint(directory: Path) -> None:
    """It holds adapters and nothing of the weights below them."""
    for path in directory.glob("engine/*model_states.pt"):
        names = torch.load(path, map_location="cpu", weights_only=False)["module"]
        assert names and all(".lora_" in name or ".modules_to_save." in name for name in names), directory
    assert sum(path.stat().st_size for path in directory.rglob("*") if path.is_file()) < 600_000


def assert_same(directory: Path, expected: Path, tolerance: float) -> None:
    for row, wanted in zip(steps(directory), steps(expected), strict=True):
        assert row["train/lr"] == wanted["train/lr"] and row["train/tokens"] == wanted["train/tokens"]
        assert row["train/loss"] == pytest.approx(wanted["train/loss"], abs=tolerance)
    found, weights = load_file(directory / "model/model.safetensors"), load_file(expected / "model/model.safetensors")
    assert found.keys() == weights.keys()
    assert max((found[name] - weights[name]).abs().max().item() for name in weights) <= tolerance


def test_adapters_learn_and_the_export_is_a_whole_model(sft_runs, base):
    directory = sft_runs["z0_whole"]
    losses = [row["train/loss"] for row in steps(directory)]
    assert losses[-1] < losses[0] - 0.05
    before, after = load_file(base / "model/model.safetensors"), load_file(directory / "model/model.safetensors")
    assert before.keys() == after.keys()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {name for name in before if "_proj.weight" in name}
    assert "adapters of rank 4 on 14 layers" in attempt_log(directory)


@pytest.mark.parametrize("name", ["z1_whole", "z2_whole", "z3_whole", "z0_alone", "z3_recomputed"])
def test_every_zero_stage_and_number_of_processes_trains_the_same(sft_runs, name):
    assert_same(sft_runs[name], sft_runs["z0_whole"], 2e-5)


@pytest.mark.parametrize("num_processes", [1, 2])
@pytest.mark.parametrize("zero_stage", ZERO_STAGES)
def test_a_checkpoint_continues_on_another_number_of_processes(sft_runs, zero_stage, num_processes):
    directory = sft_runs[f"z{zero_stage}_from_{num_processes}"]
    assert f"resumed from step_{STOP:06d}" in attempt_log(directory)
    assert_same(directory, sft_runs[f"z{zero_stage}_whole"], 2e-5)


def test_dora_and_modules_trained_whole_under_zero(sft_runs, base):
    assert_same(sft_runs["dora_z2"], sft_runs["dora_z0"], 2e-5)
    assert_same(sft_runs["dora_z3"], sft_runs["dora_z0"], 2e-5)
    before, after = (load_file(path / "model/model.safetensors") for path in (base, sft_runs["dora_z3"]))
    assert not torch.equal(before["model.norm.weight"], after["model.norm.weight"])


def prepare(directory: Path, policy: Path, **changes) -> Path:
    return write_stage(directory, "grpo", {**RL, **changes}, {"policy": policy}, stage=STAGE)


@pytest.fixture(scope="module")
def whole(policy, stage_root) -> Path:
    """RL by vLLM on two processes, never interrupted."""
    return run_stage(prepare(stage_root / "lora_grpo", policy))


def test_the_reference_is_the_model_with_adapters_off(whole):
    """No divergence at first, and none right after a refresh (every 3 steps); the sampler has the merged weights."""
    rows = steps(whole)
    divergence = [row["policy/kl"] for row in rows]
    assert max(abs(divergence[i]) for i in (0, 3, 6)) < 1e-6 < 1e-4 < min(divergence[i] for i in (2, 4, 5))
    assert all(row["policy/probe_max"] < 1e-5 and "policy/correction" not in row for row in rows)


def test_rl_killed_after_a_refresh_ends_in_the_same_bits(whole, policy, stage_root):
    directory = prepare(stage_root / "lora_grpo_killed", policy)
    with StageRun(directory) as attempt:
        attempt.wait_for_checkpoint(1)
    check_checkpoint(directory / "state/step_000001")
    with StageRun(directory) as attempt:
        attempt.wait_for_checkpoint(5)
    kept = load_file(directory / "references/step_000003.safetensors")
    assert kept and all(".lora_" in name for name in kept)
    run_stage(directory)
    assert "resumed from step_" in attempt_log(directory)
    assert steps(directory) == steps(whole) != []
    assert [sampled(directory, step) for step in (0, 2, 4, 6)] == [sampled(whole, step) for step in (0, 2, 4, 6)]
    assert (directory / "model/model.safetensors").read_bytes() == (whole / "model/model.safetensors").read_bytes()


@pytest.mark.parametrize("zero_stage", [2, 3])
def test_rl_under_zero_and_on_one_process(whole, policy, stage_root, zero_stage):
    """Resumed after a refresh on another number of processes."""
    directory = prepare(
        stage_root / f"lora_grpo_z{zero_stage}",
        policy,
        deepspeed={"zero_stage": zero_stage},
        rollout={"engine": "transformers"},
    )
    with StageRun(directory) as attempt:
        attempt.wait_for_checkpoint(4)
    run_stage(directory, num_processes=1)
    assert "resumed from step_" in attempt_log(directory)
    for row, other in zip(steps(directory), steps(whole), strict=True):
        for name in ("train/loss", "train/grad_norm", "reward/mean", "policy/entropy", "policy/kl"):
            assert row[name] == pytest.approx(other[name], rel=1e-3, abs=1e-4), (row["step"], name)


def test_reward_models_killed_and_resumed(policy, stage_root):
    """The head is trained whole beside the adapters."""
    pairs, labels = stage_root / "lora_pairs.jsonl", stage_root / "lora_labels.jsonl"
    rows = [{"prompt": f"hi{n}", "chosen": "paris.", "rejected": "go away!" if n % 2 else "no."} for n in range(40)]
    pairs.write_text("".join(json.dumps(row) + "\n" for row in rows))
    rows = [{"prompt": f"hi{n}", "completion": "sorry" if n % 2 else "sure", "is_safe": n % 2 == 1} for n in range(40)]
    labels.write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = {
        "num_prompts": 30,
        "max_completion_tokens": 16,
        "batch_size": 8,
        "num_steps": 8,
        "safety_steps": 6,
        "holdout_fraction": 0.3,
        "max_length_bias": 10.0,
        "save_every": 1,
        "lora": LORA,
        "optim": {"lr": 1e-2},
        "judge": {"backend": "openai", "url": "http://127.0.0.1:1/v1", "model": "nobody"},
        "data": {
            **DATA,
            "name": "file",
            "template": "plain",
            "eval_fraction": 0.0,
            "sources": {
                "p": {"path": str(pairs), "rows": "preferences", "domain": "helpful"},
                "l": {"path": str(labels), "rows": "labels", "domain": "safety"},
            },
        },
    }
    undisturbed = run_stage(write_stage(stage_root / "lora_rm", "reward_models", config, {"policy": policy}, "rm"), 1)
    killed = write_stage(stage_root / "lora_rm_killed", "reward_models", config, {"policy": policy}, "rm")
    for place in ("state/helpful/step_000003", "state/safety/step_000002"):
        with StageRun(killed, num_processes=1) as attempt:
            attempt.wait_for((killed / place).exists, place)
        check_checkpoint(killed / place)
    run_stage(killed, 1)
    assert steps(killed) == steps(undisturbed) != []
    before = load_file(policy / "model/model.safetensors")
    for name in ("helpful", "safety"):
        found = load_file(killed / f"model/{name}/model.safetensors")
        assert "score.weight" in found and not any("lora" in key or "base_layer" in key for key in found)
        key = "model.layers.0.self_attn.q_proj.weight"
        assert not torch.equal(found[key], before[key])
        assert torch.equal(found["model.embed_tokens.weight"], before["model.embed_tokens.weight"])
        assert (killed / f"model/{name}/model.safetensors").read_bytes() == (
            undisturbed / f"model/{name}/model.safetensors"
        ).read_bytes()
