"""Files that are not what their names say: read where that leaves no doubt, else refused with what they are."""

import csv
import gzip
import io
import json
import os
import zipfile

import pytest

from stages.config import SourceConfig
from stages.data.malformed import Malformed
from stages.data.readers import read
from stages.data.rows import rows_of

ROWS = [{"prompt": f"What is {number} + 1? é", "answer": str(number + 1)} for number in range(3)]
LINES = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS)


def raw(path):
    return [row for _, _, row in read(SourceConfig(path=str(path)))]


def refused(path):
    with pytest.raises(ValueError) as caught:
        raw(path)
    return str(caught.value)


def table(delimiter=",", header=("prompt", "answer"), end="\n", rows=ROWS):
    stream = io.StringIO()
    writer = csv.writer(stream, delimiter=delimiter, lineterminator=end)
    writer.writerow(header)
    writer.writerows([row["prompt"], row["answer"]] for row in rows)
    return stream.getvalue()


def parquet_bytes(**columns):
    import pyarrow.parquet

    stream = io.BytesIO()
    pyarrow.parquet.write_table(
        pyarrow.table(columns or {name: [row[name] for row in ROWS] for name in ROWS[0]}), stream
    )
    return stream.getvalue()


def zstd_bytes(content):
    import pyarrow

    sink = pyarrow.BufferOutputStream()
    with pyarrow.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(content)
    return sink.getvalue().to_pybytes()


