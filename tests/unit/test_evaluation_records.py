"""Per-sample records: durable, checked, mended after a kill; and the thread that grades what is recorded."""

import dataclasses
import os
import time

import pytest

from stages.contract.records import RecordLog, RecordReader
from stages.kinds.evaluation import grading
from stages.kinds.evaluation.grading import MOST_AT_ONCE, Grader
from stages.kinds.evaluation.measure import FinishedSample
from tests.support.rollouts import a_prompt, answered


def rows(directory):
    return list(RecordReader(directory, "samples.*"))


def test_what_is_appended_is_read_from_all_files(tmp_path):
    for rank in (0, 1):
        log = RecordLog(tmp_path / "set" / f"samples.{rank}.jsonl")
        log.append({"problem": "p", "sample": rank, "completion": "等等\nwait\u2028"})
        log.close()
    assert [row["sample"] for row in rows(tmp_path / "set")] == [0, 1] and rows(tmp_path / "set")[0][
        "completion"
    ] == "等等\nwait\u2028"
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


def test_a_batch_is_whole_lines_in_order_and_a_torn_batch_keeps_its_first_ones(tmp_path):
    path = tmp_path / "samples.0.jsonl"
    log = RecordLog(path)
    log.extend([{"sample": number} for number in range(4)])
    log.extend([])
    assert rows(tmp_path) == [{"sample": number} for number in range(4)]
    log.close()
    length = path.stat().st_size // 4
    os.truncate(path, 2 * length + length // 2)  # in the middle of the third
    assert rows(tmp_path) == [{"sample": 0}, {"sample": 1}]


def test_what_is_put_is_graded_once_in_batches_and_recorded(tmp_path, monkeypatch):
    """Full batches at once, the rest when the end comes, which waits for no beat."""
    monkeypatch.setattr(grading, "GATHER_S", 600)
    grader = Grader(RecordLog(tmp_path / "grades.0.jsonl"), RecordLog(tmp_path / "samples.0.jsonl"), needs_format=True)
    prompt = a_prompt()
    for number in range(MOST_AT_ONCE + 3):
        grader.put(FinishedSample(prompt.id, number, prompt, answered("28" if number % 2 else "27"), 5, 3, False))
    wait_until(lambda: len(list(RecordReader(tmp_path, "grades.*"))) >= MOST_AT_ONCE)
    grader.put(FinishedSample(prompt.id, MOST_AT_ONCE + 3, prompt, answered("28"), 5, 3, False))
    started = time.monotonic()
    grader.finish()
    assert time.monotonic() - started < 60
    graded = list(RecordReader(tmp_path, "grades.*"))
    assert [row["sample"] for row in graded] == list(range(MOST_AT_ONCE + 4)) and [
        row["correct"] for row in graded
    ] == [False, True] * (MOST_AT_ONCE // 2 + 2)
    assert grader.cpu_s > 0


def test_few_samples_do_not_wait_for_many(tmp_path):
    grader = Grader(RecordLog(tmp_path / "grades.0.jsonl"), RecordLog(tmp_path / "samples.0.jsonl"), needs_format=True)
    grader.put(FinishedSample("p", 0, a_prompt(), answered("28"), 5, 3, False))
    wait_until(lambda: len(list(RecordReader(tmp_path, "grades.*"))) == 1)
    grader.finish()


def test_what_grading_raises_is_raised_in_the_end(tmp_path):
    grader = Grader(RecordLog(tmp_path / "grades.0.jsonl"), RecordLog(tmp_path / "samples.0.jsonl"), needs_format=True)
    grader.put(
        FinishedSample("p", 0, dataclasses.replace(a_prompt(), verifier="none of ours"), answered("28"), 5, 3, False)
    )
    with pytest.raises(ValueError, match="none of ours"):
        grader.finish()


def wait_until(is_so, limit_s: float = 30.0) -> None:
    deadline = time.monotonic() + limit_s
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.01)
