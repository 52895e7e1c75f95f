"""Files of every kind, chats, mixtures: every row where it belongs, and every bad one named."""

import csv
import gzip
import json
import math
from collections import Counter

import pytest

from stages.config import DataConfig, MixtureSource, SourceConfig
from stages.data import hub
from stages.data.chats import exchange
from stages.data.file_prompts import BLOCK, FilePrompts, block_shares
from stages.data.malformed import Malformed, RowError
from stages.data.mapping import to_row
from stages.data.pairs import general_pairs
from stages.data.readers import read, read_all
from stages.data.rows import rows_of
from stages.data.split import held_out, prompt_hash

ROWS = [{"prompt": f"What is {number} + 1?", "answer": str(number + 1)} for number in range(40)]


def write_lines(path, rows):
    path.write_text(
        "".join((row if isinstance(row, str) else json.dumps(row, ensure_ascii=False)) + "\n" for row in rows),
        encoding="utf-8",
    )
    return path


def source(path, **keys):
    return SourceConfig(path=str(path), **keys)


def raw(path, **keys):
    return [row for _, _, row in read(source(path, **keys))]


def test_every_text_format_gives_the_same_rows(tmp_path):
    import pyarrow

    text = "".join(json.dumps(row) + "\n" for row in ROWS).encode()
    (tmp_path / "a.jsonl").write_bytes(text)
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(text))
    with pyarrow.CompressedOutputStream(pyarrow.OSFile(str(tmp_path / "a.jsonl.zst"), "wb"), "zstd") as stream:
        stream.write(text)
    (tmp_path / "a.json").write_text(json.dumps(ROWS))
    with open(tmp_path / "a.csv", "w", newline="") as stream:
        writer = csv.DictWriter(stream, ["prompt", "answer"])
        writer.writeheader()
        writer.writerows(ROWS)
    for name in ("a.jsonl", "a.jsonl.gz", "a.jsonl.zst", "a.json", "a.csv"):
        assert raw(tmp_path / name) == ROWS, name


def test_dataset_directories(tmp_path):
    import datasets

    whole = datasets.Dataset.from_list(ROWS)
    whole.save_to_disk(tmp_path / "one")
    datasets.DatasetDict({"train": whole.select(range(30)), "test": whole.select(range(30, 40))}).save_to_disk(
        tmp_path / "two"
    )
    datasets.DatasetDict({"validation": whole}).save_to_disk(tmp_path / "three")
    (tmp_path / "four" / "data").mkdir(parents=True)
    whole.select(range(25)).to_parquet(tmp_path / "four" / "data" / "train-0.parquet")
    whole.select(range(25, 40)).to_parquet(tmp_path / "four" / "data" / "train-1.parquet")
    whole.select(range(3)).to_parquet(tmp_path / "four" / "data" / "test-0.parquet")
    assert (
        raw(tmp_path / "one") == ROWS
        and raw(tmp_path / "two") == ROWS[:30]
        and raw(tmp_path / "two", files="test/*") == ROWS[30:]
    )
    with pytest.raises(ValueError, match=r"has the splits validation: choose one, as data.files='validation/\*'"):
        raw(tmp_path / "three")
    items = list(read(source(tmp_path / "four", files="data/train-*.parquet")))
    assert [row for _, _, row in items] == ROWS and items[25][:2] == (26, "train-1.parquet row 1")
    with pytest.raises(ValueError, match=r"no data file matches data.files=\*.csv; there are data/test-0.parquet"):
        raw(tmp_path / "four", files="*.csv")
    (tmp_path / "five").mkdir()
    with pytest.raises(ValueError, match="a directory without data files"):
        raw(tmp_path / "five")


def test_bad_lines_stand_in_their_place(tmp_path):
    path = tmp_path / "bad.jsonl"
    path.write_bytes(b'{"a": 1}\n{broken\n\n[1]\n{"a": "\xe9"}\n{"a": 2}')
    items = list(read(source(path)))
    assert [number for number, _, _ in items] == [1, 2, 4, 5, 6]
    assert [row.reason if isinstance(row, Malformed) else row for _, _, row in items] == [
        {"a": 1},
        "not JSON",
        "not an object",
        "not UTF-8",
        {"a": 2},
    ]
    assert items[1][2].where == "line 2"
    with pytest.raises(ValueError, match="3 lines are no rows: line 2: not JSON.*; line 4: expected an object"):
        read_all(path)


