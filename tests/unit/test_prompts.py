"""Prompts from files: every row where it belongs, and every bad file an error that says which row and what to do."""

import json

import pytest

from stages.config import DataConfig
from stages.data.file_prompts import FilePrompts
from stages.data.prompt_sources import evaluation_sets, make_source
from stages.prompting.templates import R1_ZERO_TEMPLATE, apply_template
from stages.worlds.tiny_world.sources import TinyWorldPrompts


def write(path, rows):
    path.write_text(
        "".join((row if isinstance(row, str) else json.dumps(row, ensure_ascii=False)) + "\n" for row in rows),
        encoding="utf-8",
    )
    return str(path)


def prompts(path, split="train", seed=0, stream="", **keys):
    return FilePrompts(DataConfig(path=str(path), **keys), split, seed=seed, stream=stream)


def rows(count):
    return [{"prompt": f"What is {number} + 1?", "answer": str(number + 1)} for number in range(count)]


@pytest.fixture
def jsonl(tmp_path):
    return write(tmp_path / "sums.jsonl", rows(200))


def test_train_and_test_rows_are_apart_and_complete(jsonl):
    train, test = (prompts(jsonl, name) for name in ("train", "test"))
    texts = [{source.get(index).text for index in range(len(source))} for source in (train, test)]
    assert not texts[0] & texts[1] and len(texts[0] | texts[1]) == 200
    assert 5 < len(test) < 40


def test_epochs_are_permutations_determined_by_seed_and_stream(jsonl):
    source, again, other = (prompts(jsonl, seed=seed, stream="r1_zero") for seed in (1, 1, 2))
    size = len(source)
    epochs = [[source.get(epoch * size + position).id for position in range(size)] for epoch in range(2)]
    assert sorted(epochs[0]) == sorted(epochs[1]) and epochs[0] != epochs[1] and len(set(epochs[0])) == size
    assert [again.get(index).id for index in reversed(range(2 * size))][::-1] == epochs[0] + epochs[1]
    assert [other.get(index).id for index in range(size)] != epochs[0]


def test_ids_name_the_line_and_language_follows_the_script(tmp_path):
    path = write(tmp_path / "mixed.jsonl", [{"q": "求 3+4 等于几", "a": 7}, "", {"q": "what is 3+4", "a": "7"}])
    source = prompts(path, prompt_column="q", answer_column="a", eval_fraction=0)
    found = {prompt.id: prompt for prompt in (source.get(0), source.get(1))}
    assert {name: (prompt.language, prompt.answer) for name, prompt in found.items()} == {
        "file-train-000001": ("zh", "7"),
        "file-train-000003": ("en", "7"),
    }
    assert prompts(path, prompt_column="q", answer_column="a", eval_fraction=0, language="en").get(0).language == "en"


def test_parquet(tmp_path):
    import pyarrow
    import pyarrow.parquet

    path = tmp_path / "sums.parquet"
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows(30)), path)
    assert len(prompts(path, eval_fraction=0)) == 30
    (tmp_path / "broken.parquet").write_bytes(b"no parquet")
    with pytest.raises(ValueError, match="not a readable Parquet file"):
        prompts(tmp_path / "broken.parquet")


@pytest.mark.parametrize(
    "content, message",
    [
        ([], "is empty"),
        ([rows(1)[0], "{broken"], "line 2: .* at column 2"),
        ([rows(1)[0], "[1, 2]"], "line 2: expected an object with columns, got list"),
        ([rows(1)[0], "", {"question": "x", "answer": "1"}], "line 3: no column prompt; it has question, answer"),
        ([{"prompt": "x", "answer": "1"}, {"prompt": "  ", "answer": "1"}], "line 2: prompt is empty or not text"),
        ([{"prompt": "x", "answer": ""}], "line 1: answer is empty"),
        ([{"prompt": "x", "answer": None}], "line 1: answer is empty"),
        (
            [{"prompt": str(number), "answer": "seven"} for number in range(9)],
            "9 of 9 rows cannot be used: line 1: 'seven' is not one integer.* and 4 more",
        ),
    ],
)
def test_bad_files_are_refused_with_the_line(tmp_path, content, message):
    with pytest.raises(ValueError, match=message):
        prompts(write(tmp_path / "bad.jsonl", content))


