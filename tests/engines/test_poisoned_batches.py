"""A poisoned batch takes a stage back to its last good checkpoint; it goes on without the batch, to the bits that the
record alone decides.
"""

import pytest

from scripts.chaos_tools.outcome import differences, outcome
from stages.contract.error_report import ErrorReport
from stages.contract.files import read_jsonl
from stages.contract.manifest import Manifest
from stages.training.epochs import epoch_indices
from tests.support.poisoned_runs import assert_the_record_decides, attempt, run_poisoned
from tests.support.stage_dirs import attempt_log, steps, write_stage
from tests.support.tiny_stages import DATA

HEALTH = {"on_alarm": "rollback"}
SFT = {
    "num_epochs": 10,
    "max_steps": 8,
    "batch_size": 4,
    "max_tokens": 64,
    "save_every": 2,
    "keep_checkpoints": 3,
    "optim": {"lr": 1e-3},
    "health": HEALTH,
}
GRPO = {
    "num_steps": 6,
    "prompts_per_step": 4,
    "group_size": 4,
    "updates_per_rollout": 2,
    "max_completion_tokens": [[0, 14]],
    "beta": 0.05,
    "reference_every": 3,
    "rewards": {"format": 0.5, "language": 0.5},
    "micro_batch_tokens": 300,
    "save_every": 1,
    "data": DATA,
    "optim": {"lr": 2e-3},
    "rollout": {"engine": "transformers"},
    "health": {**HEALTH, "entropy_floor": 0.0, "kl_limit": 1e6, "mismatch_kl_limit": 1e6},
}  # its large steps would raise those too


@pytest.fixture
def sft(base, sft_data, stage_root):
    return lambda name, **changes: write_stage(
        stage_root / f"rollback {name}" / "sft", "sft", {**SFT, **changes}, {"policy": base, "data": sft_data}
    )


@pytest.fixture
def order(sft_data):
    """The rows of the first batches of four, in the order in which they are trained on."""
    from datasets import Dataset

    return epoch_indices(len(Dataset.from_parquet(str(sft_data / "data/train.parquet"))), 0, 32, 0, "sft")


def test_sft_goes_on_without_the_batch(sft, order):
    row = order[21]  # in batch 5
    directory = sft("whole")
    (line,) = run_poisoned(directory, rows=[row])
    assert (
        line["batches"] == [5]
        and line["step"] == 6
        and line["checkpoint"] == 4
        and "train/loss is nan" in line["message"]
    )
    assert [r["step"] for r in steps(directory)] == list(range(1, 9)) and all(
        r["train/loss"] < 100 for r in steps(directory)
    )
    assert "skipped.jsonl" in Manifest.read(directory).files
    assert "rolled back to step 4, without batch 5" in attempt_log(
        directory
    ) and "resumed from step_000004" in attempt_log(directory)
    assert_the_record_decides(directory, sft("informed"))
    for when in ("before", "after"):
        killed = sft(f"killed {when}")
        with attempt(killed, rows=[row], kill=when) as running:
            assert running.wait() == -9, running.log()
        assert (killed / "skipped.jsonl").exists() == (when == "after")
        run_poisoned(killed, rows=[row])
        assert not differences(outcome(killed), outcome(directory))


def test_the_first_step_can_be_gone_back_from_under_zero_2(sft, order):
    changes = {"max_steps": 3, "deepspeed": {"zero_stage": 2}}
    directory = sft("first", **changes)
    (line,) = run_poisoned(directory, num_processes=2, rows=[order[2]])
    assert line["batches"] == [0] and line["checkpoint"] == 0
    assert_the_record_decides(directory, sft("first informed", **changes), num_processes=2)


def test_what_does_not_help_is_not_done_for_ever(sft, order):
    directory = sft("hopeless", health={**HEALTH, "max_rollbacks": 1})
    with attempt(directory, rows=[order[9], order[17]]) as running:
        assert running.wait() == 1, running.log()
    error = ErrorReport.read(directory)
    assert (
        error.kind == "Unhealthy"
        and "rolled back 1 time(s) before" in error.message
        and "health.max_rollbacks" in error.fix
    )
    assert [line["batches"] for line in read_jsonl(directory / "skipped.jsonl")] == [[2]]


@pytest.fixture
def grpo(policy, stage_root):
    return lambda name, **changes: write_stage(
        stage_root / f"rollback {name}" / "grpo", "grpo", {**GRPO, **changes}, {"policy": policy}, stage="collected"
    )


def test_grpo_goes_on_without_the_batch(grpo):
    directory = grpo("whole")
    lines = run_poisoned(
        directory, index=13
    )  # in the second rollout, prompts 8 to 15, whose completions are split at random into batches 2 and 3
    assert [line["batches"] for line in lines] == [[2], [3]] and [line["checkpoint"] for line in lines] == [2, 2]
    assert all(
        13 in line["indices"] and set(line["indices"]) <= set(range(8, 16)) and line["next_index"] == 16
        for line in lines
    )
    assert [r["step"] for r in steps(directory)] == list(range(1, 7))
    assert_the_record_decides(directory, grpo("informed"))
    killed = grpo("killed")
    with attempt(killed, index=13, kill="after") as running:
        assert running.wait() == -9, running.log()
    run_poisoned(killed, index=13)
    assert not differences(outcome(killed), outcome(directory))


def test_grpo_with_vllm_on_two_ranks_goes_on_without_the_batch(grpo):
    directory, informed = (grpo(name, rollout={"engine": "vllm"}) for name in ("vllm", "vllm informed"))
    lines = run_poisoned(directory, 2, index=13)
    assert [line["batches"] for line in lines] == [[2], [3]] and [line["checkpoint"] for line in lines] == [2, 2]
    assert_the_record_decides(directory, informed, 2)
