"""Exports: the chat template renders the very prompts of training, generation stops where training said, the card says
what is true.
"""

import dataclasses

import pytest

from stages.contract.description import StageDescription
from stages.contract.inputs import StageInput, write_inputs
from stages.engines.export import chat_template, set_generation_defaults
from stages.engines.model_card import card_command, languages, lineage, model_card
from stages.prompting.encoding import Encoder
from stages.worlds.tiny_world.tokenizer import build_tokenizer


def fresh_tokenizer():
    before = build_tokenizer()
    return type(before)(tokenizer_object=before._tokenizer, bos_token="<bos>", eos_token="<eos>", pad_token="<pad>")


@pytest.mark.parametrize("template", ["plain", "r1_zero"])
@pytest.mark.parametrize("text", ["what is31-3?", "Solve {x}. ", "x"])
def test_the_chat_template_renders_the_training_prompt_token_by_token(template, text):
    tokenizer = fresh_tokenizer()
    trained = Encoder(tokenizer, template).prompt(text)
    tokenizer.chat_template = chat_template(template, tokenizer)
    message = [{"role": "user", "content": text}]
    assert tokenizer.apply_chat_template(message, add_generation_prompt=True)["input_ids"] == trained
    assert Encoder(tokenizer, "chat").prompt(text) == trained  # data.template=chat on an export
    thinking = tokenizer.apply_chat_template(message, add_generation_prompt=True, tokenize=False, thinking=True)
    assert thinking == tokenizer.apply_chat_template(message, add_generation_prompt=True, tokenize=False) + "<think>"


def test_earlier_thoughts_are_dropped_and_system_text_goes_to_the_user():
    tokenizer = fresh_tokenizer()
    tokenizer.chat_template = chat_template("plain", tokenizer)
    messages = [
        {"role": "system", "content": "S"},
        {"role": "user", "content": "A"},
        {"role": "assistant", "content": "<think>x</think>B"},
        {"role": "user", "content": "C"},
    ]
    render = lambda messages, **more: tokenizer.apply_chat_template(messages, tokenize=False, **more)
    assert render(messages, add_generation_prompt=True) == "<bos>User:S\nAAssistant:B<eos>User:CAssistant:"
    assert (
        render(messages[:3]) == "<bos>User:S\nAAssistant:<think>x</think>B<eos>"
    )  # the last one is whole: what is trained on


def test_a_tokenizer_that_adds_nothing_gets_a_template_that_adds_nothing():
    from tokenizers import ByteLevelBPETokenizer
    from transformers import PreTrainedTokenizerFast

    bpe = ByteLevelBPETokenizer()
    bpe.train_from_iterator(["User Assistant"], vocab_size=270, special_tokens=["<|end|>"], show_progress=False)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bpe._tokenizer, eos_token="<|end|>")
    tokenizer.chat_template = chat_template("plain", tokenizer)
    assert (
        tokenizer.apply_chat_template([{"role": "user", "content": "hi"}], tokenize=False, add_generation_prompt=True)
        == "User:hiAssistant:"
    )
    tokenizer.chat_template = "own"
    assert chat_template("chat", tokenizer) == "own"


def test_generation_stops_at_the_trained_end_and_at_the_bases(tmp_path):
    from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

    tokenizer = fresh_tokenizer()
    model = LlamaForCausalLM(
        LlamaConfig(vocab_size=288, hidden_size=32, intermediate_size=32, num_hidden_layers=1, num_attention_heads=1)
    )
    for before, after in (
        (None, tokenizer.eos_token_id),
        (7, [tokenizer.eos_token_id, 7]),
        ([7, tokenizer.eos_token_id], [tokenizer.eos_token_id, 7]),
    ):
        model.generation_config.eos_token_id = before
        set_generation_defaults(model, tokenizer)
        model.save_pretrained(tmp_path)
        saved = GenerationConfig.from_pretrained(tmp_path)
        assert saved.eos_token_id == after and (saved.temperature, saved.top_p, saved.do_sample) == (
            0.6,
            0.95,
            True,
        )  # [V2 D.1]


DESCRIPTION = StageDescription(
    stage="distill_small",
    kind="sft",
    version=3,
    fingerprint="ab" * 32,
    seed=4,
    run="demo",
    config={
        "num_epochs": 2,
        "optim": {"lr": 1e-4},
        "traces": {"path": "/home/someone/traces.jsonl"},
        "data": {"path": None},
    },
    data_files={"traces": "cd" * 32},
    command="python -m pipeline run +stage=distill_small run=demo runs_dir=/home/someone/runs 'a=[1,2]'",
)


