"""A model stops in both engines where its turn ends in a second end of sequence, or in one of its tokenizer alone."""

import pytest

from stages.text.completion import is_well_formed
from tests.support.engines.turn_ends import MODELS
from tests.support.paths import ENGINE_SCRIPTS
from tests.support.stage_dirs import run_script


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    directory = tmp_path_factory.mktemp("ends")
    return run_script(ENGINE_SCRIPTS / "turn_ends.py", directory, directory / "result.json")


@pytest.mark.parametrize("engine", ["vllm", "transformers"])
@pytest.mark.parametrize("model", MODELS)
def test_the_turn_ends_and_the_format_is_right(drawn, model, engine):
    found = drawn[f"{model}/{engine}"]
    assert found["text"] == "<think>1</think><answer>7</answer>" and is_well_formed(found["text"])
    assert found["last"] == "<pad>" and not found["truncated"]  # the token that ended it is trained on
    assert found["logprobs"] and found["cut"] == ["<think>1</think>", True]
