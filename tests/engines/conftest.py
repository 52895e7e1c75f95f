"""Tests with the real engines. One tiny base, and one policy that knows a few prompts by heart, serve them all."""

import json
from pathlib import Path

import pytest

from stages.worlds.tiny_world.sources import TinyWorldPrompts
from tests.support.stage_dirs import run_stage, write_stage
from tests.support.tiny_stages import BASE, REWARD_MODELS, SEED, arithmetic_samples, general_samples


@pytest.fixture(scope="session")
def stage_root(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("stages")


@pytest.fixture(scope="session")
def base(stage_root) -> Path:
    """A pretrained base: 20 steps on two processes."""
    return run_stage(write_stage(stage_root / "base", "pretrain", BASE, seed=SEED))


@pytest.fixture(scope="session")
def prompts_from_outside(tmp_path_factory) -> Path:
    """Prompts of the tiny world's words as rows of a file, which no rule is named for."""
    source, path = TinyWorldPrompts(SEED, "judged"), tmp_path_factory.mktemp("prompts") / "prompts.jsonl"
    rows = {prompt.text: {"prompt": prompt.text, "answer": prompt.answer} for prompt in map(source.get, range(30))}
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows.values()))
    return path


@pytest.fixture(scope="session")
def sft_data(stage_root) -> Path:
    """A stage directory with training data: what the `collect` and `reward_models` tests ask, with completions."""
    from datasets import Dataset

    directory = stage_root / "sft_data"
    (directory / "data").mkdir(parents=True)
    rows = (
        arithmetic_samples("collected", 8) * 4
        + general_samples("reward_models", "helpful", 10, 6)
        + general_samples("reward_models", "safety_labels", 8, 6)
    )
    Dataset.from_list(rows).to_parquet(str(directory / "data" / "train.parquet"))
    return directory


@pytest.fixture(scope="session")
def policy(stage_root, base, sft_data) -> Path:
    """The base fine-tuned on `sft_data` until it knows those prompts by heart."""
    config = {
        "num_epochs": 100,
        "max_steps": 150,
        "batch_size": 16,
        "max_tokens": 64,
        "micro_batch_tokens": 800,
        "save_every": 60,
        "optim": {"lr": 4e-3, "warmup_steps": 5, "schedule": "cosine"},
    }
    return run_stage(write_stage(stage_root / "policy", "sft", config, {"policy": base, "data": sft_data}, seed=SEED))


@pytest.fixture(scope="session")
def reward_models(policy, stage_root):
    return run_stage(write_stage(stage_root / "reward_models", "reward_models", REWARD_MODELS, {"policy": policy}))
