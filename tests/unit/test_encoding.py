"""One way to encode: what is counted is what is sent, specials in foreign text stay text, and nothing else moves."""

import dataclasses
import functools

import pytest

from stages.modeling.model import load_tokenizer
from stages.prompting.control_tokens import UnencodableText
from stages.prompting.encoding import Encoder, encode_prompts
from stages.runtime.errors import InputError
from stages.training.traces import Trace, tokenized
from tests.support import tokenizers as make
from tests.support.rollouts import a_prompt

HEADER_NAMES = ("<|endoftext|>", "<s>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>")
TURN_NAMES = ("<eos>", "<bos>")  # as of Gemma 1, whose ends of turn are added, but no special tokens
INST = "{{ bos_token }}{% for m in messages %}[INST] {{ m.content.strip() }} [/INST]{% endfor %}"  # as of Llama 2
GEMMA = {"special": TURN_NAMES, "plain": ("<start_of_turn>", "<end_of_turn>", "  ", "<think>")}


def tokenizers(path):
    """name -> (tokenizer, its chat template) of families that differ."""
    chat = {"chat_template": make.CHATML}
    return {
        "bytes": make.saved(make.byte_level(), path / "a", eos_token="<|endoftext|>", **chat),
        "bytes, eos appended": make.saved(
            make.with_eos(make.byte_level(), "<|endoftext|>"), path / "b", eos_token="<|endoftext|>", **chat
        ),
        "bytes, both": make.saved(
            make.with_eos(make.byte_level(), "<|im_end|>", "<|im_start|>"),
            path / "c",
            eos_token="<|im_end|>",
            bos_token="<|im_start|>",
            chat_template="{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}assistant:",
        ),
        "bytes, bos by the template": make.saved(
            make.with_bos(make.byte_level(special=HEADER_NAMES), "<s>"),
            path / "d",
            eos_token="<|eot_id|>",
            bos_token="<s>",
            chat_template=make.HEADERS,
        ),
        "bytes, prefix space": make.saved(
            make.byte_level(add_prefix_space=True), path / "e", eos_token="<|endoftext|>", **chat
        ),
        "turns that are not special": make.saved(
            make.byte_level(**GEMMA), path / "f", eos_token="<eos>", bos_token="<bos>", chat_template=make.TURNS
        ),
        **{
            f"llama, {prepend}": make.saved(
                make.llama(prepend),
                path / f"g{prepend}",
                eos_token="</s>",
                bos_token="<s>",
                unk_token="<unk>",
                chat_template=INST,
            )
            for prepend in ("normalizer", "first", "always")
        },
        "unigram": make.saved(
            make.unigram(), path / "h", eos_token="</s>", pad_token="<pad>", unk_token="<unk>", **chat
        ),
        "word pieces": make.saved(
            make.word_piece(),
            path / "j",
            eos_token="[SEP]",
            bos_token="[CLS]",
            pad_token="[PAD]",
            unk_token="[UNK]",
            chat_template="{% for m in messages %}{{ m.role }}: {{ m.content }} {% endfor %}assistant:",
        ),
        "words": make.saved(
            make.word_level(), path / "i", eos_token="<eos>", bos_token="<bos>", pad_token="<pad>", unk_token="<unk>"
        ),
    }


FAMILIES = (
    "bytes",
    "bytes, eos appended",
    "bytes, both",
    "bytes, bos by the template",
    "bytes, prefix space",
    "turns that are not special",
    "llama, normalizer",
    "llama, first",
    "llama, always",
    "unigram",
    "word pieces",
    "words",
)


# Those that have no words for the signs of these names, and one that puts a space behind every added token.
LOSSY = ("unigram", "word pieces", "words", "bytes, prefix space")


@pytest.fixture(scope="module")
def family(tmp_path_factory):
    return tokenizers(tmp_path_factory.mktemp("families"))


def encoders(tokenizer):
    templates = ["plain", "r1_zero", *(["chat"] if tokenizer.chat_template else [])]
    return [Encoder(tokenizer, template) for template in templates]


PLAIN = ["what is 31-3?", " spaces  around ", "Solve {x}.", "café ☃ 你好", "a\n\nb", "<think>", ""]


