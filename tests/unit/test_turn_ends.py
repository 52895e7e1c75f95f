"""What ends a completion: the same ids for sampling, decoding, training and exports, wherever a model names them."""

import json

import pytest

from stages.engines.sampling import stop_token_ids
from stages.modeling.model import load_tokenizer
from stages.prompting.encoding import Encoder
from stages.prompting.vocabulary import vocabulary_of
from stages.runtime.errors import InputError
from tests.support import tokenizers as make

CONFIG = {"model_type": "llama", "vocab_size": 600}
NAMES = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|eot_id|>", "<|end|>")


def a_model(path, config=CONFIG, generation=None, template=None, eos="<|endoftext|>", names=NAMES, **roles):
    tokenizer = make.saved(make.byte_level(special=names), path, template, config, generation, eos_token=eos, **roles)
    return {name: tokenizer.convert_tokens_to_ids(name) for name in names}


@pytest.mark.parametrize(
    "config, generation, template, stops",
    [
        ({}, None, None, ["<|endoftext|>"]),
        ({}, {}, None, ["<|endoftext|>"]),
        ({}, {"eos_token_id": None}, None, ["<|endoftext|>"]),
        ({"eos_token_id": None}, {"eos_token_id": []}, None, ["<|endoftext|>"]),
        ({}, {"eos_token_id": "<|im_end|>"}, None, ["<|endoftext|>", "<|im_end|>"]),
        ({}, {"eos_token_id": ["<|im_end|>", "<|endoftext|>"]}, None, ["<|endoftext|>", "<|im_end|>"]),
        ({"eos_token_id": "<|eot_id|>"}, None, None, ["<|endoftext|>", "<|eot_id|>"]),
        (
            {"eos_token_id": ["<|eot_id|>"]},
            {"eos_token_id": "<|end|>"},
            None,
            ["<|endoftext|>", "<|end|>", "<|eot_id|>"],
        ),
        (
            {"text_config": {"eos_token_id": ["<|eot_id|>"], "vocab_size": 600}},
            {},
            None,
            ["<|endoftext|>", "<|eot_id|>"],
        ),
        ({}, {"eos_token_id": [600, 10**6, -1, True, "<|im_end|>"]}, None, ["<|endoftext|>", "<|im_end|>"]),
        ({}, "{not json", None, ["<|endoftext|>"]),
        ({}, None, make.CHATML, ["<|endoftext|>", "<|im_end|>"]),
        ({}, None, {"default": make.CHATML, "tool_use": "x"}, ["<|endoftext|>", "<|im_end|>"]),
        ({}, None, "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}", ["<|endoftext|>"]),
        ({}, None, "{{ raise_exception('only tools') }}", ["<|endoftext|>"]),
        ({}, None, make.CHATML.replace("<|im_end|>\n", "<|end|><|endoftext|>"), ["<|endoftext|>", "<|end|>"]),
        ({}, None, make.HEADERS, ["<|endoftext|>", "<|eot_id|>"]),
    ],
)
def test_completions_stop_at_all_ids_that_a_model_names(tmp_path, config, generation, template, stops):
    ids = a_model(tmp_path)

    def with_ids(value):
        if isinstance(value, dict):
            return {name: with_ids(one) for name, one in value.items()}
        if isinstance(value, list):
            return [with_ids(one) for one in value]
        return ids.get(value, value) if isinstance(value, str) else value

    generation = with_ids(generation) if isinstance(generation, dict) else generation
    a_model(tmp_path, CONFIG | with_ids(config), generation, template)
    assert sorted(stop_token_ids(tmp_path)) == sorted(ids[name] for name in stops)


def test_who_names_an_end_is_known(tmp_path):
    a_model(tmp_path, CONFIG | {"eos_token_id": 3}, {"eos_token_id": [2, 4]}, make.CHATML)
    tokenizer = load_tokenizer(tmp_path)
    assert vocabulary_of(tokenizer).ends_by_source() == {
        "tokenizer": [0],
        "generation_config.json": [2, 4],
        "config.json": [3],
        "chat template": [2],
    }


