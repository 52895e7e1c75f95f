"""Cells of every kind: read as what they are, or refused with their column; none becomes an answer by being printed."""

import datetime
import json
import math
from decimal import Decimal

import numpy as np
import pytest

from stages.config import SourceConfig
from stages.data.adapters import adapter_of
from stages.data.cells import SPELLED_MISSING, text_of
from stages.data.chats import exchange
from stages.data.malformed import Malformed, RowError
from stages.data.mapping import Row, to_row
from stages.data.rows import rows_of

NAN = float("nan")
CHAT = [{"role": "user", "content": "2+2?"}, {"role": "assistant", "content": "4"}]
PARTS = [{"type": "text", "text": "What is"}, {"type": "text", "text": "2+2?"}]


def row_of(raw, **keys):
    return to_row(raw, SourceConfig(path="x", **keys))


def refused(raw, **keys):
    with pytest.raises(RowError) as caught:
        row_of(raw, **keys)
    return caught.value


def answer(value, verifier="math"):
    return row_of({"prompt": "x", "answer": value}, verifier=verifier).answer


@pytest.mark.parametrize(
    "value, text",
    [
        (2, "2"),
        (2.0, "2"),
        (-0.0, "0"),
        (2.5, "2.5"),
        (1e-7, "0.0000001"),
        (2**70, str(2**70)),
        (float(2**53 - 1), str(2**53 - 1)),
        (Decimal("2.50"), "2.5"),
        (Decimal("1E+2"), "100"),
        (np.int64(3), "3"),
        (np.float64(3), "3"),
        (np.str_("3"), "3"),
        (" 3\n", "3"),
        ("1e400", "1e400"),
    ],
)
def test_numbers_are_written_in_digits(value, text):
    assert answer(value) == text


@pytest.mark.parametrize(
    "value, why",
    [
        (None, "answer is empty"),
        ("", "answer is empty"),
        (" \n", "answer is empty"),
        ("\u200b\u00a0\ufeff", "answer is empty"),
        (NAN, "answer is empty"),
        (np.float32("nan"), "answer is empty"),
        (Decimal("NaN"), "answer is empty"),
        (math.inf, "answer is not finite"),
        (-math.inf, "answer is not finite"),
        (Decimal("-Infinity"), "answer is not finite"),
        (float(2**53), "answer may have lost digits"),
        (1.5e300, "answer may have lost digits"),
        (b"2", "answer is bytes"),
        (datetime.date(2024, 1, 5), "answer is a date or time"),
        (datetime.datetime(2024, 1, 5), "answer is a date or time"),
        (datetime.timedelta(1), "answer is a date or time"),
        (["2"], "answer is a list"),
        ([["2"]], "answer is a list"),
        (np.array(["2", "3"]), "answer is a list"),
        ({"value": "2"}, "answer is a mapping"),
        ("2\0", "answer has a NUL character"),
        ("\ud800", "answer has half a character"),
        ({1, 2}, "answer is of type set"),
    ],
)
@pytest.mark.parametrize("verifier", ["integer", "math", "exact", "choice", "judge"])
def test_foreign_answers_are_refused_with_their_column(value, why, verifier):
    error = refused({"prompt": "x", "answer": value}, verifier=verifier)
    assert error.reason == why and str(error).startswith("answer")


@pytest.mark.parametrize("spelling", sorted(SPELLED_MISSING))
def test_a_verifier_decides_whether_the_spelling_of_a_missing_value_is_an_answer(spelling):
    for verifier in ("integer", "math"):
        assert refused({"prompt": "x", "answer": spelling}, verifier=verifier).reason == "answer is missing"
    for verifier in ("exact", "choice", "judge"):
        assert answer(spelling, verifier) == spelling
    assert refused({"prompt": spelling, "answer": "1"}).reason == "prompt is missing"


def test_other_texts_that_programs_write_are_no_mathematics():
    for text in ("b'2'", 'b"2"', "np.float64(2.0)", "Decimal('2')", "tensor(2)", "array([2])"):
        assert refused({"prompt": "x", "answer": text}).reason == "answer is Python's notation"
        assert answer(text, "exact") == text
    for text in ("inf", "-inf", "Infinity"):
        assert refused({"prompt": "x", "answer": text}).reason == "answer is not finite"
    assert refused({"prompt": "x", "answer": True}).reason == "answer is a truth value"
    assert answer(True, "exact") == "True"
    assert [answer(text) for text in ("Na", "n", "$NA$", "\\infty", "b", "b'")] == [
        "Na",
        "n",
        "$NA$",
        "\\infty",
        "b",
        "b'",
    ]


