"""Prompts and context lengths are checked before any engine starts, and each mistake is named with its fix."""

import json
from types import SimpleNamespace

import pytest

from stages.config import DataConfig, ModelConfig
from stages.data.inputs import open_prompts
from stages.modeling.model import new_model, save_model
from stages.prompting.encoding import Encoder
from stages.runtime.errors import InputError
from stages.worlds.tiny_world.tokenizer import build_tokenizer

WORKER = SimpleNamespace(seed=0, stage="r1_zero")


@pytest.fixture(scope="module")
def tokenizer():
    return build_tokenizer()


@pytest.fixture(scope="module")
def model_dir(tokenizer, tmp_path_factory):
    """A model that holds 64 tokens."""
    directory = tmp_path_factory.mktemp("model")
    config = ModelConfig(
        hidden_size=32, num_layers=1, num_heads=2, num_kv_heads=1, intermediate_size=32, max_positions=64
    )
    save_model(new_model(config, tokenizer, 0), None, tokenizer, directory)
    return directory


@pytest.fixture(scope="module")
def encoder(tokenizer):
    return Encoder(tokenizer, "plain")


def data_with(tmp_path, *rows: dict, **more) -> DataConfig:
    path = tmp_path / "prompts.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return DataConfig(name="file", path=str(path), eval_fraction=0.0, max_prompt_tokens=16, **more)


GOOD = {"prompt": "1+1?", "answer": "2"}


def test_good_prompts(encoder, model_dir, tmp_path):
    prompt = open_prompts(WORKER, data_with(tmp_path, GOOD), encoder, model_dir, 48).get(0)
    assert (prompt.text, prompt.answer, prompt.domain) == ("1+1?", "2", "reasoning")
    assert open_prompts(WORKER, DataConfig(max_prompt_tokens=32), encoder, model_dir, 32).get(0).domain == "reasoning"


def test_examples_before_generated_prompts_count(tokenizer, model_dir):
    examples = json.dumps([{"role": "user", "content": "7+5"}, {"role": "assistant", "content": "12" * 20}])
    data = DataConfig(max_prompt_tokens=32, examples=examples)
    with pytest.raises(InputError, match="its examples a prompt has .* tokens, more than data.max_prompt_tokens=32"):
        open_prompts(WORKER, data, Encoder.of(data, tokenizer), model_dir, 32)


def test_a_row_without_answer(encoder, model_dir, tmp_path):
    with pytest.raises(InputError, match="line 2"):
        open_prompts(WORKER, data_with(tmp_path, GOOD, {"prompt": "2+2?"}), encoder, model_dir, 8)


def test_a_prompt_that_is_too_long(encoder, model_dir, tmp_path):
    with pytest.raises(InputError, match="max_prompt_tokens"):
        open_prompts(WORKER, data_with(tmp_path, GOOD, {"prompt": "1+1?" * 30, "answer": "2"}), encoder, model_dir, 8)


def test_a_context_that_is_too_short(encoder, model_dir, tmp_path):
    with pytest.raises(InputError, match="asks for 65 tokens .* holds 64: lower stages.r1_zero.max_completion_tokens"):
        open_prompts(WORKER, data_with(tmp_path, GOOD), encoder, model_dir, 49)