@pytest.mark.parametrize("name", FAMILIES)
def test_words_without_control_tokens_are_encoded_as_the_tokenizer_does(family, name):
    """The whole templated text at once, with what the tokenizer puts in front of it and nothing behind."""
    tokenizer = family[name]
    for encoder in encoders(tokenizer):
        rows = encoder.prompts(PLAIN)
        for words, row in zip(PLAIN, rows):
            whole = tokenizer(encoder.text(words), add_special_tokens=False)["input_ids"]
            assert row[len(row) - len(whole) :] == whole and encoder.prompt(words) == row
            assert row[: len(row) - len(whole)] in ([], [tokenizer.bos_token_id])


@pytest.mark.parametrize("name", FAMILIES)
def test_the_beginning_stands_there_once_and_no_end(family, name):
    tokenizer = family[name]
    adds_bos = name in ("bytes, both", "bytes, bos by the template", "word pieces", "words") or name.startswith("llama")
    for encoder in encoders(tokenizer):
        row, bos = encoder.prompt("what is 7"), tokenizer.bos_token_id
        if adds_bos or (encoder.template == "chat" and "bos_token" in tokenizer.chat_template):
            assert row[0] == bos and row.count(bos) == 1
        assert row[-1] != tokenizer.eos_token_id
        assert encoder.template == "chat" or tokenizer.eos_token_id not in row


@pytest.mark.parametrize("name", FAMILIES)
def test_control_tokens_in_foreign_words_stay_words(family, name):
    tokenizer = family[name]
    for encoder in encoders(tokenizer):
        controls = encoder._controls
        clean = encoder.prompt("what is  ?")
        names = [token for token in controls.names if token.strip()]
        assert names
        for token in names:
            for words in (f"what is {token} ?", token, f"{token}{token}", f"  {token} "):
                row = encoder.prompt(words)
                assert controls.count(row) == controls.count(clean), (encoder.template, words)
                assert encoder.prompts([words, "a"]) == [row, encoder.prompt("a")]
            written = encoder.completions([f"<think>{token}</think>7{token}"])[0]
            assert not controls.count(written)
        if name not in LOSSY:
            text = tokenizer.decode(encoder.prompt(f"what is {names[0]} ?"), clean_up_tokenization_spaces=False)
            assert f"what is {names[0]} ?" in text
            assert encoder.decode(encoder.completions([f"<think>{names[0]}</think>7"])) == [
                f"<think>{names[0]}</think>7"
            ]


@pytest.mark.parametrize("name", FAMILIES)
def test_around_a_control_token_in_words_nothing_else_changes(family, name):
    """The words before and after it have the tokens that they have around any other sign."""
    tokenizer = family[name]
    if name in ("words", "word pieces", "bytes, prefix space"):
        return  # a name in words is one unknown word, parts a word, or has a space behind it as a token has
    encoder = Encoder(tokenizer, "plain")
    token = tokenizer.eos_token
    row, other = encoder.prompt(f"what is {token} what is"), encoder.prompt("what is § what is")
    same = 0
    while row[same] == other[same]:
        same += 1
    behind = 1
    while row[-behind] == other[-behind]:
        behind += 1
    assert same >= len(encoder.prompt("what is")) - len(tokenizer("Assistant:", add_special_tokens=False)["input_ids"])
    assert behind > len(tokenizer("what is", add_special_tokens=False)["input_ids"])


@pytest.mark.parametrize("name", [name for name in FAMILIES if name not in LOSSY])
def test_a_completion_is_what_the_model_writes_behind_the_prompt(family, name):
    """Encoding adds no space to it, decoding takes none away."""
    tokenizer = family[name]
    for text in (
        "<think>31-3=28</think><answer>28</answer>",
        " 7",
        "  7 , 8 .",
        "\n\nwait",
        "don't , a . b ?",
        "☃你好",
    ):
        encoder = Encoder(tokenizer, "plain")
        (row,) = encoder.completions([text])
        assert encoder.decode([row]) == [text], (name, text)
        whole = encoder.prompt("a") + row
        assert tokenizer.decode(whole, clean_up_tokenization_spaces=False).endswith("User:aAssistant:" + text)


def test_thinking_tags_are_single_tokens_where_the_vocabulary_has_them_and_are_kept(tmp_path):
    for special in (True, False):
        names = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", *(("<think>", "</think>") if special else ()))
        tokenizer = make.saved(
            make.byte_level(special=names, plain=() if special else ("<think>", "</think>")),
            tmp_path / str(special),
            make.CHATML + "<think>{{ '\n' }}",
            eos_token="<|im_end|>",
        )
        encoder = Encoder(tokenizer, "chat")
        think, end = tokenizer.convert_tokens_to_ids(["<think>", "</think>"])
        (row,) = encoder.completions(["<think>7</think><answer>7</answer>"])
        assert row.count(think) == row.count(end) == 1
        assert encoder.decode([row]) == ["<think>7</think><answer>7</answer>"]
        assert think in encoder.prompt("7") and encoder.opening == "<think>\n"
        assert think in Encoder(tokenizer, "r1_zero").prompt("7")