@pytest.mark.parametrize(
    "name, content",
    [
        ("mark.jsonl", b"\xef\xbb\xbf" + LINES.encode()),
        ("windows.jsonl", LINES.replace("\n", "\r\n").encode()),
        ("mac.jsonl", LINES.replace("\n", "\r").encode()),
        ("array.jsonl", json.dumps(ROWS).encode()),
        ("pretty.jsonl", json.dumps(ROWS, indent=2).encode()),
        ("pretty.json", b"\xef\xbb\xbf" + json.dumps(ROWS, indent=2).encode()),
        ("pretty-mac.json", json.dumps(ROWS, indent=2).replace("\n", "\r").encode()),
        ("lines.json", LINES.encode()),
        ("gzip.jsonl", gzip.compress(LINES.encode(), mtime=0)),
        ("zstd.jsonl", zstd_bytes(LINES.encode())),
        ("parquet.jsonl", parquet_bytes()),
        ("parquet.csv", parquet_bytes()),
        ("mark.csv", b"\xef\xbb\xbf" + table().encode()),
        ("semicolon.csv", table(";").encode()),
        ("tab.csv", table("\t").encode()),
        ("comma.tsv", table(",").encode()),
        ("bar.csv", table("|").encode()),
        ("excel.csv", ("sep=;\n" + table(";")).encode()),
        ("mac.csv", table(end="\r").encode()),
        ("windows.csv", table(end="\r\n").encode()),
        ("spaces.csv", ("\n\n" + table(header=(" prompt", "answer "))).encode()),
        ("gzip.csv", gzip.compress(table().encode(), mtime=0)),
    ],
)
def test_what_can_be_read_without_a_doubt_is_read(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    assert raw(tmp_path / name) == ROWS


def zip_bytes():
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("x.jsonl", LINES)
    return stream.getvalue()


def encoded(value, indent=None):
    return json.dumps(value, indent=indent).encode()


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"


@pytest.mark.parametrize(
    "name, content, parts",
    [
        ("le-mark.jsonl", LINES.encode("utf-16"), ["is UTF-16, not UTF-8", "iconv -f UTF-16 -t UTF-8"]),
        ("le.jsonl", LINES.encode("utf-16-le"), ["is UTF-16LE, not UTF-8", "iconv -f UTF-16LE"]),
        ("be.csv", table().encode("utf-16-be"), ["is UTF-16BE, not UTF-8"]),
        ("wide.json", LINES.encode("utf-32"), ["is UTF-32LE, not UTF-8"]),
        ("lfs.jsonl", LFS, ["is a Git LFS pointer", "lfs pull"]),
        ("lfs.parquet", LFS, ["is a Git LFS pointer"]),
        ("lfs.arrow", LFS, ["is a Git LFS pointer"]),
        ("lfs.csv", LFS, ["is a Git LFS pointer"]),
        ("annex.jsonl", b"/annex/objects/SHA256E-s12--4d7a.jsonl\n", ["is a git-annex link", "annex get annex.jsonl"]),
        ("html.jsonl", b"\n<!DOCTYPE html>\n<html><body>404</body></html>", ["is a page of HTML", "fetch the file"]),
        ("html.csv", b"<html>\n<head>", ["is a page of HTML"]),
        ("html.parquet", b"<html>\n<head>", ["is a page of HTML"]),
        ("xml.json", b'<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', ["is a page of XML"]),
        ("zip.jsonl", zip_bytes(), ["is a ZIP archive", "unzip"]),
        ("xz.jsonl", b"\xfd7zXZ\0abc", ["is compressed by xz", "unxz"]),
        ("bz.jsonl", b"BZh91AY", ["is compressed by bzip2"]),
        ("pickle.jsonl", b"\x80\x04\x95abc", ["is a Python pickle"]),
        ("text.parquet", LINES.encode(), ["is not a readable Parquet file", "it begins with"]),
        ("cut.parquet", parquet_bytes()[:-20], ["is not a readable Parquet file", "cut off", "fetch it again"]),
        (
            "cut.jsonl.gz",
            gzip.compress(LINES.encode() * 99, mtime=0)[:-20],
            ["is not a readable jsonl file", "cut off"],
        ),
        ("packed.parquet", gzip.compress(parquet_bytes(), mtime=0), ["Parquet or Arrow file inside gzip"]),
        ("empty.jsonl", b"", ["has no rows: the file is empty"]),
        ("empty.parquet", b"", ["it is empty (0 bytes)"]),
        ("blank.jsonl", b"\n \n", ["has no rows: the file holds none"]),
        ("array.json", b"[]", ["has no rows"]),
        ("header.csv", b"prompt,answer\n", ["has no rows: the file has only a line that names the columns"]),
        ("none.parquet", parquet_bytes(prompt=[]), ["has no rows"]),
        ("twice.csv", b"prompt,answer,answer\na,1,2\n", ["names the column 'answer' twice"]),
        ("headless.csv", b"What is 1 + 1?,2\nWhat is 2 + 2?,4\n", ["has no header", "prompt,answer"]),
        ("headless.tsv", b"Say two\t2\nSay four\t4\n", ["has no header"]),
        ("latin.csv", "prompt,réponse\na,1\n".encode("latin-1"), ["first line", "iconv -f CP1252"]),
        (
            "wrapped.json",
            json.dumps({"version": 1, "data": ROWS}, indent=1).encode(),
            ["3 rows in the list 'data'", "jq -c"],
        ),
        ("wrapped.jsonl", encoded({"rows": ROWS}), ["3 rows in the list 'rows'"]),
        ("other.json", encoded({"puzzles": ROWS}, 1), ["3 rows in the list 'puzzles'"]),
        ("server.json", encoded({"rows": [{"row_idx": 0, "row": ROWS[0]}]}), ['.["rows"][].row']),
        (
            "columns.json",
            json.dumps({"prompt": ["a", "b"], "answer": ["1", "2"]}).encode(),
            ["object of columns", "pandas"],
        ),
        ("pandas.json", encoded({"prompt": {"0": "a"}, "answer": {"0": "1"}}), ["object of columns"]),
        (
            "keyed.json",
            json.dumps({"a": ROWS[0], "b": ROWS[1]}, indent=1).encode(),
            ["a row under each key", "jq -c '.[]'"],
        ),
        (
            "several.jsonl",
            b"\n".join(encoded(row, 1) for row in ROWS),
            ["several lines each", "jq -c ."],
        ),
    ],
)
def test_what_holds_no_rows_as_it_is_says_what_it_is(tmp_path, name, content, parts):
    (tmp_path / name).write_bytes(content)
    message = refused(tmp_path / name)
    assert all(part in message for part in [f"data.path={tmp_path / name}", *parts]), message
    assert "\n" not in message


def test_latin_1_names_each_line_and_how_to_convert(tmp_path):
    (tmp_path / "x.jsonl").write_bytes(LINES.encode("latin-1"))
    items = raw(tmp_path / "x.jsonl")
    assert [(item.reason, item.where) for item in items] == [("not UTF-8", f"line {number}") for number in (1, 2, 3)]
    assert "iconv -f CP1252 -t UTF-8" in items[0].detail
    (tmp_path / "x.json").write_bytes(json.dumps(ROWS, ensure_ascii=False, indent=1).encode("latin-1"))
    (item,) = raw(tmp_path / "x.json")
    assert item.reason == "not UTF-8" and "line 3" in item.detail
    (tmp_path / "x.csv").write_bytes(table().encode("latin-1"))
    assert {item.reason for item in raw(tmp_path / "x.csv")} == {"not UTF-8"}


def test_one_object_over_several_lines_may_be_one_row(tmp_path):
    for row in (ROWS[0], {"messages": [{"role": "user", "content": "a"}]}, {"prompt": "a", "tags": [{"a": 1}]}):
        for indent in (None, 2):
            (tmp_path / "x.jsonl").write_text(json.dumps(row, indent=indent))
            assert raw(tmp_path / "x.jsonl") == [row]
    (tmp_path / "x.jsonl").write_text('{"data": [{"a": 1}]}\n{"data": [{"a": 2}]}\n')
    assert len(raw(tmp_path / "x.jsonl")) == 2, "rows whose columns are lists"


def test_a_first_line_that_is_cut_is_one_bad_row(tmp_path):
    (tmp_path / "x.jsonl").write_text('{"prompt": "a",\n' + LINES)
    items = raw(tmp_path / "x.jsonl")
    assert isinstance(items[0], Malformed) and items[1:] == ROWS
    (tmp_path / "y.jsonl").write_text("[1, 2]\n" + LINES)
    items = raw(tmp_path / "y.jsonl")
    assert isinstance(items[0], Malformed) and items[1:] == ROWS


def test_a_key_that_occurs_twice_makes_a_row_malformed(tmp_path):
    (tmp_path / "x.jsonl").write_text('{"prompt": "a", "answer": "1", "answer": "2"}\n' + LINES)
    items = raw(tmp_path / "x.jsonl")
    assert "the key 'answer' occurs twice" in items[0].detail and items[1:] == ROWS


def test_an_index_column_without_a_name_is_no_row(tmp_path):
    (tmp_path / "x.csv").write_text(",prompt,answer\n0,a,1\n1,b,2\n")
    assert [row["answer"] for row in raw(tmp_path / "x.csv")] == ["1", "2"]
    (tmp_path / "y.csv").write_text("0,1\na,1\n")
    assert raw(tmp_path / "y.csv") == [{"0": "a", "1": "1"}]
    (tmp_path / "z.csv").write_text("prompt,2023\na,1\n")
    assert raw(tmp_path / "z.csv") == [{"prompt": "a", "2023": "1"}]


def test_columns_of_parquet_of_every_type(tmp_path):
    import pandas

    frame = pandas.DataFrame(
        {
            "prompt": ["a", "b", None],
            "integer": pandas.array([1, None, 3], dtype="Int64"),
            "float": [1.0, None, 2.5],
            "category": pandas.Categorical(["x", None, "y"]),
            "when": pandas.to_datetime(["2024-01-01", None, "2024-01-02"]).as_unit("ns"),
            "text": pandas.array(["p", None, "q"], dtype="string"),
        }
    )
    frame["messages"] = [[{"role": "user", "content": "hi"}], None, []]
    frame.to_parquet(tmp_path / "x.parquet")

    def items(**keys):
        return list(rows_of(SourceConfig(path=str(tmp_path / "x.parquet"), verifier="exact", **keys)))

    for column, answers in {"integer": ["1"], "float": ["1"], "category": ["x"], "text": ["p"]}.items():
        first, second, third = items(answer_column=column)
        assert [first.answer] == answers
        assert (second.where, second.reason) == ("row 2", f"{column} is empty")
        assert third.reason == "prompt is empty or not text"
    assert [item.reason for item in items(answer_column="when")][:2] == ["when is a date or time", "when is empty"]
    assert items(messages_column="messages", answer_column="integer")[0].prompt == "hi"


def test_narrow_floats_are_read_as_they_were_written(tmp_path):
    import pyarrow
    import pyarrow.parquet

    values = [0.1, 2.0, 2.0**24, None, float("nan")]
    columns = {"prompt": list("abcde"), "answer": pyarrow.array(values, pyarrow.float32())}
    pyarrow.parquet.write_table(pyarrow.table(columns), tmp_path / "x.parquet")
    items = list(rows_of(SourceConfig(path=str(tmp_path / "x.parquet"))))
    assert [item.answer for item in items[:2]] == ["0.1", "2"]
    assert "may have lost digits" in items[2].detail and items[2].where == "row 3"
    assert [item.reason for item in items[3:]] == ["answer is empty", "answer is empty"]


def test_a_cell_that_python_cannot_represent_is_refused_and_its_neighbours_are_read(tmp_path):
    import pyarrow
    import pyarrow.parquet

    broken = pyarrow.Array.from_buffers(
        pyarrow.utf8(), 2, [None, pyarrow.py_buffer(b"\0\0\0\0\1\0\0\0\2\0\0\0"), pyarrow.py_buffer(b"\xff2")]
    )
    late = pyarrow.array([2**60, 0], pyarrow.int64()).cast(pyarrow.timestamp("ms"))
    rows = pyarrow.table({"prompt": ["a", "b"], "answer": broken, "when": late})
    pyarrow.parquet.write_table(rows, tmp_path / "x.parquet")
    first, second = rows_of(SourceConfig(path=str(tmp_path / "x.parquet")))
    assert first.reason == "answer is not readable" and first.where == "row 1" and "utf-8" in first.detail
    assert second.answer == "2"


def test_two_columns_of_one_name_are_refused(tmp_path):
    import pyarrow
    import pyarrow.parquet

    both = pyarrow.table([["a"], ["1"], ["2"]], names=["prompt", "answer", "answer"])
    pyarrow.parquet.write_table(both, tmp_path / "x.parquet")
    with pyarrow.OSFile(str(tmp_path / "x.arrow"), "wb") as sink, pyarrow.ipc.new_stream(sink, both.schema) as stream:
        stream.write_table(both)
    for name in ("x.parquet", "x.arrow"):
        assert "has two columns named 'answer': rename one" in refused(tmp_path / name)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(tmp_path):
    (tmp_path / "x.jsonl").write_text(LINES)
    (tmp_path / "x.jsonl").chmod(0)
    assert "may not be read by you" in refused(tmp_path / "x.jsonl")


def test_a_refused_permission_is_said(tmp_path, monkeypatch):
    (tmp_path / "x.jsonl").write_text(LINES)

    def deny(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("stages.data.readers._open", deny)
    assert "may not be read by you" in refused(tmp_path / "x.jsonl")


def test_names_that_are_no_text_can_be_printed(tmp_path):
    path = tmp_path / os.fsdecode(b"x\xe9.jsonl")
    path.write_text("{\n" + LINES)
    assert isinstance(raw(path)[0], Malformed)
    path.write_bytes(LFS)
    refused(path).encode()
