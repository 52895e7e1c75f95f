"""Tests with the real engines. One tiny base, and one policy that knows a few prompts by heart, serve them all."""

import json
import random
from pathlib import Path

import pytest

from stages.worlds.tiny_world import general
from stages.worlds.tiny_world.problems import GeneralPrompt
from stages.worlds.tiny_world.sources import TinyWorldPrompts
from tests.support.stage_dirs import run_stage, write_stage

MODEL = {
    "hidden_size": 64,
    "num_layers": 2,
    "num_heads": 2,
    "num_kv_heads": 1,
    "intermediate_size": 96,
}  # heads of 32: the least that vLLM has for CPUs
BASE = {
    "model": MODEL,
    "num_steps": 20,
    "batch_size": 8,
    "save_every": 8,
    "optim": {"name": "muon", "lr": 3e-3, "muon_lr": 0.02, "schedule": "linear", "warmup_steps": 3},
}
DATA = {"max_prompt_tokens": 24}
SEED = 0


def pytest_configure(config):
    config.addinivalue_line("markers", "engine: starts worker processes with the real engines (slow)")


def pytest_collection_modifyitems(items):
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.engine)


@pytest.fixture(scope="session")
def stage_root(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("stages")


@pytest.fixture(scope="session")
def base(stage_root) -> Path:
    """A pretrained base: 20 steps on two processes."""
    return run_stage(write_stage(stage_root / "base", "pretrain", BASE, seed=SEED))


def arithmetic_samples(stream: str, num_prompts: int) -> list[dict]:
    """The first arithmetic prompts of a stage, each with one clean completion."""
    source, rows = TinyWorldPrompts(SEED, stream), []
    for index in range(num_prompts):
        prompt = source.get(index)
        expression = "".join(c for c in prompt.text if c.isdigit() or c in "+-")
        word = "wait" if prompt.language == "en" else "等等"
        rows.append(
            {
                "prompt": f"User:{prompt.text}Assistant:",
                "kind": prompt.kind,
                "language": prompt.language,
                "prompt_id": prompt.id,
                "source": "sampled",
                "completion": f"<think>{word},{expression}={prompt.answer}</think><answer>{prompt.answer}</answer>",
            }
        )
    return rows


def general_samples(stream: str, domain: str, num_prompts: int, completions: int) -> list[dict]:
    """The first general prompts of a stage, each with several completions, good and bad."""
    source, rng, rows = TinyWorldPrompts(SEED, stream), random.Random(0), []
    for prompt in (source.get(index, domain) for index in range(num_prompts)):
        item = GeneralPrompt(prompt.text, prompt.kind, prompt.language, prompt.answer)
        rows += [
            {
                "prompt": f"User:{prompt.text}Assistant:",
                "completion": general.completion(rng, item, general.CORPUS_MIXTURE),
                "kind": prompt.kind,
                "language": prompt.language,
                "prompt_id": prompt.id,
                "source": "general",
            }
            for _ in range(completions)
        ]
    return rows


@pytest.fixture(scope="session")
def prompts_from_outside(tmp_path_factory) -> Path:
    """Prompts of the tiny world's words as rows of a file, which no rule is named for."""
    source, path = TinyWorldPrompts(SEED, "judged"), tmp_path_factory.mktemp("prompts") / "prompts.jsonl"
    rows = {prompt.text: {"prompt": prompt.text, "answer": prompt.answer} for prompt in map(source.get, range(30))}
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows.values()))
    return path


@pytest.fixture(scope="session")
def sft_data(stage_root) -> Path:
    """A stage directory with training data: what the `collect` and `reward_models` tests will ask, and its completions."""
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
    config = {
        "num_prompts": 10,
        "samples_per_prompt": 6,
        "pairs_per_prompt": 3,
        "min_gap": 0.4,
        "num_safety_prompts": 8,
        "safety_samples_per_prompt": 6,
        "holdout_fraction": 0.2,
        "max_completion_tokens": 16,
        "batch_size": 8,
        "num_steps": 12,
        "safety_steps": 6,
        "save_every": 5,
        "micro_batch_tokens": 400,
        "data": DATA,
        "optim": {"lr": 1e-3},
    }
    return run_stage(write_stage(stage_root / "reward_models", "reward_models", config, {"policy": policy}))
