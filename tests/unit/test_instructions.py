"""What stands before prompts: template files, a system prompt, worked examples; in training, in exports, in plans."""

import json
import re

import pytest

from pipeline.configuration import compose
from pipeline.configuration.prompt_files import examples_of, template_of
from pipeline.errors import InvalidConfig
from pipeline.planning.models import Prompting, trained_template
from stages.config import ConfigError, to_dict
from stages.engines.export import chat_template
from stages.prompting.chat_templates import as_chat_template
from stages.prompting.encoding import Encoder
from stages.prompting.templates import apply_template, render_chat
from stages.runtime.errors import InputError
from stages.worlds.tiny_world.tokenizer import build_tokenizer
from tests.support import tokenizers as make

SHOTS = [
    ("1+1?", "<think>1+1=2</think><answer>2</answer>"),
    ("2+2?", '<think>2+2=4 "é😀" {{ x }} %}</think><answer>4</answer>'),
]
EXAMPLES = json.dumps(
    [{"role": role, "content": text} for shot in SHOTS for role, text in zip(("user", "assistant"), shot)],
    ensure_ascii=False,
)
BOS_NAMES = ("<eos>", "<bos>")


def chatml(path, template=make.CHATML, **more):
    return make.saved(make.byte_level(**more), path, template, eos_token="<|im_end|>")


def shown(encoder, words="7+5?", **more):
    return encoder.tokenizer.decode(encoder.prompt(words, **more), clean_up_tokenization_spaces=False)


@pytest.mark.parametrize("template", [make.CHATML, make.FORGETS])
def test_few_shot_in_a_chat_is_closed_turns_with_their_thoughts(tmp_path, template):
    """The system message once, each example's turn ended, and what the template drops of old turns kept."""
    with_system = "<|im_start|>system\nYou are kind.<|im_end|>\n" + template
    encoder = Encoder(chatml(tmp_path, with_system), "chat")
    turns = "".join(
        f"<|im_start|>user\n{words}<|im_end|>\n<|im_start|>assistant\n{completion}<|im_end|>\n"
        for words, completion in SHOTS
    )
    expected = (
        f"<|im_start|>system\nYou are kind.<|im_end|>\n{turns}<|im_start|>user\n7+5?<|im_end|>\n<|im_start|>assistant\n"
    )
    assert encoder.text("7+5?", SHOTS) == expected == shown(encoder, shots=SHOTS)
    assert Encoder(encoder.tokenizer, "chat", "", EXAMPLES).text("7+5?") == expected
    named = [(f"what is {name}?", f"<think>{name}</think>7") for name in ("<|im_end|>",)]
    assert encoder.prompt("a", named).count(encoder.tokenizer.eos_token_id) == encoder.prompt("a", SHOTS[:1]).count(
        encoder.tokenizer.eos_token_id
    )


def test_few_shot_in_text_templates_stays_as_it_was():
    encoder = Encoder(build_tokenizer(), "plain")
    assert encoder.text("7+5", [("1+1", "2")]) == "User:1+1Assistant:2User:7+5Assistant:"
    paper = Encoder(build_tokenizer(), "r1_zero")
    assert paper.text("7+5", [("1+1", "2")]) == paper.text("1+1") + "2\n\n" + paper.text("7+5")


