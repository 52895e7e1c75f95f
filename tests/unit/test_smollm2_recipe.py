"""recipe=smollm2: what the models see, which problems they learn from, and what is said where a model is missing."""

import re

import pytest

from pipeline.configuration import compose
from pipeline.configuration.model_directory import locate
from pipeline.errors import MissingInput
from stages.data.prompt_sources import evaluation_sets, make_source
from stages.prompting.encoding import Encoder
from stages.text.completion import is_well_formed
from stages.worlds.reasoning_gym.source import is_held_out
from tests.support.tokenizers import CHATML, byte_level, saved

pytestmark = pytest.mark.slow  # composes whole configurations

RECIPES = ("smollm2", "smollm2_gpu")
TRAINED_ON_THE_FORM = ("reasoning_rl", "rejection_data", "reward_models", "preference_rl")


@pytest.fixture(scope="module", params=RECIPES)
def config(request):
    return compose.compose_config([f"recipe={request.param}", "+stage=all"])


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return saved(byte_level(), tmp_path_factory.mktemp("tokenizer"), CHATML, eos_token="<|im_end|>")


def held_out_sets(config):
    wanted = config.stages.evaluate
    return evaluation_sets(wanted.data, wanted.num_reasoning, wanted.num_general, wanted.num_safety)


def encoder(data, tokenizer):
    return Encoder(tokenizer, data.template, data.system, data.examples or "")


def test_r1_zero_sees_worked_examples_and_an_opened_thought(config, tokenizer):
    for data in (config.stages.r1_zero.data, config.stages.student_rl.data, config.stages.cold_start_data.data):
        made = encoder(data, tokenizer)
        assert made.opening == "<think>"
        text = made.text("What is 2 + 3?")
        turns = re.findall(r"<\|im_start\|>(\w+)\n(.*?)(?:<\|im_end\|>\n|$)", text, flags=re.S)
        assert [role for role, _ in turns] == ["user", "assistant"] * 3
        assert all(is_well_formed(words) for role, words in turns[:-1] if role == "assistant")
        assert turns[-2:] == [("user", "What is 2 + 3?"), ("assistant", "<think>")]


def test_later_stages_see_the_models_own_template_alone(config, tokenizer):
    for stage in TRAINED_ON_THE_FORM:
        data = config.stage(stage).data
        assert encoder(data, tokenizer).text("a") == "<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\n", stage
    for stage in ("cold_start", "rejection_sft", "distill"):
        assert (config.stage(stage).template, config.stage(stage).examples) == ("chat", None)


def test_no_worked_example_is_a_held_out_problem(config):
    shown = re.findall(r'"user", "content": "(.*?)"', config.data.examples)
    assert len(shown) == 2
    held_out = {prompt.text for prompts in held_out_sets(config).values() for prompt in prompts}
    assert not held_out & set(shown)
    assert not is_held_out(
        "basic_arithmetic", {"question": shown[0]}, config.data.eval_fraction
    )  # the library's own words


def test_what_stages_train_on_and_what_is_evaluated_do_not_meet(config):
    evaluation = held_out_sets(config)
    asked = {prompt.text for prompts in evaluation.values() for prompt in prompts}
    assert set(config.data.tasks) < set(evaluation) and len(asked) > 200
    for stage in ("r1_zero", "reasoning_rl", "rejection_data", "preference_rl"):
        source = make_source(config.stage(stage).data, 0, stage)
        for domain in ("reasoning", "helpful", "safety"):
            assert not asked & {source.get(index, domain).text for index in range(150)}, (stage, domain)


def test_a_missing_model_is_an_error_with_the_command_that_gets_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for path, command in (
        ("models/smollm2-135m", "r1 models get smollm2-135m"),
        ("models/smollm2-135m-24-layers", "r1 models cut models/smollm2-135m --layers 24, after r1 models get smollm2"),
        ("models/smollm2-135m-without-3-17", "r1 models cut models/smollm2-135m --without 3,17, after r1 models get"),
        ("models/base", "hf download models/base"),  # no model that `models get` knows
    ):
        with pytest.raises(MissingInput) as error:
            locate(path, None)
        assert error.value.fix.startswith(command), path
