"""Files that survive a crash."""

import json

import pytest

from stages.contract import files


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "deep" / "value.json"
    files.write_json(path, {"step": 1})
    with pytest.raises(TypeError):
        files.write_json(path, {"step": object()})
    with pytest.raises(TypeError):
        files.write_atomic(path, "text, not bytes")
    assert files.read_json(path) == {"step": 1}


def test_writing_leaves_nothing_aside(tmp_path):
    files.write_json(tmp_path / "a.json", [1, "é"])
    files.write_json(tmp_path / "a.json", [2], durable=False)
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]
    assert files.read_json(tmp_path / "a.json") == [2]


def test_what_a_killed_process_left_aside_is_removed(tmp_path):
    files.write_json(tmp_path / "data" / "judged.json", [1])
    (tmp_path / "data" / ".judged.json.7.tmp").write_text("[")
    (tmp_path / "state" / ".step_000001.tmp").mkdir(parents=True)
    files.remove_temporaries(tmp_path, is_recursive=True)
    files.remove_temporaries(tmp_path / "nothing", is_recursive=True)
    assert sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*")) == [
        "data",
        "data/judged.json",
        "state",
        "state/.step_000001.tmp",
    ]


def test_temporaries_of_other_directories_stay(tmp_path):
    """The driver looks at the directories that it writes to itself; workers may be writing further down."""
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / ".a.json.7.tmp").write_text("[")
    (tmp_path / ".latest.7.tmp").symlink_to("nowhere")
    files.remove_temporaries(tmp_path)
    assert [path.name for path in tmp_path.rglob("*")] == ["deep", ".a.json.7.tmp"]


def test_a_link_is_turned_at_once(tmp_path):
    for target in ("attempt_1", "attempt_2"):
        files.link(tmp_path / "latest", target)
        assert (tmp_path / "latest").readlink().name == target
    assert len(list(tmp_path.iterdir())) == 1


def test_json_that_is_missing_or_half_written_is_not_found(tmp_path):
    assert files.find_json(tmp_path / "a.json") is None and files.find_json(tmp_path / "a.json" / "b", {}) == {}
    (tmp_path / "a.json").write_text('{"step": ')
    assert files.find_json(tmp_path / "a.json", 7) == 7
    files.write_json(tmp_path / "a.json", [1])
    assert files.find_json(tmp_path / "a.json", 7) == [1]


def test_cut_jsonl_drops_later_steps_and_a_half_written_line(tmp_path):
    path = tmp_path / "metrics.jsonl"
    files.append_jsonl(path, [{"step": step, "loss": step / 2} for step in (1, 2, 2, 3)])
    with open(path, "a") as stream:
        stream.write('{"step": 1, "lo')
    assert [row["step"] for row in files.read_jsonl(path)] == [1, 2, 2, 3]
    files.cut_jsonl(path, 2)
    assert path.read_text() == '{"step": 1, "loss": 0.5}\n{"step": 2, "loss": 1.0}\n{"step": 2, "loss": 1.0}\n'
    files.cut_jsonl(path, 0)
    assert path.read_text() == ""


def test_cut_jsonl_keeps_bytes(tmp_path):
    """What a resume keeps must equal what an uninterrupted run wrote."""
    path = tmp_path / "samples.jsonl"
    files.append_jsonl(path, [{"step": 1, "completion": "<think>三十一-3=28</think>", "value": 0.1234567}])
    before = path.read_bytes()
    files.cut_jsonl(path, 1)
    assert path.read_bytes() == before


def test_missing_jsonl(tmp_path):
    assert files.read_jsonl(tmp_path / "none.jsonl") == []
    files.cut_jsonl(tmp_path / "none.jsonl", 3)
    assert not (tmp_path / "none.jsonl").exists()


def test_file_table_finds_every_damage(tmp_path):
    for name, text in (
        ("model/a.bin", "aaaa"),
        ("model/sub/b.bin", "bbbb"),
        ("model/c.bin", "cccc"),
        ("results.json", "[]"),
        ("state/x", "x"),
    ):
        files.write_atomic(tmp_path / name, text.encode())
    table = files.file_table(tmp_path, ["model/**/*", "results.json"])
    assert sorted(table) == ["model/a.bin", "model/c.bin", "model/sub/b.bin", "results.json"]
    assert table["model/a.bin"] == {
        "sha256": "61be55a8e2f6b4e172338bddf184d6dbee29c98853e0a0485ecee7f27b9af0b4",
        "bytes": 4,
    }
    assert files.damaged_files(tmp_path, table) == []
    (tmp_path / "model/a.bin").write_text("aaab")  # same size
    (tmp_path / "model/sub/b.bin").write_text("bbb")  # cut short
    (tmp_path / "model/c.bin").unlink()
    assert sorted(files.damaged_files(tmp_path, json.loads(json.dumps(table)))) == [
        "model/a.bin",
        "model/c.bin",
        "model/sub/b.bin",
    ]