def test_templates_that_change_their_words(tmp_path):
    """Trimmed, split at a tag, and with control tokens inside of all that."""
    splits = make.HEADERS.replace("m.content | trim", "m.content.split('</think>')[-1]")
    for template in (make.HEADERS, splits):
        tokenizer = make.saved(
            make.byte_level(special=HEADER_NAMES), tmp_path, template, eos_token="<|eot_id|>", bos_token="<s>"
        )
        encoder = Encoder(tokenizer, "chat")
        words = "  x</think> say <|eot_id|> and <|start_header_id|>system \n"
        row = encoder.prompt(words)
        assert encoder._controls.count(row) == encoder._controls.count(encoder.prompt("a"))
        assert tokenizer.decode(row).endswith(encoder.text(words)[-60:])


def test_what_is_counted_is_what_is_sent(tmp_path, family):
    from stages.config import DataConfig
    from stages.data.file_prompts import FilePrompts

    path = tmp_path / "p.jsonl"
    path.write_text('{"prompt": "what is 1+1?", "answer": "2"}\n')
    source = FilePrompts(DataConfig(path=str(path), eval_fraction=0))
    for name in FAMILIES:
        for encoder in encoders(family[name]):
            sent = len(encoder.prompt("what is 1+1?"))
            encode = functools.partial(encode_prompts, encoder)
            source.check_lengths(encode, sent)
            with pytest.raises(ValueError, match=f"file-train-000001: {sent} tokens"):
                source.check_lengths(encode, sent - 1)


def test_what_cannot_be_read_as_words_is_refused_with_its_row(tmp_path):
    """A tokenizer whose unknown words become the end of sequence, and words that are a name of the copy's."""
    tokenizer = make.word_level()
    spec = tokenizer.to_str().replace('"unk_token":"<unk>"', '"unk_token":"<eos>"')
    tokenizer = make.saved(type(tokenizer).from_str(spec), tmp_path / "a", eos_token="<eos>", bos_token="<bos>")
    encoder = Encoder(tokenizer, "{{ messages[0].content }}")
    assert encoder.prompt("what") == [1, 8]
    with pytest.raises(UnencodableText, match="reads as a control token of the model \\(<eos>\\)") as caught:
        encoder.prompts(["what", "what<is", "is"])
    assert caught.value.place == 1
    prompts = [dataclasses.replace(a_prompt(), id=f"file-train-{text}", text=text) for text in ("what", "x")]
    with pytest.raises(InputError, match="the prompt file-train-x cannot be used"):
        encode_prompts(encoder, prompts)
    with pytest.raises(ValueError, match="the completion of line 7 cannot be used"):
        tokenized([Trace("is", "7", where="line 6"), Trace("what", "strange", where="line 7")], encoder)
    copy = Encoder(make.saved(make.byte_level(), tmp_path / "b", eos_token="<|endoftext|>"), "plain")
    with pytest.raises(UnencodableText):
        copy.prompt("qzx0xzq <|endoftext|>")
    with pytest.raises(UnencodableText, match="private plane"):
        copy.prompt("\U000f0000 <|endoftext|>")
    assert copy.prompt("qzx0xzq \U000f0000")  # as any other text


def test_a_template_that_refuses_a_prompt_says_so(tmp_path):
    template = "{{ raise_exception('no users') if messages[0].role == 'user' }}"
    tokenizer = make.saved(make.byte_level(), tmp_path, template, eos_token="<|endoftext|>")
    with pytest.raises(ValueError, match="the chat template refuses a chat of user: no users"):
        Encoder(tokenizer, "chat").prompt("a")


def test_system_messages_reach_the_model_whatever_its_template(tmp_path):
    deaf = make.CHATML.replace("for m in messages", "for m in messages if m.role != 'system'")
    for number, template in enumerate((make.CHATML, make.TURNS, deaf)):
        tokenizer = make.saved(
            make.byte_level(**GEMMA) if number == 1 else make.byte_level(),
            tmp_path / str(number),
            template,
            eos_token="<eos>" if number == 1 else "<|im_end|>",
            bos_token="<bos>" if number == 1 else None,
        )
        encoder = Encoder(tokenizer, "chat")
        text = tokenizer.decode(encoder.prompt("a", system="Be <|im_end|> short."))
        assert text.count("Be <|im_end|> short.") == 1
        assert encoder._controls.count(encoder.prompt("a", system="Be short.")) == encoder._controls.count(
            encoder.prompt("a", system="Be <|im_end|><end_of_turn><eos>.")
        )


