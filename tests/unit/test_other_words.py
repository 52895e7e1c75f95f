"""Words of TRL, open-r1, verl and OpenRLHF: each names keys that exist here, and is explained where it is typed."""

import pytest

from pipeline.commands import app
from pipeline.configuration.keys import groups, look_up
from pipeline.configuration.other_words import STAGE, example_of, is_sentence, key_instead, words
from pipeline.configuration.overrides import check_overrides
from pipeline.errors import InvalidConfig


@pytest.mark.parametrize("word", words())
def test_every_word_names_keys_of_ours_or_says_something(word):
    for value in words()[word]:
        if is_sentence(value):
            assert value.endswith(".") and len(words()[word]) == 1
        else:
            assert value in groups() or (look_up(example_of(value)) and STAGE not in example_of(value))


@pytest.mark.parametrize(
    "override, ours",
    [
        ("learning_rate=1e-6", "stages.STAGE.optim.lr, as stages.r1_zero.optim.lr, here"),
        ("num_generations=8", "stages.r1_zero.group_size"),
        ("max_prompt_length=512", "what is data.max_prompt_tokens here"),
        ("max_completion_length=512", "stages.r1_zero.max_completion_tokens"),
        ("per_device_train_batch_size=4", "stages.r1_zero.micro_batch_tokens"),
        ("gradient_accumulation_steps=4", "stages.r1_zero.micro_batch_tokens"),
        ("vllm_gpu_memory_utilization=0.7", "rollout.gpu_memory_fraction"),
        ("kl_coef=0.001", "stages.r1_zero.beta"),
        ("algorithm.kl_ctrl.kl_coef=0.001", "stages.r1_zero.beta"),
        ("actor_rollout_ref.actor.optim.lr=1e-6", "stages.r1_zero.optim.lr"),
        ("actor_rollout_ref.rollout.gpu_memory_utilization=0.6", "rollout.gpu_memory_fraction"),
        ("actor_rollout_ref.rollout.n=8", "stages.r1_zero.group_size"),
        ("actor_rollout_ref.rollout.load_format=dummy", "what is rollout here"),
        ("data.train_batch_size=1024", "stages.r1_zero.prompts_per_step"),
        ("data.max_response_length=1024", "stages.r1_zero.max_completion_tokens"),
        ("algorithm.adv_estimator=grpo", "stages.r1_zero.loss"),
        ("trainer.total_epochs=15", "stages.r1_zero.num_steps"),
        ("num_train_epochs=1", "stages.cold_start.num_epochs"),
        ("lora_r=16", "stages.r1_zero.lora.rank"),
        ("report_to=wandb", "what is tracker here"),
        ("model_name_or_path=x", "model.path"),
        ("learnin_rate=1e-6", "stages.r1_zero.optim.lr"),
        ("temperature=0.6", "what is rollout.temperature here"),
        ("stages.r1_zero.temperature=0.6", "rollout.temperature"),
        ("max_tokens=512", "stages.r1_zero.max_completion_tokens"),
        ("top_k=50", "rollout.top_p"),
        ("wandb_entity=me", "what is tracker.entity here"),
        ("stages.r1_zero.learning_rate=1", "stages.r1_zero.optim.lr"),
    ],
)
def test_a_word_of_another_program_is_answered_with_our_key(override, ours):
    (mistake,), _ = check_overrides([override])
    assert ours in mistake and mistake.startswith(override.partition("=")[0])


def test_beta_at_the_top_is_that_of_a_stage():
    (mistake,), _ = check_overrides(["beta=0.1"])
    assert ".beta?" in mistake and "stages." in mistake


@pytest.mark.parametrize(
    "line, message",
    [
        ("run --learning_rate 1e-6", "stages.r1_zero.optim.lr"),
        ("run --num-generations=8", "stages.r1_zero.group_size"),
        ("plan --config recipe.yaml", "recipe=NAME"),
        ("run --seed 3", "keys are set without dashes: seed=VALUE"),
        ("run --bf16", "deepspeed.precision"),
    ],
)
def test_a_flag_of_another_program_is_answered_with_our_key(line, message):
    with pytest.raises(InvalidConfig) as caught:
        app.call(line.split())
    assert message in str(caught.value) and "no such flag" in str(caught.value)


def test_a_word_that_nobody_knows_is_not_explained():
    assert key_instead("zorbing") is None
