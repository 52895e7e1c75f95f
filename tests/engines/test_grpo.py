"""GRPO with the real engines: whole, killed and resumed, stopped and resumed, under ZeRO-3, with the fallback sampler,
with a broken sync.
"""

import shutil
import signal
from pathlib import Path

import pytest

from stages.contract.error_report import ErrorReport
from stages.contract.files import read_jsonl
from stages.contract.progress import StageProgress
from tests.support.paths import ENGINE_SCRIPTS
from tests.support.stage_dirs import StageRun, attempt_log, run_stage, sampled, steps, write_stage
from tests.support.tiny_stages import GRPO

STAGE = "collected"  # the policy knows this stage's first prompts by heart, so that groups have rewards to differ in


def prepare(directory: Path, policy: Path, **changes) -> Path:
    return write_stage(directory, "grpo", {**GRPO, **changes}, {"policy": policy}, stage=STAGE)


@pytest.fixture(scope="module")
def whole(policy, stage_root) -> Path:
    """vLLM on two processes, never interrupted."""
    return run_stage(prepare(stage_root / "grpo_whole", policy))


def weights(directory: Path) -> bytes:
    return (directory / "model" / "model.safetensors").read_bytes()


def rollouts(directory: Path) -> dict[str, bytes]:
    """The rollout log, file by file."""
    found = [path for path in (directory / "rollouts").rglob("*") if path.is_file()]
    return {str(path.relative_to(directory)): path.read_bytes() for path in found}


def assert_same_bits(directory: Path, expected: Path) -> None:
    """Metrics (clocks apart), samples, rollouts and weights."""
    assert steps(directory) == steps(expected) != []
    assert read_jsonl(directory / "samples.jsonl") == read_jsonl(expected / "samples.jsonl") != []
    assert rollouts(directory) == rollouts(expected) != {}
    assert weights(directory) == weights(expected)


def test_a_whole_run(whole):
    rows = steps(whole)
    assert [row["step"] for row in rows] == list(range(1, 8))  # the last rollout serves one update of two
    assert any(row["train/grad_norm"] > 0 for row in rows) and any(row["reward/zero_std_frac"] < 1 for row in rows)
    assert all(row["policy/mismatch_max"] < 1e-3 for row in rows[::2])  # on policy: the rollout's first update
    assert {
        "reward/mean",
        "reward/std",
        "reward/accuracy",
        "reward/format",
        "reward/language",
        "completion/mean_tokens",
        "completion/truncated_frac",
        "completion/reflection_rate",
        "policy/kl",
        "policy/entropy",
        "policy/clip_frac",
        "policy/mismatch_kl",
    } <= set(rows[0])
    assert [len(sampled(whole, step)) for step in (0, 2, 4, 6)] == [2 * 4 * 4] * 4
    assert [row["step"] for row in read_jsonl(whole / "samples.jsonl")] == [1, 1, 3, 3, 5, 5, 7, 7]


def test_length_schedule(whole):
    longest = {step: max(len(r["completion_ids"]) for r in sampled(whole, step)) for step in (0, 2, 4, 6)}
    assert max(longest[0], longest[2]) == 14 < max(longest[4], longest[6]) <= 20


def check_reference(rows: list[dict]) -> None:
    """The first update after a refresh (every 3 steps, also between two updates of a rollout) sees no divergence;
    others do.
    """
    divergence = [row["policy/kl"] for row in rows]
    assert (
        max(abs(divergence[i]) for i in (0, 3, 6)) < 1e-6 < 1e-4 < min(divergence[i] for i in (2, 4, 5))
    )  # 1: the first update had no signal


def test_reference_refreshes(whole):
    check_reference(steps(whole))


def test_killed_then_stopped_then_finished(whole, policy, stage_root):
    """SIGKILL, resume; SIGTERM to one rank, both save and exit 75; the last checkpoint is damaged, so the one between
    two updates is taken.
    """
    directory = prepare(stage_root / "grpo_killed", policy)
    with StageRun(directory) as attempt:
        attempt.wait_for_checkpoint(1)
    assert not (directory / "manifest.json").exists()
    with StageRun(directory) as attempt:
        attempt.wait_for_step(4)
        attempt.ranks()[1].send_signal(signal.SIGTERM)
        attempt.wait()
        assert attempt.rank_exit_codes() == {75}, attempt.log()
    assert "resumed from step_" in attempt_log(directory)
    assert StageProgress.read(directory).phase == "interrupted" and not (directory / "manifest.json").exists()
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
    """Partitioned policy and reference: the same run as with replicas, also when it is resumed with a refreshed
    reference.
    """
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
    """The fallback sampler runs the whole stage; same seeds, same prompts, same tokens and the same updates as vLLM on
    two processes.
    """
    directory = run_stage(
        prepare(stage_root / "grpo_transformers", policy, rollout={"engine": "transformers"}), num_processes=1
    )
    mine, expected = sampled(directory, 0), sampled(whole, 0)
    assert [r["prompt"]["id"] for r in mine] == [r["prompt"]["id"] for r in expected]
    assert [r["completion_ids"] for r in mine] == [r["completion_ids"] for r in expected]
    assert len(expected) == 2 * 4 * 4
    for a, b in zip(mine, expected, strict=True):
        assert a["rollout_logprobs"] == pytest.approx(b["rollout_logprobs"], abs=1e-4)
    rows, others = steps(directory)[:2], steps(whole)[:2]
    assert len(others) == 2
    for row, other in zip(rows, others, strict=True):
        for name in ("train/loss", "train/grad_norm", "policy/entropy", "policy/kl", "reward/mean"):
            assert row[name] == pytest.approx(other[name], rel=1e-3, abs=1e-5), (row["step"], name)


