"""Traces: read from files of two shapes, put into the student's template, tokenised by the student's tokenizer."""

import json

import pytest

from stages.config import TracesConfig
from stages.kinds.sft import to_row
from stages.prompting.encoding import Encoder
from stages.training.traces import Trace, file_traces, recipe_traces, tokenized
from stages.worlds.tiny_world.tokenizer import build_tokenizer

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}{% if "
    "add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def row_of(trace, template, tokenizer):
    ((prompt_ids, target_ids),) = tokenized([trace], Encoder(tokenizer, template))
    return to_row(prompt_ids, target_ids)


def texts_of(trace, template, tokenizer):
    ((prompt_ids, target_ids),) = tokenized([trace], Encoder(tokenizer, template))
    return tokenizer.decode(prompt_ids), tokenizer.decode(target_ids[:-1])


@pytest.fixture(scope="module")
def student():
    """A byte-level BPE with a ChatML template: nothing in common with the tiny world's tokenizer."""
    from tokenizers import ByteLevelBPETokenizer
    from transformers import PreTrainedTokenizerFast

    bpe = ByteLevelBPETokenizer()
    bpe.train_from_iterator(
        ["what is 31-3-7? <think> wait </think> <answer> 21 </answer> user assistant"] * 20,
        vocab_size=300,
        special_tokens=["<|end|>", "<|im_start|>", "<|im_end|>"],
        show_progress=False,
    )
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bpe._tokenizer, eos_token="<|end|>", pad_token="<|end|>")
    tokenizer.chat_template = CHATML
    return tokenizer


def written(path, rows):
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return TracesConfig(path=str(path))


def test_rows_of_prompt_and_completion_or_chats(tmp_path):
    pairs = written(tmp_path / "t.jsonl", [{"prompt": " 1+1? ", "completion": "<think>2</think> 2"}])
    assert file_traces(pairs) == ([Trace("1+1?", "<think>2</think> 2")], "")
    chat = [
        {"role": "system", "content": "Be short."},
        {"role": "user", "content": "1+2?"},
        {"role": "assistant", "content": "<think>3</think>3"},
    ]
    chats = TracesConfig(path=written(tmp_path / "c.jsonl", [{"messages": chat}]).path, messages_column="messages")
    assert file_traces(chats)[0] == [Trace("Be short.\n\n1+2?", "<think>3</think>3")]


def test_parquet_with_other_column_names(tmp_path):
    from datasets import Dataset

    Dataset.from_list([{"problem": "1+1?", "generation": "2"}]).to_parquet(str(tmp_path / "t.parquet"))
    traces = file_traces(
        TracesConfig(path=str(tmp_path / "t.parquet"), prompt_column="problem", completion_column="generation")
    )
    assert traces == ([Trace("1+1?", "2")], "")


def test_rows_that_cannot_be_used_are_named_or_left_out_and_counted(tmp_path):
    config = written(
        tmp_path / "t.jsonl",
        [{"prompt": "1", "completion": "2"}, {"prompt": "1+1?"}, {"prompt": "", "completion": "2"}],
    )
    with pytest.raises(
        ValueError,
        match="traces.path=.*2 of 3 rows cannot be used: line 2: no column completion; it has prompt; line 3: "
        "prompt is empty",
    ):
        file_traces(config)
    traces, left_out = file_traces(TracesConfig(path=config.path, malformed="skip"))
    assert traces == [Trace("1", "2")] and left_out.startswith("2 of 3 rows left out")
    with pytest.raises(ValueError, match="none of 1 rows can be used"):
        file_traces(TracesConfig(path=written(tmp_path / "bad.jsonl", [{"a": 1}]).path, malformed="skip"))


def test_the_students_template_and_tokenizer_decide(student):
    """The teacher's text is the same, its templates and tokens are not: exact tokens for both."""
    trace = Trace("what is31-3?", "<think>31-3=28</think><answer>28</answer>")
    teacher = build_tokenizer()
    own = row_of(trace, "plain", teacher)
    assert (
        teacher.decode(own.token_ids)
        == "<bos>User:what is31-3?Assistant:<think>31-3=28</think><answer>28</answer><eos>"
    )
    prompt, _ = texts_of(trace, "chat", student)
    assert prompt == "<|im_start|>user\nwhat is31-3?<|im_end|>\n<|im_start|>assistant\n"
    sample = row_of(trace, "chat", student)
    trained = [token for token, weight in zip(sample.token_ids, sample.weights) if weight]
    assert student.decode(sample.token_ids) == prompt + trace.completion + "<|end|>"
    assert student.decode(trained) == trace.completion + "<|end|>"  # the loss is on the completion and its end only
    assert sample.weights == sorted(sample.weights) and 0 < sum(sample.weights) < len(sample.weights)


def build_chat_tokenizer():
    tokenizer = build_tokenizer()
    tokenizer = type(tokenizer)(
        tokenizer_object=tokenizer._tokenizer, bos_token="<bos>", eos_token="<eos>", pad_token="<pad>"
    )
    tokenizer.chat_template = "{{ bos_token }}{% for m in messages %}User:{{ m.content }}{% endfor %}Assistant:"
    return tokenizer


def test_a_chat_template_that_writes_bos_gets_no_second_one():
    tokenizer = build_chat_tokenizer()
    trace = Trace("7+5", "12")
    ids = row_of(trace, "chat", tokenizer).token_ids
    assert tokenizer.convert_ids_to_tokens(ids) == ["<bos>", "User:", "7", "+", "5", "Assistant:", "12", "<eos>"]


def test_the_recipes_own_data_carries_the_users_words(tmp_path):
    from datasets import Dataset

    Dataset.from_list([{"prompt": "User:7+5Assistant:", "completion": "12", "text": "7+5"}]).to_parquet(
        str(tmp_path / "new.parquet")
    )
    Dataset.from_list([{"prompt": "User:7+5Assistant:", "completion": "12"}]).to_parquet(str(tmp_path / "old.parquet"))
    assert recipe_traces(tmp_path / "new.parquet") == [Trace("7+5", "12")]
    (old,) = recipe_traces(tmp_path / "old.parquet")
    assert texts_of(old, "chat", build_chat_tokenizer()) == (
        "<bos>User:7+5Assistant:",
        "12",
    )  # made before the column was there: as the teacher saw it


def test_a_template_that_opens_the_thought_is_not_answered_with_a_second_one(student):
    """Qwen3 and R1-Distill templates end in <think>: the teacher's may, the student's may, and neither, one or both
    may.
    """
    opens = CHATML.replace("assistant\n{% endif %}", "assistant\n<think>\n{% endif %}")
    whole = Trace("7+5", "<think>\n12</think>12")
    student.chat_template = opens
    prompt, completion = texts_of(whole, "chat", student)
    assert prompt.endswith("<think>\n") and completion == "12</think>12"
    student.chat_template = CHATML
    assert texts_of(whole, "chat", student)[1] == "<think>\n12</think>12"


def test_what_the_teachers_template_opened_is_put_back(tmp_path):
    from datasets import Dataset

    Dataset.from_list(
        [{"prompt": "...<think>", "completion": "12</think>12", "text": "7+5", "opening": "<think>"}]
    ).to_parquet(str(tmp_path / "t.parquet"))
    assert recipe_traces(tmp_path / "t.parquet") == [Trace("7+5", "<think>12</think>12")]