@pytest.mark.parametrize(
    "value", [None, NAN, 7, True, b"x", ["x"], {"x": 1}, "", " ", "\u200b", "\u3164", "nan", "N/A", "a\0", "\udfff"]
)
def test_foreign_prompts_are_refused(value):
    error = refused({"prompt": value, "answer": "1"})
    assert "prompt" in str(error)


@pytest.mark.parametrize("value", [None, NAN, math.inf, True, b"x", ["x"], {"x": 1}, "", "\u200b", "nan", "a\0"])
@pytest.mark.parametrize(
    "rows, column",
    [("sft", "completion"), ("labels", "completion"), ("preferences", "chosen"), ("preferences", "rejected")],
)
def test_foreign_completions_are_refused(value, rows, column):
    good = {"prompt": "x", "completion": "c", "chosen": "a", "rejected": "b", "is_safe": True}
    assert column in str(refused({**good, column: value}, rows=rows))
    for text in ("None", "N/A"):  # completions that a person may write
        assert getattr(row_of({**good, column: text}, rows=rows), column) == text


def test_labels():
    good = {"prompt": "x", "completion": "c"}
    for value, is_safe in ((True, True), (0, False), (1.0, True), ("true", True), ("FALSE", False), ("0", False)):
        assert row_of({**good, "is_safe": value}, rows="labels").is_safe is is_safe
    for value in (None, NAN, 2, "maybe", "", b"1", [1], "nan"):
        assert "is_safe must be true or false" in str(refused({**good, "is_safe": value}, rows="labels"))


def test_columns_that_may_be_empty_take_their_default_where_nothing_stands():
    keys = {f"{name}_column": name for name in ("language", "domain", "verifier", "kind", "id")}
    for nothing in (None, NAN, "", " ", "nan", "NaN", "<NA>", np.float64("nan")):
        row = row_of(
            {
                "prompt": "x",
                "answer": "1",
                **dict.fromkeys(keys.values(), None),
                **dict.fromkeys(("language", "domain", "verifier", "kind", "id"), nothing),
            },
            **keys,
        )
        assert (row.language, row.domain, row.verifier, row.kind, row.id) == ("en", "reasoning", "integer", "", "")
    assert row_of({"prompt": "x", "answer": "1", "id": 7.0}, id_column="id").id == "7"
    for name in ("language", "domain", "verifier"):
        assert refused({"prompt": "x", "answer": "1", name: "None"}, **keys).reason == f"unknown {name}"
    for name in ("kind", "id", "language"):
        assert name in refused({"prompt": "x", "answer": "1", name: b"1"}, **keys).reason
        assert name in refused({"prompt": "x", "answer": "1", name: "\ud800"}, **keys).reason


@pytest.mark.parametrize(
    "checks",
    [
        {"a": NAN},
        {"a": math.inf},
        {"a": b"x"},
        {"a": datetime.date(2024, 1, 1)},
        {"a": "\ud800"},
        '{"a": "\\ud800"}',
        b"{}",
    ],
)
def test_checks_that_json_cannot_write_are_refused(checks):
    assert "c" in refused({"prompt": "x", "answer": "1", "c": checks}, checks_column="c").reason


def test_checks_are_json():
    row = row_of({"prompt": "x", "c": {"tolerance": Decimal("0.5"), "π": [1, None]}}, checks_column="c")
    assert json.loads(row.checks) == {"tolerance": 0.5, "π": [1, None]}
    assert row_of({"prompt": "x", "answer": "1", "c": NAN}, checks_column="c").checks == ""
    assert text_of('{"a": "\\u00e9"}') == '{"a": "\\u00e9"}'


@pytest.mark.parametrize(
    "cell",
    [
        CHAT,
        tuple(CHAT),
        json.dumps(CHAT),
        json.dumps(CHAT, indent=2),
        str(CHAT),
        {"messages": CHAT},
        json.dumps({"messages": CHAT}),
        {"role": ["user", "assistant"], "content": ["2+2?", "4"]},
        [{"from": "human", "value": "2+2?"}, {"from": "gpt", "value": "4"}],
        [{"role": "User", "content": [{"type": "text", "text": "2+2?"}]}, {"role": "ASSISTANT", "content": "4"}],
        [{"role": "user", "content": [{"type": "text", "text": "2+2?", "image": None}]}, CHAT[1]],
        [{"role": "user", "content": ["2+2?"]}, {"role": "assistant", "content": {"type": "text", "text": "4"}}],
    ],
)
def test_a_chat_is_read_in_all_its_forms(cell):
    for column in ("prompt_column", "messages_column"):
        row = row_of({"m": cell, "completion": "4"}, rows="sft", **{column: "m"})
        assert (row.prompt, row.completion) == ("2+2?", "4")
    assert row_of({"prompt": "x", "chosen": cell, "rejected": "5"}, rows="preferences").chosen == "4"