def test_the_end_is_taken_off_and_the_rest_stays(tmp_path):
    ids = a_model(tmp_path, generation={"eos_token_id": [0, 2]})
    encoder = Encoder(load_tokenizer(tmp_path), "plain")
    (text,) = encoder.completions(["<think>1</think><answer>2</answer>"])
    for end in ("<|endoftext|>", "<|im_end|>"):
        assert encoder.decode([[*text, ids[end]]]) == ["<think>1</think><answer>2</answer>"]
    assert encoder.decode([text]) == ["<think>1</think><answer>2</answer>"]  # cut by the length limit
    other = [*text, ids["<|end|>"]]  # a control token that ends nothing here
    assert encoder.decode([other, []]) == ["<think>1</think><answer>2</answer><|end|>", ""]
    assert encoder.decode([[*text, ids["<|im_end|>"], *text, 0]])[0].count("<|im_end|>") == 1


def test_training_ends_where_the_model_is_known_to_stop(tmp_path):
    ids = a_model(tmp_path / "instruct", generation={"eos_token_id": [0, 2]}, template=make.CHATML)
    instruct = load_tokenizer(tmp_path / "instruct")
    assert Encoder(instruct, "chat").end_id == ids["<|im_end|>"]
    assert Encoder(instruct, "plain").end_id == ids["<|endoftext|>"]
    a_model(tmp_path / "base", generation={"eos_token_id": 0}, template=make.CHATML)
    base = Encoder(load_tokenizer(tmp_path / "base"), "chat")
    assert base.end_id == ids["<|endoftext|>"]  # <|im_end|> of a base is a token that it never saw
    for encoder in (Encoder(instruct, "chat"), Encoder(instruct, "plain"), base):
        assert encoder.end_id in encoder.stop_ids and encoder.target("7")[-1] == encoder.end_id
        assert encoder.decode([encoder.target("7")]) == ["7"]


def test_a_template_from_outside_adds_its_own_end_of_turn(tmp_path):
    ids = a_model(tmp_path)
    encoder = Encoder(load_tokenizer(tmp_path), make.HEADERS)
    assert encoder.stop_ids == [ids["<|endoftext|>"], ids["<|eot_id|>"]]


def test_a_tokenizer_without_an_end_takes_that_of_the_configuration(tmp_path):
    ids = a_model(tmp_path, generation={"eos_token_id": 2}, eos=None)
    assert load_tokenizer(tmp_path).eos_token_id == ids["<|im_end|>"]
    (tmp_path / "generation_config.json").write_text(json.dumps({"eos_token_id": None}))
    with pytest.raises(InputError, match="no end-of-sequence token, and neither generation_config.json"):
        load_tokenizer(tmp_path)


def test_padding_with_the_end_of_sequence_changes_nothing(tmp_path):
    a_model(tmp_path, pad_token="<|endoftext|>")
    encoder = Encoder(load_tokenizer(tmp_path), "plain")
    assert encoder.target("7")[-1] == encoder.tokenizer.pad_token_id == 0


@pytest.mark.parametrize("template", ["plain", "chat"])
def test_an_export_stops_where_the_recipe_does(tmp_path, template):
    from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

    from stages.engines.export import chat_template, set_generation_defaults

    a_model(tmp_path / "from", generation={"eos_token_id": [2, 3]}, template=make.CHATML)
    tokenizer = load_tokenizer(tmp_path / "from")
    encoder = Encoder(tokenizer, template)
    model = LlamaForCausalLM(
        LlamaConfig(vocab_size=600, hidden_size=32, intermediate_size=32, num_hidden_layers=1, num_attention_heads=1)
    )
    model.generation_config.eos_token_id = None
    set_generation_defaults(model, tokenizer, template)
    tokenizer.chat_template = chat_template(template, tokenizer)
    model.save_pretrained(tmp_path / "to")
    tokenizer.save_pretrained(tmp_path / "to")
    said = GenerationConfig.from_pretrained(tmp_path / "to").eos_token_id
    assert said[0] == encoder.end_id and set(said) == set(encoder.stop_ids) == {0, 2, 3}
    assert set(stop_token_ids(tmp_path / "to")) == {0, 2, 3}  # in the next stage
