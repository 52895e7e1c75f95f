"""Rows that ranks hold together (deepspeed.sequence_parallel): every loss has the gradient of one rank.

Under every ZeRO stage; and stages under it train, and resume to the same bits.
"""

import json

import pytest
from safetensors.torch import load_file

from tests.support.paths import ENGINE_SCRIPTS
from tests.support.stage_dirs import StageRun, attempt_log, run_script, run_stage, sampled, steps, write_stage
from tests.support.tiny_stages import GRPO, REWARD_MODELS

SCRIPT = ENGINE_SCRIPTS / "long_rows.py"
ROUNDING = 1e-5


def check(outcomes: dict) -> None:
    """Gradients relative to the largest of a tensor, and metrics: losses, KL, entropy, clipping, norms."""
    for case, losses in outcomes.items():
        for name, (gradient, metric) in losses.items():
            assert gradient < ROUNDING and metric < ROUNDING, (case, name, gradient, metric)


def test_every_loss_has_the_gradient_of_one_rank(tmp_path):
    """All losses of RL with and without corrections, SFT, and both losses of reward models; uneven lengths, the head in
    chunks; ZeRO 0 to 3; with adapters; and families of models by themselves.
    """
    cases = [{"zero_stage": stage, "sequence_parallel": 2} for stage in (0, 1, 2, 3)]
    cases += [{"zero_stage": stage, "sequence_parallel": 2, "lora": True} for stage in (2, 3)]
    outcomes = run_script(SCRIPT, json.dumps([*cases, {"families": 2}]), tmp_path / "two.json", num_processes=2)
    check({json.dumps(case): outcomes.pop(json.dumps(case)) for case in cases})
    assert len(outcomes) > 10  # families
    check({"families": outcomes})


def test_feed_forward_layers_in_parts_have_the_same_gradient(tmp_path):
    """DeepSpeed's tiled MLP, in parts that do not divide the tokens: alone, with groups of ranks, with adapters."""
    cases = [{"zero_stage": stage, "mlp_tiles": 3} for stage in (0, 1, 2, 3)]
    cases += [{"zero_stage": 3, "mlp_tiles": 3, "sequence_parallel": 2, "gradient_checkpointing": True}]
    cases += [{"zero_stage": 2, "mlp_tiles": 3, "lora": True}]
    check(run_script(SCRIPT, json.dumps(cases), tmp_path / "tiles.json", num_processes=2))


def test_groups_of_ranks_beside_each_other(tmp_path):
    """Two groups of two ranks; four ranks with two key-value heads, which are repeated; hpZ alone and with groups."""
    cases = [
        {"zero_stage": 2, "sequence_parallel": 2},
        {"zero_stage": 3, "sequence_parallel": 4},
        {"zero_stage": 3, "hpz_partition_size": 2},
        {"zero_stage": 3, "hpz_partition_size": 2, "sequence_parallel": 2, "gradient_checkpointing": True},
    ]
    cases += [{"second_copy": 2}]
    outcomes = run_script(SCRIPT, json.dumps(cases), tmp_path / "four.json", num_processes=4)
    assert outcomes.pop("second_copy") == [0.0, 0.0]  # three steps in bf16: the same bits as without
    check(outcomes)


