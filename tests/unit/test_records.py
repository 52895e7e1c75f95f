"""Files of records: lines that check themselves, logs that grow, whole files that count only when complete."""

import hashlib
import json
import os
import zlib

import pytest

from stages.contract.indexed_records import IndexedRecords
from stages.contract.records import DamagedRecords, RecordLog, RecordReader, read_record_file, write_record_file

ROWS = [{"index": number, "text": f"等等\nwait\u2028 {number}", "numbers": [0.1, -1e-7, number]} for number in range(5)]


def test_a_line_is_json_with_its_checksum_as_the_last_key(tmp_path):
    RecordLog(tmp_path / "a.records").append({"sample": 7})
    (line,) = (tmp_path / "a.records").read_bytes().splitlines()
    assert json.loads(line) == {"sample": 7, "checksum": hashlib.sha256(b'{"sample": 7').hexdigest()[:16]}
    assert line.startswith(b'{"sample": 7, "checksum": "')


def test_the_last_line_of_a_whole_file_counts_the_others(tmp_path):
    write_record_file(tmp_path / "whole.jsonl", ROWS)
    *lines, last = (tmp_path / "whole.jsonl").read_text().removesuffix("\n").split("\n")
    seals = "".join(line[-len(', "checksum": "0123456789abcdef"}') :] for line in lines)
    assert len(lines) == 5 and json.loads(last) | {"checksum": ""} == {
        "records": 5,
        "seals": hashlib.sha256(seals.encode()).hexdigest()[:16],
        "checksum": "",
    }
    assert read_record_file(tmp_path / "whole.jsonl") == ROWS
    write_record_file(tmp_path / "empty.jsonl", [])
    assert read_record_file(tmp_path / "empty.jsonl") == []
    with pytest.raises(FileNotFoundError):
        read_record_file(tmp_path / "none.jsonl")


def test_every_flipped_bit_of_a_whole_file_is_seen(tmp_path):
    path = tmp_path / "whole.jsonl"
    write_record_file(path, ROWS[:2])
    content = path.read_bytes()
    for place in range(len(content)):
        path.write_bytes(content[:place] + bytes([content[place] ^ 1 << place % 8]) + content[place + 1 :])
        with pytest.raises(DamagedRecords, match="is damaged"):
            read_record_file(path)


def test_lines_that_are_lost_moved_or_added_are_seen(tmp_path):
    path = tmp_path / "whole.jsonl"
    write_record_file(path, ROWS)
    lines = path.read_bytes().splitlines(keepends=True)
    for harmed in (
        lines[:-1],
        lines[1:],
        [*lines[:2], *lines[3:]],
        [lines[1], lines[0], *lines[2:]],
        [*lines, lines[0]],
        [lines[0], *lines],
        lines[-1:],
        [],
    ):
        path.write_bytes(b"".join(harmed))
        with pytest.raises(DamagedRecords):
            read_record_file(path)


def test_a_log_is_readable_at_whatever_byte_a_kill_has_cut_it(tmp_path):
    """What is cut is done again by the next attempt, which writes to the same file; nothing is there twice."""
    path = tmp_path / "set" / "samples.0.jsonl"
    log = RecordLog(path)
    log.extend(ROWS)
    log.close()
    content = path.read_bytes()
    ends = [place + 1 for place in range(len(content)) if content[place] == ord("\n")]
    for length in range(len(content)):
        path.write_bytes(content[:length])
        reader = RecordReader(path.parent, "samples.*")
        found = list(reader)
        num_whole = sum(end <= length for end in ends)
        assert found == ROWS[:num_whole]
        assert reader.num_damaged == (length not in [0, *ends])
        log = RecordLog(path)
        log.extend(ROWS[num_whole:])
        log.close()
        assert list(reader) == ROWS and reader.num_damaged == (length not in [0, *ends])


def test_a_log_that_nothing_was_added_to_makes_no_file(tmp_path):
    log = RecordLog(tmp_path / "deep" / "a.records")
    log.extend([])
    log.sync()
    log.close()
    assert list((tmp_path / "deep").iterdir()) == []


def test_sync_reaches_the_disk_once_for_what_was_added(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(os, "fsync", synced.append)
    log = RecordLog(tmp_path / "a.records")
    log.append(ROWS[0])
    assert not synced
    log.sync()
    log.sync()
    assert len(synced) == 1
    records = IndexedRecords(tmp_path, "done", 1, 0)
    for number, row in enumerate(ROWS, start=2):
        records.append(row)
        assert len(synced) == number, "on the disk before append returns"


def older_line(row: dict, is_of_builders: bool) -> bytes:
    """As versions before 0.2 wrote it."""
    text = json.dumps(row, ensure_ascii=False).encode()
    checksum = hashlib.sha256(text).hexdigest()[:16].encode() if is_of_builders else b"%08x" % zlib.crc32(text)
    return checksum + b" " + text + b"\n"


@pytest.mark.parametrize("is_of_builders", [True, False])
def test_a_log_that_an_older_version_began_goes_on(is_of_builders, tmp_path):
    path = tmp_path / "samples.0.jsonl"
    lines = [older_line(row, is_of_builders) for row in ROWS[:3]]
    path.write_bytes(lines[0] + lines[1].replace(b"wait", b"wbit") + lines[2] + b"5f1c20b7 {")
    log = RecordLog(path)
    log.extend(ROWS[3:])
    log.close()
    reader = RecordReader(tmp_path, "samples.*")
    assert list(reader) == [ROWS[0], *ROWS[2:]] and reader.num_damaged == 2


def test_rollouts_that_an_older_version_wrote_are_read_if_they_are_whole(tmp_path):
    path = tmp_path / "step_000003.jsonl"
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS).encode()
    content = lines + json.dumps({"sha256": hashlib.sha256(lines).hexdigest()}).encode() + b"\n"
    path.write_bytes(content)
    assert read_record_file(path) == ROWS
    for harmed in (content.replace(b"wait", b"wbit", 1), content[:-1], lines, content[1:], content + lines):
        path.write_bytes(harmed)
        with pytest.raises(DamagedRecords):
            read_record_file(path)
