"""Numbers that are not finite never end in a manifest, whatever health.on_alarm says and wherever they appear."""

import json
import re
import shutil

import pytest
import torch

from stages.contract import exit_codes
from stages.contract.error_report import ErrorReport
from stages.contract.files import file_table, read_json, read_jsonl, write_json
from tests.engines.test_poisoned_batches import GRPO, SFT
from tests.support.poisoned_runs import attempt
from tests.support.stage_dirs import StageRun, write_stage

WARN = {"on_alarm": "warn"}


@pytest.fixture
def sft(base, sft_data, stage_root):
    def make(name, **changes):
        config = {**SFT, "max_steps": 4, "health": WARN, **changes}
        return write_stage(stage_root / f"finite {name}" / "sft", "sft", config, {"policy": base, "data": sft_data})

    return make


def refused(directory, num_processes=1, **poison) -> ErrorReport:
    with attempt(directory, num_processes, **poison) as running:
        assert running.wait() == exit_codes.FAILED, running.log()
    assert not (directory / "manifest.json").exists() and not (directory / "model").exists()
    error = ErrorReport.read(directory)
    assert error.kind == "Unhealthy" and "lower optim.lr" in error.fix
    return error


@pytest.mark.parametrize(
    "name, num_processes, deepspeed",
    [
        ("fp32", 1, {}),
        ("bf16", 1, {"precision": "bf16"}),
        ("zero 3 bf16", 2, {"zero_stage": 3, "precision": "bf16"}),
    ],
)
def test_an_infinite_gradient_of_the_last_step_ends_the_stage(name, num_processes, deepspeed, sft):
    error = refused(sft(name, deepspeed=deepspeed), num_processes, steps=[4])
    assert re.search("train/grad_norm is (inf|nan) at step 4; the steps before it looked well", error.message)


def test_weights_are_looked_at_before_the_export(sft):
    directory = sft("weights", deepspeed={"zero_stage": 3})
    error = refused(directory, broken=[4])
    assert "NaN or infinity after step 4 in " in error.message
    assert [row["name"] for row in read_jsonl(directory / "alarms.jsonl")] == ["non_finite"]


def test_a_rollback_mends_weights_that_broke(sft):
    directory = sft("mended", save_every=1, health={"on_alarm": "rollback"})
    with attempt(directory, broken=[4]) as running:
        assert running.wait() == 0, running.log()
    (line,) = read_jsonl(directory / "skipped.jsonl")
    assert line["batches"] == [3] and line["checkpoint"] == 3


def test_a_checkpoint_that_an_older_version_wrote_is_refused_and_an_earlier_one_named(sft):
    directory = sft("older", save_every=1, keep_checkpoints=4)
    with StageRun(directory, 1) as running:
        running.wait_for_checkpoint(3)
        running.kill()
    for checkpoint in (directory / "state").glob("step_*"):
        if checkpoint.name != "step_000001":
            _break(checkpoint)
    with StageRun(directory, 1) as running:
        assert running.wait() == exit_codes.BAD_INPUT, running.log()
    message = ErrorReport.read(directory).message
    assert "step_000003 holds numbers that are NaN" in message and "then goes on from step_000001" in message


def _break(checkpoint):
    """Puts a NaN into the weights of a checkpoint, which stays whole as far as its checksums say."""
    (path,) = (checkpoint / "engine").rglob("mp_rank_00_model_states.pt")
    state = torch.load(path, weights_only=False)
    next(iter(state["module"].values())).view(-1)[0] = float("nan")
    torch.save(state, path)
    table = read_json(checkpoint / "manifest.json")["files"]
    write_json(checkpoint / "manifest.json", {"files": file_table(checkpoint, list(table))})


def test_grpo_ends_too(policy, stage_root):
    config = {**GRPO, "num_steps": 2, "health": {**GRPO["health"], **WARN}}
    directory = write_stage(stage_root / "finite grpo" / "grpo", "grpo", config, {"policy": policy}, stage="collected")
    assert "train/grad_norm is " in refused(directory, steps=[2]).message


def test_a_model_with_broken_weights_is_not_evaluated(base, stage_root, tmp_path):
    from safetensors.torch import load_file, save_file

    model = shutil.copytree(base / "model", tmp_path / "broken")
    weights = load_file(model / "model.safetensors")
    name = sorted(weights)[0]
    weights[name].view(-1)[0] = float("inf")
    save_file(weights, model / "model.safetensors", {"format": "pt"})
    config = {"num_reasoning": 1, "num_general": 0, "num_safety": 0, "max_completion_tokens": 8}
    directory = write_stage(stage_root / "finite evaluate", "evaluate", config, {"broken": model})
    with StageRun(directory, 1) as running:
        assert running.wait() == exit_codes.BAD_INPUT, running.log()
    error = json.loads((directory / "error.json").read_text())
    assert name in error["message"] and "NaN or infinite" in error["message"]