def test_bad_csv_rows(tmp_path):
    path = tmp_path / "bad.csv"
    path.write_bytes(b'prompt,answer\na,1\nb\nc,2,3\n"d\nd",\xff\ne,5\n')
    found = [row.reason if isinstance(row, Malformed) else row["prompt"] for _, _, row in read(source(path))]
    assert found == ["a", "wrong number of cells", "wrong number of cells", "not UTF-8", "e"]


def test_broken_containers_are_named(tmp_path):
    for name in ("x.parquet", "x.jsonl.gz", "x.arrow", "x.jsonl.zst"):
        (tmp_path / name).write_bytes(b"not what it says" * 10)
        with pytest.raises(ValueError, match="is not a readable"):
            raw(tmp_path / name)


def test_a_hub_name_that_was_not_fetched_says_how_to_fetch_it(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    with pytest.raises(ValueError) as caught:
        raw("some/set", revision="abc", files="main/*.parquet")
    for part in (
        "data.path=some/set (revision abc)",
        "hf download --repo-type dataset some/set --revision abc --include 'main/*.parquet'",
        "HF_HOME=",
        "pipeline data fetch",
        "data.path=DIRECTORY",
    ):
        assert part in str(caught.value)
    with pytest.raises(ValueError, match="data.path=data/x.jsonl: no such file"):
        raw("data/x.jsonl")


def test_a_fetched_set_stands_for_its_name(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    repository = tmp_path / "hub" / "datasets--some--set"
    for commit, rows in (("c1", ROWS[:3]), ("c2", ROWS[:5])):
        (repository / "snapshots" / commit).mkdir(parents=True)
        write_lines(repository / "snapshots" / commit / "train.jsonl", rows)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("c2")
    assert raw("some/set") == ROWS[:5] and raw("some/set", revision="c1") == ROWS[:3]


def test_what_is_not_pinned_says_how_to_pin_it(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    repository, commit = tmp_path / "hub" / "datasets--some--set", "c" * 40
    source = SourceConfig(path="some/set")
    assert hub.commit_of(source) is None
    assert (
        hub.pin_advice(source)
        == "some/set is not pinned: it is what the hub has as main when it is fetched. data.revision=COMMIT pins it"
    )
    (repository / "snapshots" / commit).mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    assert hub.commit_of(source) == commit
    assert f"here main is commit {commit}" in hub.pin_advice(
        source
    ) and f"data.sources.x.revision={commit} pins it" in hub.pin_advice(source, "data.sources.x")
    assert hub.pin_advice(SourceConfig(path="some/set", revision=commit)) is None
    assert "v1.0 when it is fetched" in hub.pin_advice(SourceConfig(path="some/set", revision="v1.0")), (
        "a tag is no pin"
    )
    mine = SourceConfig(path=str(tmp_path), revision=commit)
    assert hub.pin_advice(mine) is None and hub.commit_of(mine) is None


def test_only_organisation_and_name_is_a_hub_name():
    assert hub.is_hub_name("openai/gsm8k") and hub.is_hub_name("a/b.c")
    assert not any(map(hub.is_hub_name, ("data/x.jsonl", "./x/y", "/x/y", "x", "a/b/c", "~/a")))


@pytest.mark.parametrize(
    "messages, turn, expected",
    [
        ([("user", "a"), ("assistant", "b")], "last", ("a", "b")),
        ([("user", "a"), ("user", "b"), ("assistant", "c")], "last", ("a\n\nb", "c")),
        ([("system", "s"), ("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d")], "last", ("c", "d")),
        (
            [("system", "s"), ("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d")],
            "first",
            ("s\n\na", "b"),
        ),
        ([("user", "a"), ("assistant", "b"), ("user", "c")], "last", ("c", "")),
        ([("human", "a"), ("gpt", "b")], "last", ("a", "b")),
    ],
)
def test_exchanges(messages, turn, expected):
    assert exchange([{"role": role, "content": content} for role, content in messages], turn) == expected
    assert exchange([{"from": role, "value": content} for role, content in messages], turn) == expected


@pytest.mark.parametrize(
    "row, keys, reason",
    [
        ({"messages": [{"role": "assistant", "content": "b"}]}, {"messages_column": "messages"}, "no user message"),
        ({"messages": [{"content": "b"}]}, {"messages_column": "messages"}, "not a chat"),
        ({"messages": "text"}, {"messages_column": "messages"}, "messages is empty or not a chat"),
        ({"prompt": 7}, {}, "prompt is empty or not text"),
        ({"prompt": "x"}, {}, "no column answer"),
        ({"prompt": "x", "a": {"b": ""}}, {"answer_column": "a.b"}, "a.b is empty"),
        ({"prompt": "x", "answer": "1", "d": "fun"}, {"domain_column": "d"}, "unknown domain"),
        ({"prompt": "x", "completion": ""}, {"rows": "sft"}, "completion is empty"),
        ({"prompt": "x", "chosen": "a", "rejected": "a"}, {"rows": "preferences"}, "chosen and rejected are the same"),
        ({"prompt": "x", "completion": "a", "is_safe": "maybe"}, {"rows": "labels"}, "is_safe is not true or false"),
    ],
)
def test_rows_that_cannot_be_used(row, keys, reason):
    with pytest.raises(RowError) as caught:
        to_row(row, SourceConfig(path="x", **keys))
    assert caught.value.reason == reason


def test_columns_of_mappings_domains_and_ids():
    row = to_row(
        {"q": "x", "m": {"answer": 3}, "d": "safety", "k": "own", "i": 7},
        SourceConfig(path="x", prompt_column="q", answer_column="m.answer", kind_column="k", id_column="i"),
    )
    assert (row.answer, row.kind, row.id, row.domain) == ("3", "own", "7", "reasoning")
    assert to_row({"prompt": "x", "d": "safety"}, SourceConfig(path="x", domain_column="d")).answer == ""


def test_an_adapter_that_meets_another_schema_names_the_row(tmp_path):
    (item,) = rows_of(source(write_lines(tmp_path / "x.jsonl", [{"prompt": "x"}]), adapter="gsm8k"))
    assert item.reason == "not a row of gsm8k" and "it has prompt" in item.detail


def test_malformed_rows_are_fatal_or_counted(tmp_path):
    path = write_lines(tmp_path / "x.jsonl", ["{broken", *ROWS, {"prompt": "x"}, {"prompt": "y", "answer": "seven"}])
    with pytest.raises(
        ValueError,
        match="3 of 43 rows cannot be used: line 1: not JSON.*line 42: no column answer.*line 43: "
        "'seven'.*data.malformed=skip",
    ):
        FilePrompts(DataConfig(path=str(path)))
    skipping = FilePrompts(DataConfig(path=str(path), malformed="skip", eval_fraction=0))
    assert len(skipping) == 40 and skipping.num_malformed == 3
    assert "3 of 43 rows left out: not JSON 1, no column answer 1, answer not read by integer 1" in skipping.summary


def test_ids_must_be_unique(tmp_path):
    path = write_lines(tmp_path / "x.jsonl", [{**ROWS[0], "id": "a"}, {**ROWS[1], "id": "a"}])
    with pytest.raises(ValueError, match="line 2: the id 'a' is that of line 1 too"):
        FilePrompts(DataConfig(path=str(path), id_column="id"))


def mixture(tmp_path, **weights):
    sizes = {"few": 12, "many": 300}
    sources = {}
    for name, weight in weights.items():
        path = write_lines(
            tmp_path / f"{name}.jsonl",
            [{"prompt": f"{name} {number}", "answer": number} for number in range(sizes[name])],
        )
        sources[name] = MixtureSource(path=str(path), weight=weight, verifier="integer")
    return DataConfig(name="file", sources=sources, eval_fraction=0)


def test_weights_decide_the_share_of_the_draws(tmp_path):
    source_ = FilePrompts(mixture(tmp_path, few=1, many=3), seed=1)
    drawn = [source_.get(index) for index in range(BLOCK)]
    assert Counter(prompt.kind for prompt in drawn) == {"few": 250, "many": 750}
    first = Counter(prompt.kind for prompt in drawn[:100])
    assert 10 < first["few"] < 40  # mixed, not one after the other
    of_few = [prompt.id for prompt in drawn if prompt.kind == "few"]
    assert all(len(set(of_few[start : start + 12])) == 12 for start in range(0, 240, 12))  # each row once an epoch


def test_a_draw_is_a_function_of_its_number(tmp_path):
    config = mixture(tmp_path, few=1, many=3)
    source_, again, other = (FilePrompts(config, seed=seed, stream="r1_zero") for seed in (1, 1, 2))
    numbers = list(range(0, 5 * BLOCK, 37))
    forward = [source_.get(index).id for index in numbers]
    assert [again.get(index).id for index in reversed(numbers)][::-1] == forward
    assert [other.get(index).id for index in numbers] != forward


def test_block_shares():
    assert block_shares({"a": 1, "b": 1, "c": 1}) == {"a": 334, "b": 333, "c": 333}
    assert block_shares({"a": 1e6, "b": 1e-3}) == {"a": 999, "b": 1}
    assert math.isclose(sum(block_shares({str(n): n + 1 for n in range(70)}).values()), BLOCK)


def test_a_prompt_is_on_one_side_in_all_sources(tmp_path):
    shared = [{"prompt": f"shared {number}", "answer": 1} for number in range(5)]
    one = write_lines(
        tmp_path / "one.jsonl", shared
    )  # so few that one is held out though no hash is below the threshold
    two = write_lines(
        tmp_path / "two.jsonl", [{**row, "prompt": f"  {row['prompt'].upper()}"} for row in shared] + ROWS
    )
    config = DataConfig(
        name="file",
        eval_fraction=0.001,
        sources={
            name: MixtureSource(path=str(path), verifier="integer") for name, path in (("one", one), ("two", two))
        },
    )
    train, test = (FilePrompts(config, split) for split in ("train", "test"))
    sides = [
        {prompt_hash(prompt.text) for prompts in side.prompts().values() for prompt in prompts}
        for side in (train, test)
    ]
    assert sides[1] and not sides[0] & sides[1]


def test_held_out_is_the_share_below_the_threshold():
    low, high = 2**47 // 10, 2**48 - 1
    assert held_out([{low, high}, {high}], 0.1) == {low}
    assert held_out([{high, high - 1}], 0.1) == {high - 1} and held_out([{high, high - 1}], 0) == set()


def test_domains_are_drawn_apart_and_missing_ones_named(tmp_path):
    rows = [
        {"prompt": f"{domain} {number}", "answer": "1", "domain": domain}
        for domain in ("reasoning", "helpful")
        for number in range(20)
    ]
    source_ = FilePrompts(
        DataConfig(path=str(write_lines(tmp_path / "x.jsonl", rows)), domain_column="domain", eval_fraction=0)
    )
    assert {source_.get(index).domain for index in range(40)} == {"reasoning"} and source_.get(
        3, "helpful"
    ).text.startswith("helpful")
    with pytest.raises(
        ValueError, match="holds no safety prompts.*set mix.safety=0, or add a source with domain=safety"
    ):
        source_.get(0, "safety")


def test_general_pairs_come_from_the_chats_of_a_mixture(tmp_path):
    chats = write_lines(
        tmp_path / "chats.jsonl",
        [
            {"messages": [{"role": "user", "content": f"hi {n}"}, {"role": "assistant", "content": f"ho {n}"}]}
            for n in range(30)
        ],
    )
    config = DataConfig(
        name="file",
        sources={
            "math": MixtureSource(path=str(write_lines(tmp_path / "m.jsonl", ROWS)), verifier="integer"),
            "chat": MixtureSource(path=str(chats), rows="sft", domain="helpful", messages_column="messages"),
        },
    )
    pairs = general_pairs(config, 50, 0, "rejection_data")
    assert len(pairs) == 50 and all(
        completion == prompt.text.replace("hi", "ho") and prompt.domain == "helpful" for prompt, completion in pairs
    )
    assert pairs == general_pairs(config, 50, 0, "rejection_data") != general_pairs(config, 50, 1, "rejection_data")
    held = {prompt.text for prompts in FilePrompts(config, "test").prompts("helpful").values() for prompt in prompts}
    assert held and not held & {prompt.text for prompt, _ in pairs}
    with pytest.raises(ValueError, match="no source of the data has rows=sft"):
        general_pairs(DataConfig(path=str(tmp_path / "m.jsonl")), 5, 0, "x")
