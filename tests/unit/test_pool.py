"""Worker processes with hard limits: what hangs, eats memory or crashes ends itself and nothing else."""

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from stages.rewards.pool import WorkerPool
from tests.support.paths import REPOSITORY


@pytest.fixture(scope="module")
def pool():
    pool = WorkerPool("tests.support.pool_checks", num_workers=4, cpu_s=0.5, wall_s=3.0, memory_mib=256)
    yield pool
    pool.close()


def test_nothing_is_started_before_the_first_task():
    before = psutil.Process().children(recursive=True)
    pool = WorkerPool("tests.support.pool_checks", 4, 1, 1, 256)
    assert psutil.Process().children(recursive=True) == before
    pool.close()


def test_outcomes_come_in_order(pool):
    assert [outcome.value for outcome in pool.run([("add", i, 1) for i in range(200)])] == list(range(1, 201))
    assert pool.run([]) == []


def test_workers_share_one_import_and_are_not_this_process(pool):
    (imported,), pids = (
        {o.value for o in pool.run([("server_started",)] * 20)},
        {o.value for o in pool.run([("pid",)] * 20)},
    )
    assert imported and os.getpid() not in pids


def test_a_hang_in_c_is_killed_and_the_others_go_on(pool):
    started = time.monotonic()
    outcomes = pool.run([("hang_in_c",), *(("add", i, 1) for i in range(50))])
    assert [o.value for o in outcomes[1:]] == list(range(1, 51))
    assert (
        "killed after" in outcomes[0].error
        and "0.5 s of processor time" in outcomes[0].error
        and outcomes[0].value is None
    )
    assert pool.run([("add", 1, 1)])[0].value == 2 and time.monotonic() - started < 30


@pytest.mark.parametrize(
    "task, reason",
    [
        (("sleep", 60), "killed after"),
        (("eat_memory",), "out of memory"),
        (("crash",), "killed after"),
        (("fail", "no such thing"), "ValueError: no such thing"),
    ],
)
def test_every_failure_is_explained(pool, task, reason):
    (outcome,) = pool.run([task])
    assert outcome.value is None and reason in outcome.error and outcome.is_final
    assert pool.run([("add", 1, 1)])[0].value == 2


def test_a_worker_that_ran_out_of_memory_is_replaced():
    pool = WorkerPool("tests.support.pool_checks", 1, 1, 10, 256)
    first, out, after = (outcome.value for outcome in pool.run([("pid",), ("eat_memory",), ("pid",)]))
    assert first and out is None and after and after != first
    pool.close()


def test_workers_see_nothing_of_the_environment(pool, monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", "secret")
    own = WorkerPool("tests.support.pool_checks", 1, 1, 5, 256)
    assert [o.value for o in own.run([("variable", "WANDB_API_KEY"), ("variable", "PYTHONHASHSEED")])] == [None, "0"]
    own.close()


def test_a_module_that_does_not_import_is_an_explained_failure():
    pool = WorkerPool("tests.no_such_module", 1, 1, 5, 256)
    (outcome,) = pool.run([("add", 1, 1)])
    assert outcome.error and outcome.value is None
    pool.close()


def test_no_process_outlives_a_killed_parent():
    """SIGKILL in the middle of a hang in C, which no Python code of the worker could notice."""
    code = (
        "import threading, time\nfrom stages.rewards.pool import WorkerPool\n"
        "pool = WorkerPool('tests.support.pool_checks', 2, 60, 60, 256)\n"
        "print(pool.run([('pid',)])[0].value, flush=True)\n"
        "threading.Thread(target=pool.run, args=([('hang_in_c',)] * 2,), daemon=True).start()\ntime.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)
    worker = psutil.Process(int(parent.stdout.readline()))
    server = worker.parent()
    deadline = time.monotonic() + 30
    while sum(child.cpu_times().user > 0.05 for child in server.children()) < 2 and time.monotonic() < deadline:
        time.sleep(0.1)
    family = [server, *server.children()]
    assert len(family) == 3
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    _, alive = psutil.wait_procs(family, timeout=10)
    assert not alive