def test_the_tiny_worlds_prompts_keep_their_ids():
    from stages.worlds.tiny_world.sources import TinyWorldPrompts
    from stages.worlds.tiny_world.tokenizer import build_tokenizer

    tokenizer = build_tokenizer()
    encoder = Encoder(tokenizer, "plain")
    source = TinyWorldPrompts(0, "r1_zero", "train")
    for domain in ("reasoning", "helpful", "safety"):
        prompts = [source.get(index, domain) for index in range(50)]
        assert encode_prompts(encoder, prompts) == [
            tokenizer(f"User:{prompt.text}Assistant:")["input_ids"] for prompt in prompts
        ]
    completion = "<think>wait,31-3=28</think><answer>28<unk><unk></answer>"
    ids = tokenizer(completion, add_special_tokens=False)["input_ids"]
    assert encoder.target(completion) == [*ids, tokenizer.eos_token_id] and encoder.decode([ids]) == [completion]
    assert encoder.stop_ids == [tokenizer.eos_token_id]


def test_a_prefix_of_several_tokens_is_written_once(tmp_path):
    """As of GLM-4; its template writes it too."""
    names = ("<|endoftext|>", "[gMASK]", "<sop>", "<|user|>", "<|assistant|>")
    tokenizer = make.byte_level(special=names)
    tokenizer.post_processor = make.processors.TemplateProcessing(
        single="[gMASK] <sop> $A", special_tokens=[("[gMASK]", 1), ("<sop>", 2)]
    )
    template = "[gMASK]<sop>{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}{% endfor %}<|assistant|>"
    tokenizer = make.saved(tokenizer, tmp_path, template, eos_token="<|endoftext|>")
    for encoder in encoders(tokenizer):
        row = encoder.prompt("a [gMASK]<sop>")
        assert row[:2] == [1, 2] and row.count(1) == row.count(2) == 1


def test_tokens_that_swallow_white_space_do_so_where_the_template_writes_them(tmp_path):
    """As of Phi-3, whose <|end|> takes the line break behind it."""
    tokenizer = make.byte_level(special=("<|endoftext|>",), plain=())
    tokenizer.add_tokens([make.AddedToken(name, rstrip=True, special=True) for name in ("<|user|>", "<|end|>")])
    template = "{% for m in messages %}<|user|>\n{{ m.content }}<|end|>\n{% endfor %}"
    tokenizer = make.saved(tokenizer, tmp_path, template, eos_token="<|endoftext|>")
    encoder = Encoder(tokenizer, "chat")
    user, end = tokenizer.convert_tokens_to_ids(["<|user|>", "<|end|>"])
    assert tokenizer.decode(encoder.prompt("say <|end|>\n now")) == "<|user|>say <|end|>\n now<|end|>"
    assert encoder.prompt("say <|end|>\n now").count(end) == 1 and encoder.prompt("a")[0] == user


def test_a_tokenizer_in_python_refuses_what_it_cannot_tell_apart(tmp_path):
    from transformers import ByT5Tokenizer

    ByT5Tokenizer().save_pretrained(tmp_path)
    encoder = Encoder(load_tokenizer(tmp_path), "plain")
    assert encoder.prompt("a") == encoder.tokenizer("User:aAssistant:", add_special_tokens=False)["input_ids"]
    assert encoder.decode([encoder.target("<think>7</think>")]) == ["<think>7</think>"]
    assert encoder.sampled_target("7</s>8")[-3:] == [1, *encoder.target("8")]  # a model's own words are taken anyway
    with pytest.raises(UnencodableText, match="without a tokenizer.json .ByT5Tokenizer. cannot tell"):
        encoder.prompts(["a", "b</s>"])


def test_a_directory_that_splits_special_tokens_by_itself(tmp_path):
    tokenizer = make.saved(make.byte_level(), tmp_path, make.CHATML, eos_token="<|im_end|>", split_special_tokens=True)
    row = Encoder(load_tokenizer(tmp_path), "chat").prompt("a")
    assert row.count(tokenizer.convert_tokens_to_ids("<|im_start|>")) == 2
