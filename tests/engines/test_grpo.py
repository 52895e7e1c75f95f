"""GRPO with the real engines: whole, killed and resumed, stopped and resumed, under ZeRO-3, with the fallback sampler, with a broken sync."""
import shutil
import signal
from pathlib import Path

import pytest

from stages.files import read_json, read_jsonl
from tests.engines.conftest import DATA
from tests.stage_dirs import StageRun, attempt_log, run_stage, sampled, steps, write_stage

CONFIG = {"num_steps": 7, "prompts_per_step": 4, "group_size": 4, "updates_per_rollout": 2, "max_completion_tokens": [[0, 14], [4, 20]],
          "beta": 0.05, "reference_every": 3, "rewards": {"format": 0.5, "language": 0.5}, "micro_batch_tokens": 300, "save_every": 1,
          "keep_checkpoints": 20, "data": DATA, "optim": {"lr": 2e-3}}
STAGE = "collected"  # the policy knows this stage's first prompts by heart, so that groups have rewards to differ in


def prepare(directory: Path, policy: Path, **changes) -> Path:
    return write_stage(directory, "grpo", {**CONFIG, **changes}, {"policy": policy}, stage=STAGE)


@pytest.fixture(scope="module")
def whole(policy, stage_root) -> Path:
    """vLLM on two processes, never interrupted."""
    return run_stage(prepare(stage_root / "grpo_whole", policy))


def weights(directory: Path) -> bytes:
    return (directory / "model" / "model.safetensors").read_bytes()


def assert_same_bits(directory: Path, expected: Path) -> None:
    """Metrics (clocks apart), samples, rollouts and weights."""
    assert steps(directory) == steps(expected)
    assert read_jsonl(directory / "samples.jsonl") == read_jsonl(expected / "samples.jsonl")
    assert sorted(p.name for p in (directory / "rollouts").iterdir()) == sorted(p.name for p in (expected / "rollouts").iterdir())
    assert all((directory / "rollouts" / p.name).read_bytes() == p.read_bytes() for p in (expected / "rollouts").iterdir())
    assert weights(directory) == weights(expected)


def test_a_whole_run(whole):
    rows = steps(whole)
    assert [row["step"] for row in rows] == list(range(1, 8))  # the last rollout serves one update of two
    assert any(row["train/grad_norm"] > 0 for row in rows) and any(row["reward/zero_std_frac"] < 1 for row in rows)
    assert all(row["policy/mismatch_max"] < 1e-3 for row in rows[::2])  # on policy: the rollout's first update
    assert {"reward/mean", "reward/std", "reward/accuracy", "reward/format", "reward/language", "completion/mean_tokens", "completion/truncated_frac",
            "completion/reflection_rate", "policy/kl", "policy/entropy", "policy/clip_frac", "policy/mismatch_kl"} <= set(rows[0])
    assert [len(sampled(whole, step)) for step in (0, 2, 4, 6)] == [2 * 4 * 4] * 4
    assert [row["step"] for row in read_jsonl(whole / "samples.jsonl")] == [1, 1, 3, 3, 5, 5, 7, 7]


def test_length_schedule(whole):
    longest = {step: max(len(r["completion_ids"]) for r in sampled(whole, step)) for step in (0, 2, 4, 6)}
    assert max(longest[0], longest[2]) == 14 < max(longest[4], longest[6]) <= 20


def check_reference(rows: list[dict]) -> None:
    """The first update after a refresh (every 3 steps, also between two updates of a rollout) sees no divergence; others do."""
    divergence = [row["policy/kl"] for row in rows]
    assert max(abs(divergence[i]) for i in (0, 3, 6)) < 1e-6 < 1e-4 < min(divergence[i] for i in (2, 4, 5))  # 1: the first update had no signal


def test_reference_refreshes(whole):
    check_reference(steps(whole))