def test_padded_rows_train_the_same(whole, policy, stage_root):
    """What models get whose attention cannot be packed; the other runs here are packed."""
    directory = run_stage(
        prepare(stage_root / "grpo_padded", policy, packing="off", num_steps=4, rollout={"engine": "transformers"}),
        num_processes=1,
    )
    for row, other in zip(steps(directory), steps(whole)[:4], strict=True):
        for name in ("train/loss", "train/grad_norm", "policy/entropy", "policy/kl", "reward/mean"):
            assert row[name] == pytest.approx(other[name], rel=1e-2, abs=1e-4), (row["step"], name)


def broken(directory: Path, how: str, monkeypatch, num_processes: int = 1) -> StageRun:
    monkeypatch.setenv("BREAK", how)
    return StageRun(directory, num_processes, program=[str(ENGINE_SCRIPTS / "broken_sampler.py")])


@pytest.mark.parametrize("num_processes, zero_stage", [(1, 0), (2, 3)])
def test_a_stale_sync_stops_the_run(policy, stage_root, monkeypatch, num_processes, zero_stage):
    directory = prepare(
        stage_root / f"grpo_stale_{num_processes}",
        policy,
        rollout={"engine": "transformers"},
        save_every=5,
        deepspeed={"zero_stage": zero_stage},
    )
    with broken(directory, "sync", monkeypatch, num_processes) as attempt:
        assert attempt.wait() == 1, attempt.log()
    error = ErrorReport.read(directory)
    assert "differ from the trainer's" in error.message and "weight sync of step 2" in error.message
    assert [row["step"] for row in steps(directory)] == [1, 2] and not (directory / "rollouts/step_000002").exists()


@pytest.fixture(scope="module")
def tied(stage_root) -> Path:
    """A random model with one matrix for embedding and head."""
    from stages.worlds.tiny_world.tokenizer import build_tokenizer
    from tests.support.engines.compare_samplers import make_model

    return make_model(stage_root / "tied_model", build_tokenizer(), is_tied=True, seed=3)


TIED = {
    "num_steps": 3,
    "updates_per_rollout": 1,
    "rewards": {"overlong": 1.0, "overlong_buffer": 12},
    "optim": {"lr": 1e-3},
}


@pytest.mark.parametrize("num_processes", [1, 2])
def test_a_tied_head_is_synced(tied, stage_root, num_processes):
    """Lengths differ, so that the overlong penalty is a reward to learn from."""
    directory = run_stage(prepare(stage_root / f"grpo_tied_{num_processes}", tied, **TIED), num_processes)
    rows = steps(directory)
    assert len(rows) == 3 and all(
        row["policy/probe_max"] < 1e-4 and row["reward/std"] > 0 and "policy/correction" not in row for row in rows
    )


def test_a_stale_tied_head_stops_the_run_before_it_trains(tied, stage_root, monkeypatch):
    """What vLLM's own reload leaves behind on CPUs: a new body under the old head."""
    directory = prepare(stage_root / "grpo_stale_head", tied, **TIED)
    with broken(directory, "head", monkeypatch, num_processes=2) as attempt:
        assert attempt.wait() == 1, attempt.log()
    error = ErrorReport.read(directory)
    assert error.is_bad_input and "differ from the trainer's" in error.message
    assert "before the first update" in error.message and "use rollout=transformers" in error.message
    assert steps(directory) == []


HALF = {"num_steps": 4, "rollout": {"engine": "transformers", "logprob_tolerance": 0.5}, "save_every": 1}