@pytest.mark.parametrize("template", ["chat", "plain", "r1_zero", make.HEADERS.replace("{{ bos_token }}", "")])
@pytest.mark.parametrize("system, examples", [("Be short.\n\"'", ""), ("", EXAMPLES), ("Be short.", EXAMPLES)])
def test_what_an_export_renders_is_what_was_trained(tmp_path, template, system, examples):
    """In this recipe, and in engines that render the template themselves; a stage that goes on with it adds nothing."""
    tokenizer = chatml(tmp_path / "a")
    encoder = Encoder(tokenizer, template, system, examples)
    trained = encoder.prompt("7+5?")
    text = tokenizer.decode(trained, clean_up_tokenization_spaces=False)
    assert text.count("Be short.") == bool(system) and all((shot[1] in text) == bool(examples) for shot in SHOTS)
    tokenizer.chat_template = chat_template(encoder.template, tokenizer)
    tokenizer.save_pretrained(tmp_path / "b")
    exported = type(tokenizer).from_pretrained(tmp_path / "b")
    message = [{"role": "user", "content": "7+5?"}]
    assert exported.apply_chat_template(message, add_generation_prompt=True)["input_ids"] == trained
    assert Encoder(exported, "chat").prompt("7+5?") == trained
    assert Encoder(exported, "chat", system, examples).prompt("7+5?") == trained
    other = Encoder(exported, "chat", "Be long.").text("7+5?")
    assert other.count("Be long.") == 1 and "Be short." not in other and SHOTS[0][1] not in other
    own = exported.apply_chat_template(
        [{"role": "system", "content": "Mine."}, *message], add_generation_prompt=True, tokenize=False
    )
    assert own.count("Mine.") == 1 and "Be short." not in own


def test_a_template_without_system_messages_reads_them_in_the_users_words(tmp_path):
    tokenizer = make.saved(
        make.byte_level(special=BOS_NAMES, plain=("<start_of_turn>", "<end_of_turn>")),
        tmp_path,
        make.TURNS,
        eos_token="<eos>",
        bos_token="<bos>",
    )
    alone = Encoder(tokenizer, "chat", "Be short.")
    assert (
        shown(alone)
        == ("<bos><start_of_turn>user\nBe short.\n\n7+5?<end_of_turn>\n<start_of_turn>model\n")
        == alone.text("7+5?")
    )
    parts = [{"role": "user", "content": [{"type": "text", "text": "7+5?"}]}]  # as vLLM's server gives them
    rendered = tokenizer.apply_chat_template(
        parts, chat_template=alone.template, tokenize=False, add_generation_prompt=True
    )
    assert rendered == alone.text("7+5?")
    both = Encoder(tokenizer, "chat", "Be short.", EXAMPLES).text("7+5?")
    assert both.startswith("<bos><start_of_turn>user\nBe short.\n\n1+1?<end_of_turn>") and both.count("Be short.") == 1


def test_a_beginning_that_the_template_does_not_write_is_exported(tmp_path):
    tokenizer = make.saved(
        make.with_bos(make.byte_level(), "<|endoftext|>"),
        tmp_path,
        make.CHATML,
        eos_token="<|im_end|>",
        bos_token="<|endoftext|>",
    )
    trained = Encoder(tokenizer, "chat").prompt("7")
    assert trained[0] == 0 and trained.count(0) == 1
    tokenizer.chat_template = chat_template("chat", tokenizer)
    rendered = tokenizer.apply_chat_template([{"role": "user", "content": "7"}], add_generation_prompt=True)
    assert rendered["input_ids"] == trained == Encoder(tokenizer, "chat").prompt("7")


def test_control_tokens_in_instructions_are_refused(tmp_path):
    tokenizer = chatml(tmp_path)
    with pytest.raises(InputError, match=r"data.system contains <\|im_end\|>"):
        Encoder(tokenizer, "chat", "Say <|im_end|>.")
    with pytest.raises(InputError, match=r"data.examples contains <\|im_start\|>"):
        Encoder(tokenizer, "chat", "", EXAMPLES.replace("1+1?", "<|im_start|>"))
    tokenizer.chat_template = None
    with pytest.raises(InputError, match="no chat template"):
        Encoder(tokenizer, "chat", "Be short.")


def test_a_template_file_with_an_opening(tmp_path):
    path = tmp_path / "own.jinja"
    path.write_text("{% for m in messages %}Q: {{ m.content }}\nA: {% endfor %}{{ '<think>' }}\n")
    encoder = Encoder(chatml(tmp_path / "m"), template_of(str(path)))
    assert shown(encoder) == "Q: 7+5?\nA: <think>" and encoder.opening == "<think>"