def test_killed_then_stopped_then_finished(whole, policy, stage_root):
    """SIGKILL, resume; SIGTERM to one rank, both save and exit 75; the last checkpoint is damaged, so the one between two updates is taken."""
    directory = prepare(stage_root / "grpo_killed", policy)
    with StageRun(directory) as attempt:
        attempt.wait_for_step(2)
    assert not (directory / "manifest.json").exists()
    with StageRun(directory) as attempt:
        attempt.wait_for_step(4)
        attempt.ranks()[1].send_signal(signal.SIGTERM)
        attempt.wait()
        assert attempt.rank_exit_codes() == {75}, attempt.log()
    assert "resumed from step_" in attempt_log(directory)
    assert read_json(directory / "progress.json")["phase"] == "interrupted" and not (directory / "manifest.json").exists()
    damage_down_to(directory, step=3)
    run_stage(directory)
    assert "WARNING: checkpoint" in attempt_log(directory) and "resumed from step_000003" in attempt_log(directory)
    assert_same_bits(directory, whole)


def damage_down_to(directory: Path, step: int) -> None:
    """Flips a byte in the newest checkpoint and takes away those between it and `step`."""
    newest, *others = sorted((directory / "state").glob("step_*"), reverse=True)
    assert newest.name >= "step_000004"
    for path in others:
        if path.name > f"step_{step:06d}":
            shutil.rmtree(path)
    part = max((p for p in newest.glob("engine/**/*") if p.is_file()), key=lambda p: p.stat().st_size)
    data = bytearray(part.read_bytes())
    data[len(data) // 2] ^= 1
    part.write_bytes(data)


def test_zero_3_killed_after_a_refresh(whole, policy, stage_root):
    """Partitioned policy and reference: the same run as with replicas, also when it is resumed with a refreshed reference."""
    directory = prepare(stage_root / "grpo_zero3", policy, deepspeed={"zero_stage": 3})
    with StageRun(directory) as attempt:
        attempt.wait_for_step(4)
    run_stage(directory)
    assert "resumed from step_" in attempt_log(directory)
    rows, expected = steps(directory), steps(whole)
    check_reference(rows)
    for row, other in zip(rows, expected, strict=True):
        for name in ("train/loss", "train/grad_norm", "reward/mean", "policy/entropy"):
            assert row[name] == pytest.approx(other[name], rel=1e-3, abs=1e-4), (row["step"], name)


def test_transformers_on_one_process(whole, policy, stage_root):
    """The fallback sampler runs the whole stage; same seeds, same prompts, same tokens and the same updates as vLLM on two processes."""
    directory = run_stage(prepare(stage_root / "grpo_transformers", policy, rollout={"engine": "transformers"}), num_processes=1)
    mine, expected = sampled(directory, 0), sampled(whole, 0)
    assert [r["prompt"]["id"] for r in mine] == [r["prompt"]["id"] for r in expected]
    assert [r["completion_ids"] for r in mine] == [r["completion_ids"] for r in expected]
    for a, b in zip(mine, expected):
        assert a["rollout_logprobs"] == pytest.approx(b["rollout_logprobs"], abs=1e-4)
    for row, other in zip(steps(directory)[:2], steps(whole)[:2]):
        for name in ("train/loss", "train/grad_norm", "policy/entropy", "policy/kl", "reward/mean"):
            assert row[name] == pytest.approx(other[name], rel=1e-3, abs=1e-5), (row["step"], name)


def test_a_stale_sync_stops_the_run(policy, stage_root):
    directory = prepare(stage_root / "grpo_stale", policy, rollout={"engine": "transformers"}, save_every=5)
    with StageRun(directory, num_processes=1, program=[str(Path(__file__).with_name("stale_sync.py"))]) as attempt:
        assert attempt.wait() == 1, attempt.log()
    error = read_json(directory / "error.json")
    assert "differ from the trainer's" in error["message"] and "weight sync of step 2" in error["message"]
    assert [row["step"] for row in steps(directory)] == [1, 2]
