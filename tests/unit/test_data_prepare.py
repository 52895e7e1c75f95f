"""`data prepare`: every filter drops what it says and nothing else, every row is accounted for, and the outcome is the
same however it is computed.
"""

import dataclasses
import json

import pyarrow.parquet
import pytest

from pipeline.configuration.data_sources import preset
from stages.config import DataConfig, MixtureSource, PrepareConfig, RolloutConfig, from_dict
from stages.data.file_prompts import FilePrompts
from stages.data.preparing.inspect import summary
from stages.data.preparing.lengths import Lengths
from stages.data.preparing.prepare import Preparation
from stages.worlds.tiny_world.tokenizer import build_tokenizer
from tests.support.data_rows import mixed_file, sentence, write_lines


def prepare(tmp_path, data: DataConfig, **settings):
    """(prompts kept, data card)."""
    made = Preparation(
        data,
        PrepareConfig(output=str(tmp_path / "out"), **{"processes": 1, **settings}),
        RolloutConfig(),
        say=lambda line: None,
    )
    path = made.run()
    return pyarrow.parquet.read_table(path).to_pylist(), json.loads((tmp_path / "out" / "card.json").read_text())


SETTINGS = {"min_prompt": 5, "max_prompt": 100, "languages": ["en"], "near_duplicates": 0.75}


def test_every_row_is_kept_or_accounted_for(tmp_path):
    held = write_lines(tmp_path / "held.jsonl", [{"prompt": sentence(99)}])
    rows, card = prepare(tmp_path, mixed_file(tmp_path), against={"held": MixtureSource(path=held)}, **SETTINGS)
    assert [row["prompt"] for row in rows] == [sentence(number) for number in range(30)]
    assert {entry["filter"]: entry["dropped"] for entry in card["filters"]} == {
        "malformed": 1,
        "length": 2,
        "language": 1,
        "contamination": 1,
        "exact duplicate": 1,
        "near duplicate": 1,
        "answer": 1,
    }
    assert card["read"] == 38 and card["filters"][-1]["left"] == card["kept"]["rows"] == 30
    reasons = {reason for entry in card["filters"] for reason in entry["reasons"]}
    assert {
        "not JSON",
        "prompt under 5 words",
        "prompt over 100 words",
        "in zh",
        "the same text",
        "not read by integer",
    } <= reasons
    assert any(
        "line 36" in example and "line 6: word" in example for entry in card["filters"] for example in entry["examples"]
    )  # the copy and what it copies
    text = (tmp_path / "out" / "card.md").read_text()
    assert "30 of 38 rows kept" in text and "data=prepared data.path=" in text and "| near duplicate |" in text
    assert not (tmp_path / "out" / ".work").exists()


def test_the_number_of_processes_does_not_matter(tmp_path):
    data = mixed_file(tmp_path)
    files_ = []
    for name, processes in (("one", 1), ("two", 2)):
        (tmp_path / name).mkdir()
        prepare(tmp_path / name, data, processes=processes, **SETTINGS)
        files_.append((tmp_path / name / "out" / "train.parquet").read_bytes())
    assert files_[0] == files_[1]


def test_what_is_prepared_is_read_back(tmp_path):
    rows, _ = prepare(tmp_path, mixed_file(tmp_path), **SETTINGS)
    source = FilePrompts(
        from_dict(
            DataConfig, {**preset("prepared"), "path": str(tmp_path / "out" / "train.parquet"), "eval_fraction": 0}
        )
    )
    assert len(source) == len(rows) == 31
    assert {source.get(index).id for index in range(31)} == {f"file-train-{row['id']}" for row in rows} and source.get(
        0
    ).verifier == "integer"


def test_pairs_are_duplicates_only_with_their_completions(tmp_path):
    rows = [{"prompt": "Say something.", "completion": text} for text in ("one thing", "another thing", "One  thing")]
    kept, card = prepare(tmp_path, DataConfig(path=write_lines(tmp_path / "x.jsonl", rows), rows="sft"))
    assert [row["completion"] for row in kept] == ["one thing", "another thing"] and "data.rows=sft" in (
        tmp_path / "out" / "card.md"
    ).read_text()


def test_a_mixture_is_prepared_as_one_and_sources_are_told_apart(tmp_path):
    one, two = (
        write_lines(tmp_path / f"{name}.jsonl", [{"prompt": sentence(number), "answer": "1"} for number in numbers])
        for name, numbers in (("one", range(5)), ("two", range(3, 9)))
    )
    rows, card = prepare(
        tmp_path,
        DataConfig(
            name="file", sources={"one": MixtureSource(path=one, license="MIT"), "two": MixtureSource(path=two)}
        ),
    )
    assert [row["source"] for row in rows] == ["one"] * 5 + ["two"] * 4 and card["kept"]["by"]["source"] == {
        "one": 5,
        "two": 4,
    }
    assert len({row["id"] for row in rows}) == 9 and card["sources"]["one"] | {"path": ""} == {
        "path": "",
        "files": None,
        "revision": None,
        "commit": None,
        "is_pinned": None,
        "license": "MIT",
        "rows": "prompts",
        "read": 5,
    }


