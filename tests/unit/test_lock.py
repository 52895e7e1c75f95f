"""Who holds a run, since when, and what to do about it; with real processes wherever one machine is enough."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.errors import RunLocked
from pipeline.execution import lock
from pipeline.execution.lock import Holder, RunLock, holder_state, process_start, refusal
from tests.support.paths import REPOSITORY

HOLD = (
    "import sys, time, pathlib; from pipeline.execution.lock import RunLock\nwith "
    "RunLock(pathlib.Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"
)


def start(script: str, *arguments: object) -> subprocess.Popen:
    """A process that has printed its first line."""
    process = subprocess.Popen(
        [sys.executable, "-c", script, *map(str, arguments)], stdout=subprocess.PIPE, cwd=REPOSITORY, text=True
    )
    process.first_line = process.stdout.readline().strip()
    return process


def refused(run_dir) -> RunLocked:
    with pytest.raises(RunLocked) as caught:
        RunLock(run_dir).__enter__()
    assert caught.value.exit_code == 5 and lock.is_held(run_dir)
    return caught.value


def test_a_second_driver_is_told_who_holds_the_run(tmp_path):
    holder = start(HOLD, tmp_path)
    error = refused(tmp_path)
    assert f"process {holder.pid} of " in str(error) and "since 20" in str(error) and f"kill {holder.pid}" in error.fix
    assert f"process {holder.pid}" in lock.describe_holder(tmp_path / ".lock")
    holder.kill()
    holder.wait()
    assert not lock.is_held(tmp_path)  # the kernel drops a dead holder's lock
    with RunLock(tmp_path) as taken:
        assert lock.is_held(tmp_path) and f"ended without giving the run back: process {holder.pid}" in taken.note
    with RunLock(tmp_path) as taken:
        assert taken.note == ""  # a driver that ends in order leaves no note


def test_a_process_that_a_dead_driver_left_behind_is_named(tmp_path):
    script = (
        "import os, sys, time, pathlib; from pipeline.execution.lock import RunLock\nheld = "
        "RunLock(pathlib.Path(sys.argv[1])); held.__enter__()\n"
        "child = os.fork()\nif child: print(child, flush=True); os._exit(0)\ntime.sleep(60)"
    )
    driver = start(script, tmp_path)
    driver.wait()
    child = int(driver.first_line)
    try:
        error = refused(tmp_path)
        assert (
            f"process {driver.pid} of " in str(error)
            and "has ended" in str(error)
            and f"keeps the lock: {child}" in str(error)
        )
        assert error.fix == f"end it: kill {child}"
    finally:
        os.kill(child, 9)


def test_a_reused_number_is_told_from_the_process_that_had_it(tmp_path):
    process = start("print(1, flush=True); import time; time.sleep(60)")
    started = process_start(process.pid)
    assert started == process_start(process.pid) and started != process_start(os.getpid())
    holder = Holder(process.pid, "here", "me", "2026-01-01T00:00:00", started)
    assert holder_state(holder, process_start) == "alive"
    assert "another process now" in holder_state(
        Holder(process.pid, "here", "me", "2026-01-01T00:00:00", process_start(os.getpid())), process_start
    )
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert holder_state(holder, process_start) == "has ended"  # a zombie
    process.wait()
    assert process_start(process.pid) is None and holder_state(holder, process_start) == "has ended"


def test_a_note_that_cannot_be_read(tmp_path):
    path = tmp_path / ".lock"
    path.write_text('{"pid": 1')
    assert not lock.is_held(tmp_path) and lock.read_note(path) is None
    assert refusal(path, False, None, "ext4", "here", process_start)[1] == f"find it with: fuser -v {path}"
    path.write_text(
        json.dumps({"pid": 7, "host": "h", "user": "u", "since": "s"})
    )  # of an earlier version, without the start
    assert lock.read_note(path) == Holder(7, "h", "u", "s", "")


LIVING, DEAD = {7: "start"}.get, {}.get
HERE, THERE = (
    Holder(7, "here", "ann", "2026-01-01T00:00:00", "start"),
    Holder(7, "there", "ann", "2026-01-01T00:00:00", "start"),
)


@pytest.mark.parametrize(
    "is_taken, holder, disk, start_of, is_free",
    [
        (True, None, "ext4", DEAD, True),  # no one was here
        (True, HERE, "ext4", DEAD, True),  # a killed driver
        (True, HERE, "nfs4", DEAD, True),  # the same on a network disk
        (True, THERE, "ext4", DEAD, True),  # a disk that was moved, a container with a new name
        (True, THERE, "nfs4", DEAD, False),  # its lock may not reach us
        (False, THERE, "nfs4", DEAD, False),  # its lock reaches us
        (False, HERE, "ext4", LIVING, False),
        (None, HERE, "lustre", LIVING, False),  # a disk without locks: the note decides
        (None, HERE, "lustre", DEAD, True),
        (None, HERE, "lustre", {7: "later"}.get, True),
        (None, THERE, "", DEAD, False),
    ],
)
def test_when_a_run_is_free(is_taken, holder, disk, start_of, is_free, tmp_path):
    refused = refusal(tmp_path / ".lock", is_taken, holder, disk, "here", start_of)
    assert (refused is None) == is_free


def test_a_holder_on_another_machine_is_explained_with_commands(tmp_path):
    who, fix = refusal(tmp_path / ".lock", True, THERE, "nfs4", "here", DEAD)
    assert (
        who.startswith("process 7 of ann on there, since 2026-01-01T00:00:00, while this machine is here")
        and "nfs4" in who
    )
    assert "ssh there kill 7" in fix and fix.endswith(f"rm {tmp_path / '.lock'}")
    assert "file system" not in refusal(tmp_path / ".lock", False, THERE, "nfs4", "here", DEAD)[0]


def test_the_kind_of_file_system(tmp_path):
    mounts = (
        "overlay / overlay rw 0 0\nserver:/home /home nfs4 rw 0 0\n/dev/sda /home/ann/local\\040disk ext4 rw 0 "
        "0\ntmpfs /home/ann/x tmpfs rw 0 0\nnone /home/ann/x fuse.sshfs rw 0 0\n"
    )
    for path, kind in (
        ("/srv/runs", "overlay"),
        ("/home/ann/runs", "nfs4"),
        ("/home/ann/local disk/runs", "ext4"),
        ("/home/ann/x/y", "fuse.sshfs"),
        ("/homes", "overlay"),
    ):
        assert lock.file_system(Path(path), mounts) == kind
    assert lock.file_system(tmp_path)  # this machine's own
