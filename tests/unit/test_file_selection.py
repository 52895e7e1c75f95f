"""Sets with several splits: the training rows are read, and nothing that is held out, or the user is asked."""

import json

import pytest

from stages.config import SourceConfig
from stages.data.file_selection import select, shown
from stages.data.readers import read
from tests.support.runs import plan

ROW = '{"prompt": "1+1", "answer": "2"}\n'


def make(root, *names):
    """Files of these names, each with one row that says which file it is of."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if name.endswith(".parquet"):
            import pyarrow.parquet

            pyarrow.parquet.write_table(pyarrow.table({"prompt": [name], "answer": ["2"]}), path)
        elif name.endswith(".csv"):
            path.write_text(f"prompt,answer\n{name},2\n")
        else:
            path.write_text(json.dumps({"prompt": name, "answer": "2"}) + "\n")
    return root


def chosen(root, key="data", **keys):
    return [str(file.relative_to(root)) for file in select(SourceConfig(path=str(root), **keys), key).files]


def refused(root, key="data", **keys):
    with pytest.raises(ValueError) as caught:
        select(SourceConfig(path=str(root), **keys), key)
    return str(caught.value)


@pytest.mark.parametrize(
    "names, expected",
    [
        (["train.jsonl", "test.jsonl"], ["train.jsonl"]),
        (
            [
                "data/train-00000-of-00002.parquet",
                "data/train-00001-of-00002.parquet",
                "data/test-00000-of-00001.parquet",
            ],
            2,
        ),
        (["train.jsonl", "validation.jsonl", "dev.jsonl", "val.jsonl", "valid.jsonl"], ["train.jsonl"]),
        (["train.jsonl", "eval.jsonl", "heldout.jsonl", "held_out.jsonl", "hold-out.jsonl"], ["train.jsonl"]),
        (["gsm8k_train.jsonl", "gsm8k_test.jsonl", "gsm8k-dev-2.jsonl"], ["gsm8k_train.jsonl"]),
        (["Train.jsonl", "TEST.jsonl"], ["Train.jsonl"]),
        (["train/a.jsonl", "train/b.jsonl", "test/a.jsonl"], ["train/a.jsonl", "train/b.jsonl"]),
        (["default/train/0000.parquet", "default/test/0000.parquet"], ["default/train/0000.parquet"]),
        (["training_data.jsonl", "testing_data.jsonl"], ["training_data.jsonl"]),
        (["rows.jsonl", "test.jsonl"], ["rows.jsonl"]),
        (["train.jsonl", "dataset_infos.json"], ["train.jsonl"]),
        (["train.parquet", "card.json"], ["train.parquet"]),
        (["latest.jsonl", "contest.jsonl", "trainer.jsonl"], 3),  # words that only contain the name of a split
        (["part-00000-of-00002.jsonl", "extra-00000-of-00001.jsonl"], 2),
        ([".git/x.json", ".cache/huggingface/test.json", "a.jsonl"], ["a.jsonl"]),
    ],
)
def test_the_training_rows_are_read(tmp_path, names, expected):
    found = chosen(make(tmp_path / "set", *names))
    assert found == expected if isinstance(expected, list) else len(found) == expected


@pytest.mark.parametrize(
    "names, parts",
    [
        (["test.jsonl"], ["has the splits test and not one train", "data.files='test.jsonl'"]),
        (["validation/a.jsonl", "test/a.jsonl"], ["validation", "test", "data.files='validation/a.jsonl'"]),
        (
            [
                "main/train-00000-of-00001.parquet",
                "main/test-00000-of-00001.parquet",
                "socratic/train-00000-of-00001.parquet",
            ],
            ["2 sets", "data.files='main/train-*.parquet'", "data.files='socratic/train-*.parquet'"],
        ),
        (
            ["data/train_sft-00000-of-00001.parquet", "data/train_gen-00000-of-00001.parquet"],
            ["data.files='data/train_sft-*.parquet'", "data.files='data/train_gen-*.parquet'"],
        ),
        (["a.jsonl", "a.parquet"], ["several formats (1 .jsonl, 1 .parquet)", "data.files='**/*.jsonl'"]),
        (["train.csv", "train.jsonl", "test.csv"], ["several formats"]),
    ],
)
def test_a_choice_is_left_to_the_user(tmp_path, names, parts):
    message = refused(make(tmp_path / "set", *names))
    assert all(part in message for part in parts), message


def test_a_pattern_is_taken_at_its_word_and_said(tmp_path):
    root = make(tmp_path / "set", "data/train-0.parquet", "data/test-0.parquet", "extra/train.jsonl")
    assert chosen(root, files="data/test-*") == ["data/test-0.parquet"]
    assert chosen(root, files="**/train*.jsonl") == ["extra/train.jsonl"]
    source = SourceConfig(path=str(root), files="data/*.parquet")
    assert "takes the splits test and train" in shown(source)
    assert "no data file matches" in refused(root, files="*.csv")
    assert "is no pattern within it" in refused(root, files="/etc/*")


README = """---
license: mit
configs:
- config_name: main
  data_files:
  - split: train
    path: {a}/train-*
  - split: test
    path: {a}/test-*