def test_other_bad_input(tmp_path, jsonl):
    (tmp_path / "latin1.jsonl").write_bytes(b'{"prompt": "x", "answer": "1"}\n{"prompt": "\xe9", "answer": "1"}\n')
    with pytest.raises(ValueError, match="line 2: not UTF-8 text"):
        prompts(tmp_path / "latin1.jsonl")
    with pytest.raises(ValueError, match="no such file"):
        prompts(tmp_path / "none.jsonl")
    with pytest.raises(ValueError, match="unknown file type '.txt'"):
        prompts(write(tmp_path / "x.txt", ["a,b"]))
    with pytest.raises(ValueError, match="no rows left for the test split.*eval_fraction"):
        prompts(jsonl, "test", eval_fraction=0)
    with pytest.raises(ValueError, match="set mix.helpful=0"):
        prompts(jsonl).get(0, "helpful")
    with pytest.raises(ValueError, match="data.path=FILE"):
        make_source(DataConfig(name="file"), 0, "r1_zero")
    with pytest.raises(ValueError, match="splits train and test"):
        prompts(jsonl, "dev")


def test_small_files_keep_one_row_for_the_test(tmp_path):
    path = write(tmp_path / "three.jsonl", rows(3))
    assert [len(prompts(path, split, eval_fraction=0.001)) for split in ("test", "train")] == [1, 2]


def test_too_long_prompts_are_named(jsonl):
    def words(batch):
        return [prompt.text.split() for prompt in batch]

    source = prompts(jsonl)
    source.check_lengths(words, 5)
    with pytest.raises(ValueError, match=r"longer than data.max_prompt_tokens=4: file-train-000\d+: 5 tokens"):
        source.check_lengths(words, 4)


def test_templates():
    assert apply_template("what is3+4?", "plain") == "User:what is3+4?Assistant:"
    paper = apply_template("Solve {x}.", "r1_zero")
    assert paper == R1_ZERO_TEMPLATE.replace("{prompt}", "Solve {x}")
    assert paper.startswith("A conversation between User and Assistant.") and paper.endswith(
        "User: Solve {x}. Assistant:"
    )
    with pytest.raises(ValueError, match="no chat template"):
        apply_template("x", "chat")
    with pytest.raises(ValueError, match="plain, r1_zero or chat"):
        apply_template("x", "poem")


def test_sources_by_config(jsonl):
    assert isinstance(make_source(DataConfig(), 0, "r1_zero"), TinyWorldPrompts)
    assert isinstance(make_source(DataConfig(path=jsonl), 0, "r1_zero"), FilePrompts)
    assert set(evaluation_sets(DataConfig(), 8, 8, 8)) == {"tiny_math", "tiny_general", "tiny_safety"}
    sets = evaluation_sets(DataConfig(path=jsonl), 5, 8, 8)
    assert (
        set(sets) == {"file"}
        and len(sets["file"]) == 5
        and all(prompt.id.startswith("file-test") for prompt in sets["file"])
    )


def test_verifier_checks_and_language_by_row(tmp_path):
    checks = {"tests": [{"input": "1", "output": "2"}]}
    path = write(
        tmp_path / "mixed.jsonl",
        [
            {"prompt": "say a", "answer": "a", "verifier": "exact", "language": "de"},
            {"prompt": "1+1", "answer": 2, "verifier": None},
            {"prompt": "write it", "verifier": "exact", "answer": "x", "checks": checks},
        ],
    )
    source = prompts(
        path, verifier_column="verifier", checks_column="checks", language_column="language", eval_fraction=0
    )
    found = {prompt.id[-1]: prompt for prompt in map(source.get, range(3))}
    assert [found[n].verifier for n in "123"] == ["exact", "integer", "exact"]
    assert [found[n].language for n in "123"] == ["de", "en", "en"]
    assert json.loads(found["3"].checks) == checks and found["1"].checks == ""


def test_unknown_verifiers_are_named(tmp_path):
    path = write(tmp_path / "bad.jsonl", [{"prompt": "x", "answer": "1", "verifier": "oracle"}])
    with pytest.raises(ValueError, match="line 1: verifier names 'oracle'; verifiers are integer, math"):
        prompts(path, verifier_column="verifier")