def test_the_card_names_lineage_data_numbers_and_command(tmp_path):
    teacher = tmp_path / "rejection_data" / "11111111"
    policy = StageInput(stage="reasoning_rl", path=str(tmp_path / "gone"), fingerprint="2" * 64)
    write_inputs(teacher, {"policy": policy})
    inputs = {
        "policy": StageInput(
            path="/cache/hub/models--Qwen--Qwen2.5-Math-1.5B/snapshots/abc",
            fingerprint="3" * 64,
        ),
        "data": StageInput(stage="rejection_data", path=str(teacher), fingerprint="1" * 64),
    }
    text = model_card(DESCRIPTION, inputs, {"train/loss": 0.123456789, "data/samples": 800})
    from huggingface_hub import ModelCard

    card = ModelCard(text)  # parses the front matter, as the hub does
    assert (
        card.data.base_model == ["Qwen/Qwen2.5-Math-1.5B"]
        and card.data.library_name == "transformers"
        and "r1-recipe" in card.data.tags
    )
    for line in (
        "python -m pipeline run +stage=distill_small run=demo 'a=[1,2]'",
        "| train/loss | 0.1235 |",
        "| data/samples | 800 |",
        "optim.lr = 0.0001",
        "* `traces.jsonl`, SHA-256 `" + "cd" * 32,
        "* `data/train.parquet` of `rejection_data` 11111111",
        "  * policy: `Qwen/Qwen2.5-Math-1.5B` 33333333",
        "  * data: `rejection_data` 11111111\n    * policy: `reasoning_rl` 22222222",
        "seed 4",
    ):
        assert line in text, line
    assert "/home/someone" not in text and model_card(DESCRIPTION, inputs, {}) == model_card(DESCRIPTION, inputs, {})


def test_lineage_of_a_first_stage_is_one_line():
    assert lineage("base", "ab" * 32, {}) == ["* `base` abababab"]
    assert card_command("a runs_dir=/x 'b c'") == "a 'b c'"


OURS = "{{ messages }}{% if thinking is defined and thinking %}{{ '<think>' }}{% endif %}"


@pytest.mark.parametrize(
    "template, says, does_not",
    [
        (OURS, "rendered by its chat template; `thinking=True` begins", "nothing"),
        ("{{ messages }}", "rendered by its chat template. Sample", "thinking=True"),
        ("{% if enable_thinking %}<think>{% endif %}", "rendered by its chat template. Sample", "thinking=True"),
        ("", "2501.12948)). Sample at", "chat template"),
    ],
)
def test_the_card_says_of_the_chat_template_what_is_true(template, says, does_not):
    first = model_card(DESCRIPTION, {}, {}, template).split("## How it was made")[0]
    assert says in first and does_not not in first


@pytest.mark.parametrize(
    "config, found",
    [
        ({"data": {"name": "tiny_world"}}, ["en", "zh"]),
        ({"data": {"name": "reasoning_gym", "tasks": ["gcd"]}}, ["en"]),
        ({"data": {"name": "file", "path": "a", "language": "de"}}, ["de"]),
        ({"data": {"name": "file", "path": "a", "language": "auto"}}, []),
        ({"data": {"name": "file", "path": "a", "language": "de", "language_column": "lang"}}, []),
        ({"data": {"name": "file", "sources": {"a": {"language": "fr"}, "b": {"language": "de"}}}}, ["de", "fr"]),
        ({"traces": {"path": "t", "language": "ja"}, "data": {"name": "tiny_world"}}, ["ja"]),
        ({"traces": {"path": None}}, []),
        ({}, []),
    ],
)
def test_the_card_names_the_languages_of_the_data(config, found):
    description = dataclasses.replace(DESCRIPTION, config=config)
    assert languages(description, {}) == found
    from huggingface_hub import ModelCard

    assert ModelCard(model_card(description, {}, {})).data.language == (found or None)


def test_languages_of_a_builder_are_those_of_its_prompts(tmp_path):
    StageDescription(stage="rejection_data", kind="collect", config={"data": {"name": "tiny_world"}}).write(tmp_path)
    inputs = {"data": StageInput(stage="rejection_data", path=str(tmp_path), fingerprint="1" * 64)}
    assert languages(dataclasses.replace(DESCRIPTION, config={"traces": {"path": None}}), inputs) == ["en", "zh"]


def test_generated_data_is_named():
    def line(**data):
        return model_card(dataclasses.replace(DESCRIPTION, config={"data": data}), {}, {})

    assert "* reasoning-gym: gcd, chain_sum" in line(name="reasoning_gym", tasks=["gcd", "chain_sum"])
    assert "* `a.jsonl`, `b.parquet`" in line(
        name="file", sources={"a": {"path": "/x/a.jsonl"}, "b": {"path": "b.parquet"}}
    )
    assert "* the tiny world" in line(name="tiny_world")