def test_content_parts_are_text_and_nothing_else():
    for cell in (PARTS, json.dumps(PARTS)):
        assert row_of({"prompt": cell, "answer": "4"}).prompt == "What is\n2+2?"
    for part in ({"type": "image_url", "image_url": {"url": "x"}}, {"type": "image"}, {"type": "input_audio"}, 7):
        for cell in ([*PARTS, part], [{"role": "user", "content": [*PARTS, part]}]):
            assert refused({"prompt": cell, "answer": "4"}).reason in (
                "content has parts that are no text",
                "prompt has parts that are no text",
                "not a chat",
            )
    assert row_of({"prompt": "x", "completion": PARTS}, rows="sft").completion == "What is\n2+2?"


def test_texts_about_chats_stay_texts():
    for text in (
        '[1, 2] has "role"?',
        '[{"role": "admin", "content": "x"}]',
        '{"a": "role"}',
        "[{'type': 'x'}]",
        "[x]",
    ):
        assert row_of({"prompt": text, "answer": "1"}).prompt == text
        assert row_of({"prompt": "x", "completion": text}, rows="sft").completion == text
    assert (
        refused(
            {"prompt": '[{"role": "user", "content": "cut', "answer": "1"} | {"prompt": '[{"role": "user"} {"x"}]'}
        ).reason
        == "prompt is not a readable chat"
    )


def test_roles():
    chat = [
        {"role": "developer", "content": "d"},
        {"role": "system", "content": "s"},
        *CHAT,
    ]
    assert exchange(chat) == ("d\n\ns\n\n2+2?", "4")
    assert exchange([{"role": "assistant", "content": "Hello"}, *CHAT]) == ("2+2?", "4")


@pytest.mark.parametrize("key", ["reasoning_content", "reasoning", "thinking"])
def test_a_thought_in_a_key_of_its_own_is_part_of_the_answer(key):
    said = [{"role": "user", "content": "2+2?"}]
    apart = {"role": "assistant", key: "two and two", "content": "4"}
    assert exchange([*said, apart])[1] == "<think>two and two</think>\n4"
    assert exchange([*said, {"role": "assistant", key: None, "content": "4"}])[1] == "4"
    twice = {"role": "assistant", key: "two", "content": "<think>two</think>4"}
    assert exchange([*said, twice])[1] == "<think>two</think>4"


def test_an_exchange_with_tools_is_refused():
    tool = [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "", "tool_calls": [{"id": 1}]},
        {"role": "tool", "content": "r"},
        {"role": "assistant", "content": "b"},
    ]
    with pytest.raises(RowError, match="the last exchange calls tools"):
        exchange(tool)
    assert exchange([*tool, *CHAT]) == ("2+2?", "4"), "an earlier exchange does not matter"
    with pytest.raises(RowError, match="role 'narrator'"):
        exchange([{"role": "narrator", "content": "x"}, *CHAT])
    for chat in ([*CHAT, CHAT[0]], [], [{"role": "user", "content": "a"}]):
        assert (
            "does not end with the assistant"
            in refused({"prompt": "x", "chosen": chat, "rejected": "b"}, rows="preferences").reason
        )


def test_adapters_take_no_missing_value_for_one():
    helpsteer2 = {"prompt": "x", "response_1": "a", "response_2": "b"}
    with pytest.raises(RowError):
        adapter_of("helpsteer2")({**helpsteer2, "preference_strength": NAN})
    numina = {"problem": "x", "solution": "y", "problem_is_valid": "Yes"}
    adapted = adapter_of("numina_math_15")
    with pytest.raises(Exception, match="no answer"):
        adapted({**numina, "answer": NAN})
    chat = json.dumps([CHAT[0], {"role": "assistant", "content": "<think>t</think>4"}])
    assert adapter_of("thoughts")({"messages": chat})["prompt"] == "2+2?"


def test_every_place_of_a_bad_cell_is_said(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_text(
        '{"prompt": "a", "answer": 1}\n{"prompt": "b", "answer": NaN}\n{"prompt": "c\\ud800", "answer": 1}\n'
        '{"prompt": "d", "answer": 1e400}\n{"prompt": "e", "answer": 0.12345678901234567891}\n'
        '{"\\ud800": "f"}\n'
    )
    items = list(rows_of(SourceConfig(path=str(path))))
    assert items[1].detail == "answer is empty: nan stands in its place"
    assert [item.where for item in items if isinstance(item, Malformed)] == ["line 2", "line 3", "line 4", "line 6"]
    assert [item.answer for item in items if isinstance(item, Row)] == ["1", "0.12345678901234567891"]
    for item in items:
        if isinstance(item, Malformed):
            item.detail.encode()
