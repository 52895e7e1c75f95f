"""Bad input ends with exit code 64 and an error that says what to mend; pretraining that was killed continues bit for
bit.
"""

from stages.contract.error_report import ErrorReport
from tests.support.stage_dirs import StageRun, attempt_log, run_stage, steps, write_stage
from tests.support.tiny_stages import BASE, DATA, SEED

SFT = {"max_steps": 2, "batch_size": 4, "max_tokens": 64}


def fails(directory, num_processes: int = 1) -> str:
    """The message of a stage that must refuse its input."""
    with StageRun(directory, num_processes) as attempt:
        code = attempt.wait()
        assert 64 in ({code} if num_processes == 1 else attempt.rank_exit_codes()), (
            attempt.log()
        )  # peers of the failing rank are ended with 1
    error = ErrorReport.read(directory)
    assert error.kind == "input" and not (directory / "manifest.json").exists()
    assert "Traceback" not in attempt_log(directory)
    return error.message


def test_a_directory_without_weights(base, sft_data, tmp_path):
    (tmp_path / "hollow").mkdir()
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        (tmp_path / "hollow" / name).write_bytes((base / "model" / name).read_bytes())
    directory = write_stage(tmp_path / "hollow_sft", "sft", SFT, {"policy": tmp_path / "hollow", "data": sft_data})
    assert "no usable model in" in fails(directory, num_processes=2)


def test_empty_data(base, tmp_path):
    from datasets import Dataset

    (tmp_path / "empty" / "data").mkdir(parents=True)
    row = {
        "prompt": "User:hi!Assistant:",
        "completion": "hello." * 40,
        "kind": "greet",
        "language": "en",
        "prompt_id": "p",
        "source": "general",
    }
    Dataset.from_list([row]).to_parquet(str(tmp_path / "empty" / "data" / "train.parquet"))
    directory = write_stage(tmp_path / "empty_sft", "sft", SFT, {"policy": base, "data": tmp_path / "empty"})
    message = fails(directory)
    assert "no sample of at most 64 tokens (1 are longer)" in message and "max_tokens" in message


def test_a_malformed_prompt_file(base, tmp_path):
    path = tmp_path / "prompts.jsonl"
    path.write_text('{"prompt": "1+1?", "answer": "2"}\n{"prompt": "2+2?"}\n')
    config = {
        "num_steps": 1,
        "updates_per_rollout": 1,
        "prompts_per_step": 1,
        "group_size": 2,
        "max_completion_tokens": [[0, 8]],
        "data": {**DATA, "name": "file", "path": str(path)},
    }
    assert "line 2" in fails(write_stage(tmp_path / "rl", "grpo", config, {"policy": base}))


def test_killed_pretraining_continues_bit_for_bit(base, stage_root):
    """Muon and AdamW states, the learning-rate schedule and the corpus; the newest checkpoint lacks its manifest."""
    directory = write_stage(stage_root / "killed_base", "pretrain", {**BASE, "save_every": 3}, stage="base", seed=SEED)
    with StageRun(directory) as attempt:
        attempt.wait_for_step(7)
    newest = sorted((directory / "state").glob("step_*"))[-1]
    (newest / "manifest.json").unlink()
    run_stage(directory)
    assert f"WARNING: checkpoint {newest} is damaged" in attempt_log(directory)
    assert steps(directory) == steps(base)
    assert (directory / "model/model.safetensors").read_bytes() == (base / "model/model.safetensors").read_bytes()