def test_the_card_says_which_commit_was_read_and_whether_it_is_pinned(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    for name, commit, number in (("some/set", "a" * 40, 0), ("held/out", "b" * 40, 90)):
        repository = tmp_path / "hub" / f"datasets--{name.replace('/', '--')}"
        (repository / "snapshots" / commit).mkdir(parents=True)
        (repository / "refs").mkdir()
        (repository / "refs" / "main").write_text(commit)
        write_lines(
            repository / "snapshots" / commit / "train.jsonl",
            [{"prompt": sentence(number + i), "answer": "1"} for i in range(3)],
        )
    against = {"held": MixtureSource(path="held/out")}
    _, card = prepare(tmp_path, DataConfig(name="file", path="some/set", license="MIT"), against=against)
    assert (card["sources"]["file"]["commit"], card["sources"]["file"]["is_pinned"]) == ("a" * 40, False)
    assert (card["against"]["held"]["commit"], card["against"]["held"]["prompts"]) == ("b" * 40, 3)
    text = (tmp_path / "out" / "card.md").read_text()
    assert (
        f"| {'a' * 40}, **not pinned** | MIT |" in text
        and f"data.revision={'a' * 40} pins it" in text
        and f"prepare.against.held.revision={'b' * 40} pins it" in text
    )
    _, card = prepare(tmp_path, DataConfig(name="file", path="some/set", revision="a" * 40))
    text = (tmp_path / "out" / "card.md").read_text()
    assert (
        card["sources"]["file"]["is_pinned"] is True
        and card["pins"] == []
        and "not pinned" not in text
        and f"| {'a' * 40} |" in text
    )
    own = write_lines(tmp_path / "own.jsonl", [{"prompt": sentence(1), "answer": "1"}])
    _, card = prepare(tmp_path, DataConfig(name="file", path=own, revision="c" * 40))
    assert (
        card["sources"]["file"]["commit"] is None
        and f"files here, not checked to be {'c' * 40}" in (tmp_path / "out" / "card.md").read_text()
    )


def test_bad_input_says_what_to_do(tmp_path):
    path = write_lines(tmp_path / "x.jsonl", [{"prompt": "x", "answer": "1"}, "{"])
    with pytest.raises(ValueError, match="line 2: not JSON.*data.malformed=skip"):
        prepare(tmp_path, DataConfig(path=path))
    with pytest.raises(ValueError, match="no row of 2 is left: malformed dropped 1, length dropped 1"):
        prepare(tmp_path, DataConfig(path=path, malformed="skip"), min_prompt=9)
    with pytest.raises(ValueError, match="is empty: it needs at least one row"):
        prepare(tmp_path, DataConfig(path=write_lines(tmp_path / "none.jsonl", [])))
    with pytest.raises(ValueError, match="rows of different types"):
        prepare(
            tmp_path,
            DataConfig(name="file", sources={name: MixtureSource(path=path, rows=name) for name in ("sft", "labels")}),
        )
    with pytest.raises(ValueError, match="prepare.samples measures the pass rate"):
        prepare(tmp_path, DataConfig(path=path), samples=4)


def test_a_summary_counts_everything(tmp_path):
    data = mixed_file(tmp_path)
    found = summary(data, "data", Lengths())
    assert (found["tally"].num_rows, found["num"], found["copies"]) == (38, 36, 1)
    assert (
        found["by"]["language"] == {"en": 35, "zh": 1}
        and found["lengths"]["up to 64"] == 33
        and sum(found["lengths"].values()) == 36
    )
    assert found["tally"].reasons == {"not JSON": 1, "answer not read by integer": 1} and len(found["shown"]) == 3
    assert [row.number for row in found["shown"]] == [row.number for row in summary(data, "data", Lengths())["shown"]]


def test_lengths_are_tokens_where_there_is_a_tokenizer(tmp_path):
    build_tokenizer().save_pretrained(tmp_path)
    assert Lengths(str(tmp_path)).of(["7+5"]) == [3] and Lengths().of(["What is 7+5?"]) == [4]
    assert Lengths(str(tmp_path)).of([]) == []


def test_prepare_counts_in_tokens(tmp_path):
    build_tokenizer().save_pretrained(tmp_path / "model")
    path = write_lines(tmp_path / "x.jsonl", [{"prompt": "1+2", "answer": "3"}, {"prompt": "1+2+3+4", "answer": "10"}])
    made = Preparation(
        DataConfig(path=path),
        PrepareConfig(output=str(tmp_path / "out"), max_prompt=4, processes=1),
        RolloutConfig(),
        model_dir=str(tmp_path / "model"),
        say=lambda line: None,
    )
    assert [row["prompt"] for row in pyarrow.parquet.read_table(made.run()).to_pylist()] == ["1+2"]
    assert made.dropped.reasons["length"] == {"prompt over 4 tokens": 1}


def test_settings_that_keep_nothing_are_refused():
    with pytest.raises(ValueError, match="min_pass_rate 0.9 is more than max_pass_rate 0.5"):
        PrepareConfig(min_pass_rate=0.9, max_pass_rate=0.5)
    with pytest.raises(ValueError, match="against.x.path is empty"):
        PrepareConfig(against={"x": MixtureSource()})
    assert dataclasses.replace(PrepareConfig(), max_prompt=9).max_prompt == 9