@pytest.mark.parametrize("zero_stage", [1, 3])
def test_reinforcement_learning_is_that_of_ranks_with_rows_of_their_own(policy, stage_root, zero_stage):
    """The first rollout is the same tokens, updates are the same to rounding; killed and resumed: the same bits."""
    few = {**GRPO, "num_steps": 4, "max_completion_tokens": [[0, 14]], "rollout": {"engine": "transformers"}}

    def stage(name: str, sequence_parallel: int):
        deepspeed = {"zero_stage": zero_stage, "sequence_parallel": sequence_parallel}
        if zero_stage == 3 and sequence_parallel > 1:  # with a second copy of the parameters, which a resume makes anew
            deepspeed |= {"hpz_partition_size": 2, "mlp_tiles": 2}
        directory = stage_root / f"{name}_{zero_stage}"
        return write_stage(directory, "grpo", few | {"deepspeed": deepspeed}, {"policy": policy}, stage="long_rl")

    apart, together = run_stage(stage("rl_apart", 1)), run_stage(stage("rl_together", 2))
    assert [r["completion_ids"] for r in sampled(together, 0)] == [r["completion_ids"] for r in sampled(apart, 0)]
    for row, other in zip(steps(together)[:2], steps(apart)[:2], strict=True):  # of the first rollout
        for name in ("train/loss", "train/grad_norm", "policy/entropy", "policy/kl", "tokens/trained"):
            assert row[name] == pytest.approx(other[name], rel=1e-3, abs=1e-4), name
    killed = stage("rl_killed", 2)
    with StageRun(killed) as attempt:
        attempt.wait_for_checkpoint(1)
    run_stage(killed)
    assert "resumed from step_" in attempt_log(killed)
    assert_same_bits(killed, together)


def test_sft_on_two_ranks_with_one_row_resumes_to_the_same_bits(base, sft_data, stage_root):
    config = {
        "max_steps": 8,
        "batch_size": 6,
        "max_tokens": 64,
        "micro_batch_tokens": 100,
        "save_every": 2,
        "optim": {"lr": 1e-3},
        "deepspeed": {"zero_stage": 2, "sequence_parallel": 2},
    }

    def stage(name: str, **changes):
        return write_stage(stage_root / name, "sft", config | changes, {"policy": base, "data": sft_data}, stage="sft")

    together = run_stage(stage("sft_together"))
    apart = run_stage(stage("sft_apart", deepspeed={"zero_stage": 2}))
    for row, other in zip(steps(together), steps(apart), strict=True):
        assert row["train/tokens"] == other["train/tokens"]
        assert row["train/loss"] == pytest.approx(other["train/loss"], abs=1e-4)
        assert row["train/grad_norm"] == pytest.approx(other["train/grad_norm"], rel=1e-2)
    killed = stage("sft_killed")
    with StageRun(killed) as attempt:
        attempt.wait_for_checkpoint(4)
    run_stage(killed)
    assert_same_bits(killed, together)


def test_reward_models_of_ranks_with_one_row(policy, reward_models, stage_root):
    """They learn what ranks with rows of their own do, to rounding; killed in both models, resumed: the same bits."""

    def stage(name: str):
        config = REWARD_MODELS | {"deepspeed": {"zero_stage": 1, "sequence_parallel": 2}, "save_every": 2}
        return write_stage(stage_root / name, "reward_models", config, {"policy": policy}, stage="reward_models")

    together = run_stage(stage("rm_together"))
    for row, other in zip(steps(together), steps(reward_models), strict=True):
        (loss,) = (name for name in row if name.endswith("/loss"))  # of the helpful model, then of the safety model
        assert row[loss] == pytest.approx(other[loss], abs=1e-3), (row["step"], loss)
        assert row["tokens/trained"] == other["tokens/trained"]
    killed = stage("rm_killed")
    for place in ("state/helpful/step_000004", "state/safety/step_000002"):
        with StageRun(killed) as attempt:
            attempt.wait_for((killed / place).exists, place)
    run_stage(killed)
    assert "resumed from step_" in attempt_log(killed)
    assert steps(killed) == steps(together) != []
    for name in ("helpful", "safety"):
        weights = f"model/{name}/model.safetensors"
        assert (killed / weights).read_bytes() == (together / weights).read_bytes()


def assert_same_bits(directory, whole) -> None:
    assert steps(directory) == steps(whole)
    weights, expected = (load_file(path / "model" / "model.safetensors") for path in (directory, whole))
    assert all((weights[name] == expected[name]).all() for name in expected)