def test_a_sampler_that_disagrees_is_corrected(policy, stage_root, monkeypatch):
    """bf16 against fp32: the trainer's logprobs become the old policy's, weights near 1 correct for the sampler; a
    resume between two updates of a rollout takes them from the log.
    """
    whole = prepare(stage_root / "grpo_half", policy, **HALF)
    with broken(whole, "half", monkeypatch) as attempt:
        assert attempt.wait() == 0, attempt.log()
    rows = steps(whole)
    assert all(
        row["policy/probe_mean"] > 1e-4 and row["policy/mismatch_max"] > 1e-3 for row in rows if row["train/grad_norm"]
    )
    assert all(0.9 < row["policy/correction"] < 1.1 for row in rows if row["train/grad_norm"]) and any(
        row["train/grad_norm"] for row in rows
    )
    logged = sampled(whole, 0)
    assert (
        all(len(r["old_logprobs"]) == len(r["completion_ids"]) for r in logged)
        and logged[0]["old_logprobs"] != logged[0]["rollout_logprobs"]
    )
    resumed = prepare(stage_root / "grpo_half_killed", policy, **HALF)
    with broken(resumed, "half", monkeypatch) as attempt:
        attempt.wait_for_checkpoint(3)
    with broken(resumed, "half", monkeypatch) as attempt:
        assert attempt.wait() == 0, attempt.log()
    assert steps(resumed) == rows and weights(resumed) == weights(whole)


def test_no_correction_when_told_so(policy, stage_root, monkeypatch):
    directory = prepare(stage_root / "grpo_half_none", policy, **{**HALF, "num_steps": 2, "correction": "none"})
    with broken(directory, "half", monkeypatch) as attempt:
        assert attempt.wait() == 0, attempt.log()
    rows = steps(directory)
    assert len(rows) == 2 and all("policy/correction" not in row for row in rows)
    assert sampled(directory, 0)[0]["old_logprobs"] is None


DYNAMIC = {
    "num_steps": 6,
    "updates_per_rollout": 1,
    "oversampling": 3.0,
    "max_sampling_rounds": 3,
    "rollout": {"engine": "transformers"},
    "save_every": 2,
    "max_completion_tokens": [[0, 14]],
}


def test_dynamic_sampling_and_what_it_leaves_over_survive_a_kill(policy, stage_root, monkeypatch):
    """Every prompt is drawn once and used at most once; groups that wait for a later rollout are not lost with the
    process.
    """
    whole = run_stage(prepare(stage_root / "grpo_dynamic", policy, **DYNAMIC), num_processes=1)
    logs = {
        step: sampled(whole, step) for step in range(1, 6)
    }  # the first checkpoint, at step 2, needs those from 1 on
    assert not (whole / "rollouts/step_000000").exists()
    used = [r["index"] for log in logs.values() for r in log[::4] if r["use"] == "train"]
    assert len(used) == len(set(used)) == 5 * 4
    waited = [r for step, log in logs.items() for r in log[::4] if r["use"] == "train" and r["step"] < step]
    assert waited and {r["use"] for log in logs.values() for r in log} == {"train", "keep", "drop"}
    for step in range(2, 6):
        kept = [r["index"] for r in logs[step - 1] if r["use"] == "keep"]
        assert [r["index"] for r in logs[step] if r["step"] < step] == kept
    killed = prepare(stage_root / "grpo_dynamic_killed", policy, **DYNAMIC)
    with broken(killed, "hold", monkeypatch) as attempt:
        attempt.wait_for_checkpoint(4)  # it holds before step 5
    run_stage(killed, num_processes=1)
    assert "resumed from step_000004" in attempt_log(killed)
    assert_same_bits(killed, whole)


def test_the_published_schedule_in_small(policy, reward_models, stage_root):
    """1,700 steps with 400 of preference, a refresh every 400, two updates of 16 a rollout, a longer limit: scaled
    down, killed twice.
    """
    config = {
        **GRPO,
        "num_steps": 12,
        "updates_per_rollout": 2,
        "reference_every": 4,
        "max_completion_tokens": [[0, 14], [6, 18]],
        "preference_last_steps": 4,
        "rewards": {"format": 0.5, "language": 0.5, "preference": 1.0},
        "save_every": 1,
        "keep_checkpoints": 3,
        "mix": {"reasoning": 0.4, "helpful": 0.3, "safety": 0.3},
        "rollout": {"temperature": 0.7, "engine": "transformers"},
    }

    def directory(name: str) -> Path:
        return write_stage(
            stage_root / name, "grpo", config, {"policy": policy, "reward_models": reward_models}, stage=STAGE
        )

    whole = run_stage(directory("schedule"))
    rows = steps(whole)
    assert [any(name in row for name in ("reward/helpful", "reward/safety")) for row in rows] == [False] * 8 + [
        True
    ] * 4
    assert (
        max(row["completion/max_tokens"] for row in rows[:6])
        == 14
        < max(row["completion/max_tokens"] for row in rows[6:])
        <= 18
    )
    divergence = [row["policy/kl"] for row in rows]
    assert all(divergence[i] < 1e-6 for i in (4, 8)) and all(divergence[i] > 1e-6 for i in (3, 7, 11))
    killed = directory("schedule_killed")
    for step in (5, 9):
        with StageRun(killed) as attempt:
            attempt.wait_for_step(step)
    run_stage(killed)
    assert steps(killed) == rows and weights(killed) == weights(whole)
    assert read_jsonl(killed / "samples.jsonl") == read_jsonl(whole / "samples.jsonl")