- config_name: other
  data_files:
  - split: train
    path: [{b}/*]
---
# A set
"""


def test_the_readme_of_a_set_says_its_configurations(tmp_path):
    root = make(tmp_path / "set", "main/train-0.parquet", "main/test-0.parquet")
    (root / "README.md").write_text(README.format(a="main", b="other"))
    assert chosen(root) == ["main/train-0.parquet"], "the other configuration is not here"
    assert "train of it; test left out" in shown(SourceConfig(path=str(root)))
    make(root, "other/rows.parquet")
    message = refused(root)
    assert "has 2 configurations" in message and "main: data.files='main/train-*'" in message
    assert "other: data.files='other/*'" in message
    assert chosen(root, files="other/*") == ["other/rows.parquet"]


@pytest.mark.parametrize(
    "entry, expected",
    [
        ("data_files: '*.jsonl'", ["a.jsonl"]),
        ("data_files: b_test.jsonl", None),
        ("data_files: [a.jsonl]", ["a.jsonl"]),
        ("data_files: {train: a.jsonl, test: b_test.jsonl}", ["a.jsonl"]),
        ("data_dir: sub\n  data_files: [{split: train, path: '*.jsonl'}]", ["sub/c.jsonl"]),
        ("data_files: [{split: train_sft, path: a.jsonl}, {split: test_sft, path: b_test.jsonl}]", ["a.jsonl"]),
        ("data_files: [{split: train, path: '../x.jsonl'}]", ["a.jsonl", "sub/c.jsonl"]),  # out of the set: not taken
        ("data_files: {train: nothing.jsonl}", ["a.jsonl", "sub/c.jsonl"]),
        ("config_name: [broken", ["a.jsonl", "sub/c.jsonl"]),
    ],
)
def test_forms_of_a_readme(tmp_path, entry, expected):
    root = make(tmp_path / "set", "a.jsonl", "b_test.jsonl", "sub/c.jsonl")
    (root / "README.md").write_text(f"---\nconfigs:\n- config_name: default\n  {entry}\n---\n")
    if expected is None:
        assert "has the splits test and not one train" in refused(root)
    else:
        assert chosen(root) == expected


def test_several_training_splits_of_a_readme_are_a_choice(tmp_path):
    root = make(tmp_path / "set", "a.jsonl", "b.jsonl")
    (root / "README.md").write_text(
        "---\nconfigs:\n- config_name: x\n  data_files:\n"
        "  - {split: train_a, path: a.jsonl}\n  - {split: train_b, path: b.jsonl}\n---\n"
    )
    assert "data.files='a.jsonl' or data.files='b.jsonl'" in refused(root)


def test_what_datasets_saves_to_disk(tmp_path):
    import datasets

    rows = datasets.Dataset.from_list([{"prompt": str(number), "answer": "1"} for number in range(4)])
    datasets.DatasetDict({"train": rows, "test": rows.select([0])}).save_to_disk(tmp_path / "two")
    found = select(SourceConfig(path=str(tmp_path / "two")))
    assert [file.parent.name for file in found.files] == ["train"] and found.note == "train of it; test left out"
    rows.save_to_disk(tmp_path / "one")
    (tmp_path / "one" / "data-00007-of-00009.arrow").write_bytes(b"of an earlier save")
    assert len(list(read(SourceConfig(path=str(tmp_path / "one"))))) == 4
    next((tmp_path / "one").glob("data-00000*")).unlink()
    assert "lacks data-00000-of-00001.arrow" in refused(tmp_path / "one")
    (tmp_path / "two" / "dataset_dict.json").write_text("{")
    assert "dataset_dict.json cannot be read" in refused(tmp_path / "two")


def test_evaluation_sets_are_read_where_they_are_held_out(tmp_path):
    key = "prepare.against.x"
    assert chosen(make(tmp_path / "a", "train.jsonl", "test.jsonl", "dev.jsonl"), key) == ["test.jsonl"]
    assert chosen(make(tmp_path / "b", "train.jsonl", "dev.jsonl"), key) == ["dev.jsonl"]
    assert chosen(make(tmp_path / "c", "train.jsonl"), key) == ["train.jsonl"]


def test_broken_links_and_what_is_no_file(tmp_path):
    import os

    root = make(tmp_path / "set", "a.jsonl")
    (root / "b.jsonl").symlink_to("../../blobs/abc")
    assert "b.jsonl is a link to ../../blobs/abc, which is not there: fetch the set again" in refused(root)
    (root / "b.jsonl").unlink()
    (root / "b.jsonl").symlink_to(".git/annex/objects/aa/bb/SHA256E-s1--0.jsonl/SHA256E-s1--0.jsonl")
    assert "is a git-annex link, not the data: fetch it with git -C" in refused(root)
    assert "annex get b.jsonl" in refused(root / "b.jsonl")
    os.mkfifo(tmp_path / "pipe")
    assert "is neither a file nor a directory" in refused(tmp_path / "pipe")
    (tmp_path / "rows.jsonl").mkdir()
    assert "a directory without data files" in refused(tmp_path / "rows.jsonl")


@pytest.mark.parametrize(
    "path, part",
    [
        ("https://huggingface.co/datasets/openai/gsm8k", "data.path=openai/gsm8k"),
        ("hf://datasets/openai/gsm8k/main", "data.path=openai/gsm8k"),
        ("datasets/openai/gsm8k", "data.path=openai/gsm8k"),
        ("openai/gsm8k/main", "data.path=openai/gsm8k with a part of its files as data.files='main/*'"),
        ("openai/gsm8k:train", "data.files='train/*'"),
        ("openai/gsm8k[train]", "data.files='**/train-*'"),
        ("s3://bucket/x.jsonl", "an address: fetch the file"),
        ("no/such/file.jsonl", "no such file or directory in /"),
        ("/no/such/file.jsonl", "no such file or directory"),
        ("~nobody_of_this_name/x.jsonl", "cannot be looked at"),
        ("x" * 5000, "cannot be looked at"),
    ],
)
def test_paths_that_are_not_here(path, part):
    assert part in refused(path)


def test_the_plan_names_the_files_of_each_stage(tmp_path):
    root = make(tmp_path / "set", "train.jsonl", "test.jsonl")
    words = ["+stage=[r1_zero,distill]", f"runs_dir={tmp_path / 'runs'}", f"data.path={root}"]
    notes = plan(*words, f"stages.distill.traces.path={root}").notes
    assert notes.count(f"{root}: reads train.jsonl (train of it; test left out)") == 1
    notes = plan("+stage=r1_zero", words[1], f"data.path={root}/test.jsonl").notes
    assert not any("reads" in note for note in notes), "a file by its name says itself what is read"
