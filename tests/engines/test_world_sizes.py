"""A checkpoint of two processes continues on one and the other way round, under every ZeRO stage, before, at and after
an epoch's end.
"""

import json
from pathlib import Path

import pytest
from safetensors.torch import load_file

from tests.support.paths import ENGINE_SCRIPTS
from tests.support.stage_dirs import attempt_log, run_script, steps, write_stage

SCRIPT = ENGINE_SCRIPTS / "several_stages.py"
ZERO_STAGES, NUM_STEPS, EPOCH = (0, 1, 2, 3), 9, 5
STOPS = (EPOCH - 1, EPOCH, EPOCH + 1)
DONE, INTERRUPTED = 0, 75


@pytest.fixture(scope="module")
def small_data(tmp_path_factory) -> Path:
    """20 samples of different lengths: five steps of four."""
    from datasets import Dataset

    directory = tmp_path_factory.mktemp("small_data")
    (directory / "data").mkdir()
    rows = [
        {
            "prompt": f"User:{i}+{i}?Assistant:",
            "completion": f"<think>{'wait,' * (i % 7)}{i}+{i}={2 * i}</think><answer>{2 * i}</answer>",
            "kind": "sum",
            "language": "en",
            "prompt_id": str(i),
            "source": "sampled",
        }
        for i in range(20)
    ]
    Dataset.from_list(rows).to_parquet(str(directory / "data" / "train.parquet"))
    return directory


@pytest.fixture(scope="module")
def runs(base, small_data, tmp_path_factory) -> dict[str, Path]:
    """Finished stage directories by name: z2_whole; z2_4_from_1 was stopped in step 4 on one process and finished on
    two.
    """
    root = tmp_path_factory.mktemp("world_sizes")

    def stage(name: str, zero_stage: int) -> str:
        config = {
            "num_epochs": 10,
            "max_steps": NUM_STEPS,
            "batch_size": 4,
            "max_tokens": 64,
            "micro_batch_tokens": 60,
            "save_every": 100,
            "optim": {"lr": 1e-3, "schedule": "cosine", "warmup_steps": 2, "weight_decay": 0.01, "grad_clip": 0.5},
            "deepspeed": {"zero_stage": zero_stage},
        }
        return str(write_stage(root / name, "sft", config, {"policy": base, "data": small_data}, stage="sft"))

    def launch(cases: list, num_processes: int, code: int) -> None:
        assert set(run_script(SCRIPT, json.dumps(cases), root / "codes.json", num_processes=num_processes)) == {code}

    stopped = {n: [[stage(f"z{z}_{stop}_from_{n}", z), stop] for z in ZERO_STAGES for stop in STOPS] for n in (1, 2)}
    launch([[stage(f"z{z}_whole", z), None] for z in ZERO_STAGES], 2, DONE)
    for num_processes in (1, 2):
        launch(stopped[num_processes], num_processes, INTERRUPTED)
    for num_processes in (1, 2):
        launch([[directory, None] for directory, _ in stopped[3 - num_processes]], num_processes, DONE)
    return {path.name: path for path in root.iterdir() if path.is_dir()}


@pytest.mark.parametrize("num_processes", [1, 2])
@pytest.mark.parametrize("zero_stage", ZERO_STAGES)
def test_a_checkpoint_continues_on_another_number_of_processes(runs, zero_stage, num_processes):
    whole = runs[f"z{zero_stage}_whole"]
    expected = load_file(whole / "model/model.safetensors")
    for stop in STOPS:
        directory = runs[f"z{zero_stage}_{stop}_from_{num_processes}"]
        assert f"resumed from step_{stop:06d}" in attempt_log(
            directory
        ) and f"{3 - num_processes} process(es)" in attempt_log(directory)
        for row, wanted in zip(steps(directory), steps(whole), strict=True):
            assert (row["step"], row["train/tokens"], row["train/lr"]) == (
                wanted["step"],
                wanted["train/tokens"],
                wanted["train/lr"],
            )
            assert row["train/loss"] == pytest.approx(wanted["train/loss"], abs=1e-5)
        weights = load_file(directory / "model/model.safetensors")
        assert weights.keys() == expected.keys()
        assert max((weights[name] - expected[name]).abs().max().item() for name in expected) < 1e-5
        assert not (directory / "state").exists()