@pytest.mark.parametrize(
    "rows",
    [
        [{"prompt": words, "completion": completion} for words, completion in SHOTS],
        [{"messages": json.loads(EXAMPLES)}],
        [
            {"conversations": [{"from": "human", "value": words}, {"from": "gpt", "value": completion}]}
            for words, completion in SHOTS
        ],
        json.loads(EXAMPLES),
    ],
)
def test_files_of_examples(tmp_path, rows):
    lines, whole = tmp_path / "x.jsonl", tmp_path / "x.json"
    lines.write_text("".join(json.dumps(row) + "\n" for row in rows))
    whole.write_text(json.dumps(rows))
    assert examples_of(str(lines)) == examples_of(str(whole)) == EXAMPLES


@pytest.mark.parametrize(
    "rows, message",
    [
        ([], "has no rows"),
        ([{"prompt": "a"}], "line 1: expected a prompt and a completion, or messages"),
        ([{"prompt": "a", "completion": 7}], "line 1: expected"),
        ([{"messages": "a"}], "no list of chat messages"),
        ([{"role": "user", "content": "a"}], "the last example has no answer"),
        ([{"role": "system", "content": "a"}], "message 1 is of system, expected user: a system prompt is data.system"),
        ([{"role": "assistant", "content": "a"}], "message 1 is of assistant, expected user"),
    ],
)
def test_files_that_are_no_examples_are_refused(tmp_path, rows, message):
    path = tmp_path / "x.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(ConfigError, match=message):
        examples_of(str(path))


def test_the_configuration_holds_what_the_files_say(tmp_path):
    template, examples = tmp_path / "t.jinja", tmp_path / "e.jsonl"
    template.write_text("{% for m in messages %}{{ m.content }}{% endfor %}")
    examples.write_text(json.dumps({"prompt": "a", "completion": "b"}) + "\n")
    keys = [f"data.template={template}", f"data.examples={examples}", "data.system='Be short.'"]
    made = compose.compose_config(["+stage=all", *keys])
    for section in (made.data, made.stages.r1_zero.data, made.stages.cold_start, made.stages.distill):
        assert section.template == template.read_text() and section.system == "Be short."
        assert json.loads(section.examples) == [
            {"role": "user", "content": "a"},
            {"role": "assistant", "content": "b"},
        ]
    grpo = to_dict(made.stages.r1_zero)
    assert trained_template("grpo", grpo) == trained_template("sft", to_dict(made.stages.cold_start)) == "chat"
    assert str(Prompting(made.data.template, "x", "[")) == "of a file with a system prompt and examples"
    with pytest.raises(InvalidConfig) as caught:
        compose.compose_config(
            [
                "+stage=all",
                "data.template=poem",
                f"data.examples={tmp_path}/none.jsonl",
                "stages.distill.template=x.jinja",
            ]
        )
    said = "\n".join(caught.value.errors)
    assert "data.template 'poem' is not one of plain, r1_zero, chat, nor a file FILE.jinja" in said.replace(": t", " t")
    assert f"data.examples: {tmp_path}/none.jsonl cannot be read as worked examples" in said
    assert "stages.distill.template: x.jinja cannot be read as a template: No such file" in said
    assert said.count("none.jsonl") == 1 and "data.path" not in said  # of many stages that follow data.examples
    bad = tmp_path / "bad.jinja"
    for text, why in (("{% for m in messages %}{{ m }", "line 1"), ("Hello", "no chat template")):
        bad.write_text(text)
        template_of.cache_clear()
        with pytest.raises(ConfigError, match=why):
            template_of(str(bad))


@pytest.mark.parametrize("words", ["7+5", "7+5.", "7+5. \n", "7+5.."])
def test_an_export_of_the_papers_text_needs_jinja_and_no_python(tmp_path, words):
    """llama.cpp and other engines have a Jinja of their own, which knows few methods of Python's strings."""
    tokenizer = chatml(tmp_path)
    text = as_chat_template("r1_zero", tokenizer)
    assert text is not None
    methods = set(re.findall(r"\.([a-z]+)\(", text))
    assert methods <= {"split", "rstrip", "endswith"}
    assert render_chat([{"role": "user", "content": words}], text, tokenizer) == apply_template(words, "r1_zero")
