"""Per-sample records: durable, checked, mended after a kill."""
import os

from stages.evaluation.records import RecordLog, read_records


def rows(directory):
    return list(read_records(directory, "samples.*"))


def test_what_is_appended_is_read_from_all_files(tmp_path):
    for rank in (0, 1):
        log = RecordLog(tmp_path / "set" / f"samples.{rank}.jsonl")
        log.append({"problem": "p", "sample": rank, "completion": "等等\nwait\u2028"})
        log.close()
    assert [row["sample"] for row in rows(tmp_path / "set")] == [0, 1] and rows(tmp_path / "set")[0]["completion"] == "等等\nwait\u2028"
    assert rows(tmp_path / "nothing") == []


def test_a_torn_line_is_not_a_record_and_does_not_swallow_the_next(tmp_path):
    path = tmp_path / "samples.0.jsonl"
    log = RecordLog(path)
    log.append({"sample": 0})
    log.append({"sample": 1})
    log.close()
    os.truncate(path, path.stat().st_size - 5)
    assert rows(tmp_path) == [{"sample": 0}]
    log = RecordLog(path)
    log.append({"sample": 2})
    log.close()
    assert rows(tmp_path) == [{"sample": 0}, {"sample": 2}]


def test_a_line_without_its_end_is_torn_even_if_its_checksum_holds(tmp_path):
    path = tmp_path / "samples.0.jsonl"
    log = RecordLog(path)
    log.append({"sample": 0})
    log.close()
    os.truncate(path, path.stat().st_size - 1)
    assert rows(tmp_path) == []


def test_a_flipped_bit_is_seen(tmp_path):
    path = tmp_path / "samples.0.jsonl"
    log = RecordLog(path)
    log.append({"sample": 0, "tokens": 10})
    log.append({"sample": 1, "tokens": 11})
    log.close()
    path.write_bytes(path.read_bytes().replace(b"10", b"90", 1))
    assert rows(tmp_path) == [{"sample": 1, "tokens": 11}]


def test_a_record_is_in_the_file_when_append_returns(tmp_path):
    """No buffer of ours: a process that is killed loses nothing that it recorded."""
    log = RecordLog(tmp_path / "samples.0.jsonl")
    log.append({"sample": 7})
    assert rows(tmp_path) == [{"sample": 7}]
    log.close()
