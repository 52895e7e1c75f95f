"""Launching: the guard leaves no orphan, stop requests reach the ranks, failures are explained. Real processes
throughout.
"""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from pipeline.configuration.schema import LauncherConfig
from pipeline.errors import MissingInput, StageFailed, StageInterrupted
from pipeline.execution import failure, launch
from pipeline.execution.guard import TORCHRUN
from stages.contract.error_report import ErrorReport
from stages.contract.failures import RankFailure, read_failures, write_failures
from stages.contract.progress import StageProgress
from tests.support.waiting import wait_for

pytestmark = pytest.mark.slow  # starts process families and waits for signals

KILLED = [RankFailure(rank=1, exit_code=-9, time=1_800_000_000.0)]


def test_the_failing_rank_and_its_exit_code_come_from_torchrun():
    assert failure.root_failure(KILLED) == (1, -9)
    assert failure.root_failure([]) == (0, None)


def test_a_rank_that_a_signal_ended_comes_before_peers_that_lost_their_connection():
    first, peer, ended = RankFailure(0, 1, 100.0), RankFailure(1, 1, 101.0), RankFailure(2, -signal.SIGTERM, 99.0)
    assert failure.root_failure([peer, first]) == (0, 1)
    assert failure.root_failure([first, RankFailure(3, -9, 102.0), peer]) == (3, -9)
    assert failure.root_failure([first, ended]) == (2, -15)  # the first that torchrun saw


def test_failures_of_all_machines_are_read_and_damaged_files_count_as_none(tmp_path):
    assert read_failures(tmp_path) == []
    write_failures(tmp_path, "node2", KILLED)
    write_failures(tmp_path, "node1", [RankFailure(0, 75, 5.0)])
    (tmp_path / "failures_node3.json").write_text('[{"rank": 1')
    assert read_failures(tmp_path) == [RankFailure(0, 75, 5.0), *KILLED]


@pytest.mark.parametrize(
    "code, text", [(-9, "want of memory"), (137, "want of memory"), (-11, "signal 11 (SIGSEGV)"), (3, "exit code 3")]
)
def test_signals_are_told_from_exit_codes(code, text):
    assert text in failure.failure_kind(None, code, 1)


def explained(
    directory: Path,
    failures: list[RankFailure] = KILLED,
    error: dict | None = None,
    was_stopped: bool = False,
    code: int = 1,
):
    logs = directory / "logs" / "attempt_1"
    logs.mkdir(parents=True)
    (logs / "driver.log").write_text("")
    write_failures(logs, "localhost", failures)
    (logs / "rank0.log").write_text("")
    (logs / "rank1.log").write_text("\n".join(f"line {number}" for number in range(40)))
    if error:
        ErrorReport(**error).write(directory)
    return failure.explain("r1_zero", directory, logs, code, was_stopped, "COMMAND")


def test_a_failure_shows_rank_kind_last_lines_log_and_command(tmp_path):
    error = explained(tmp_path)
    assert isinstance(error, StageFailed) and error.exit_code == 4
    for text in ("rank 1", "want of memory", "line 39", "rank1.log"):
        assert text in str(error)
    assert "line 3\n" not in str(error) and "COMMAND" in error.fix


def test_bad_input_of_a_worker_is_a_missing_input_with_its_own_fix(tmp_path):
    error = explained(tmp_path, error={"kind": "input", "message": "row 7 is too long", "fix": "shorten it", "rank": 0})
    assert (
        isinstance(error, MissingInput) and error.exit_code == 3 and "row 7" in str(error) and error.fix == "shorten it"
    )


def test_a_full_disk_says_that_nothing_is_lost(tmp_path):
    error = explained(tmp_path, error={"kind": "OSError", "message": "[Errno 28] No space left on device", "rank": 1})
    assert (
        error.exit_code == 3
        and str(tmp_path) in str(error)
        and "nothing that was finished is lost; then continue with: COMMAND" in error.fix
    )


def test_a_failure_with_advice_of_its_own_shows_it(tmp_path):
    error = explained(
        tmp_path,
        [],
        {"kind": "Unhealthy", "message": "kl_blow_up at step 3: policy/kl is 2", "fix": "raise beta", "rank": 0},
    )
    assert (
        error.exit_code == 4
        and "Unhealthy: kl_blow_up at step 3" in str(error)
        and error.fix == "raise beta; then continue with: COMMAND"
    )


def test_interruption_is_told_from_failure(tmp_path):
    assert isinstance(explained(tmp_path / "a", was_stopped=True), StageInterrupted)
    by_others = explained(tmp_path / "b", [RankFailure(1, 75, 0.0)])
    assert isinstance(by_others, StageInterrupted) and by_others.exit_code == 75
    # ended by srun, with torchrun itself
    StageProgress(phase="interrupted", step=7).write(tmp_path / "c")
    by_slurm = explained(tmp_path / "c", [])
    assert isinstance(by_slurm, StageInterrupted) and "at step 7" in str(by_slurm)


def test_worker_commands():
    local = launch.worker_command(Path("/d"), LauncherConfig(num_processes=3))
    assert "--nproc-per-node=3" in local and "--standalone" in local and local[-3:] == ["-m", "stages", "/d"]
    slurm = launch.worker_command(Path("/d"), LauncherConfig(name="slurm", num_nodes=2, num_processes=8))
    assert slurm[0] == "srun" and "--nnodes=2" in slurm and "--standalone" not in slurm
    assert launch._first_node("gpu[03-05,9],cpu1") == "gpu03" and launch._first_node("node7,node8") == "node7"


def test_workers_get_threads_and_the_attempt_but_nothing_of_prefect(monkeypatch):
    monkeypatch.setenv("PREFECT_API_URL", "http://elsewhere")
    environment = launch.worker_environment(
        LauncherConfig(threads_per_process=3, collective_timeout_s=77, environment={"A": "b"}), attempt=2
    )
    assert environment["OMP_NUM_THREADS"] == "3" and environment["STAGE_ATTEMPT"] == "2" and environment["A"] == "b"
    assert environment["STAGE_COLLECTIVE_TIMEOUT_S"] == "77.0"
    assert (
        not any(name.startswith("PREFECT_") for name in environment)
        and "TORCH_ELASTIC_SHUTDOWN_TIMEOUT" not in environment
    )
    slurm = launch.worker_environment(LauncherConfig(name="slurm", grace_s=600), attempt=1)
    assert slurm["TORCH_ELASTIC_SHUTDOWN_TIMEOUT"] == "600"


def test_relayed_lines_are_whole_and_without_progress_bars(tmp_path):
    path, lines = tmp_path / "rank0.log", []
    relay = launch.LineRelay(path, lines.append)
    relay.poll()
    path.write_text("step 1\nste")
    relay.poll()
    with open(path, "a") as stream:
        stream.write("p 2\n\nWriting:  50%|#####     | 1/2 [00:00<?]\nWriting model shards: 0it [00:00, ?it/s]\n")
    relay.poll()
    assert lines == ["step 1", "step 2"]


# A parent with a child in a session of its own, as torchrun has; both sleep. The grandchild notes SIGTERM.
FAMILY = """
import subprocess, sys, time
child = "import signal, sys, time; " \\
        "note = lambda name: open(sys.argv[1] + '/' + name, 'w').close(); " \\
        "signal.signal(signal.SIGTERM, lambda *_: (note('asked'), sys.exit(0))); " \\
        "open(sys.argv[1] + '/ready', 'w').close(); time.sleep(60)"
subprocess.Popen([sys.executable, "-c", child, sys.argv[1]], start_new_session=True).wait()
"""


def guarded(tmp_path: Path, driver: int, name: str = "family.py") -> list[str]:
    script = tmp_path / name
    script.write_text(FAMILY)
    return [sys.executable, "-m", "pipeline.execution.guard", str(driver), sys.executable, str(script), str(tmp_path)]


def test_the_guard_kills_the_family_when_it_is_told_to_end(tmp_path):
    guard = subprocess.Popen(guarded(tmp_path, os.getpid()))
    assert wait_for((tmp_path / "ready").exists)
    family = psutil.Process(guard.pid).children(recursive=True)
    assert len(family) == 2
    guard.terminate()
    assert guard.wait(timeout=10) != 0
    assert wait_for(lambda: not any(process.is_running() for process in family))


def test_the_guard_kills_the_family_when_the_driver_is_killed(tmp_path):
    command = guarded(tmp_path, 0)
    driver = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import os, subprocess, sys; command = sys.argv[1:]; command[3] = str(os.getpid()); "
            "subprocess.Popen(command, start_new_session=True).wait()",
            *command,
        ]
    )
    assert wait_for((tmp_path / "ready").exists)
    family = psutil.Process(driver.pid).children(recursive=True)
    assert len(family) == 3
    driver.kill()
    driver.wait()
    assert wait_for(
        lambda: not any(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in family)
    )


def test_a_stop_request_before_the_ranks_have_started_ends_the_launcher(tmp_path):
    (tmp_path / TORCHRUN).write_text("import sys, time; open(sys.argv[1] + '/ready', 'w').close(); time.sleep(60)")
    guard = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "pipeline.execution.guard",
            str(os.getpid()),
            sys.executable,
            str(tmp_path / TORCHRUN),
            str(tmp_path),
        ]
    )
    assert wait_for((tmp_path / "ready").exists)
    guard.send_signal(signal.SIGUSR1)
    assert guard.wait(timeout=10) != 0


def test_the_guard_passes_stop_requests_to_the_ranks_and_returns_exit_codes(tmp_path):
    guard = subprocess.Popen(guarded(tmp_path, os.getpid(), TORCHRUN))  # told from srun by its name
    assert wait_for((tmp_path / "ready").exists)
    guard.send_signal(signal.SIGUSR1)
    assert guard.wait(timeout=10) == 0 and (tmp_path / "asked").exists()
    failing = [
        sys.executable,
        "-m",
        "pipeline.execution.guard",
        str(os.getpid()),
        sys.executable,
        "-c",
        "import sys; sys.exit(7)",
    ]
    assert subprocess.run(failing).returncode == 7


def test_a_rank_whose_launcher_died_before_it_could_ask_to_be_told_ends():
    """The guard must be the parent of the rank's parent; here this process stands for the launcher."""

    def start(guard: int) -> subprocess.CompletedProcess:
        return subprocess.run(
            [
                sys.executable,
                "-c",
                "from stages.runtime.environment import die_with_parent; die_with_parent(); print('lives')",
            ],
            env={**os.environ, "STAGE_GUARD_PID": str(guard)},
            capture_output=True,
            text=True,
            timeout=60,
        )

    assert start(os.getppid()).stdout == "lives\n"
    assert start(os.getpid()).returncode == 1 and start(os.getpid()).stdout == ""


@pytest.mark.parametrize("has_died", [False, True])
def test_a_process_whose_ancestor_died_before_it_could_ask_to_be_told_ends(has_died):
    """An engine's process, which its server has forked: the server may be killed before the engine has begun."""
    child = "from stages.runtime.environment import die_with_parent; die_with_parent(); print('lives')"
    above = subprocess.Popen([sys.executable, "-c", ""]) if has_died else None
    if above is not None:
        above.wait()
    middle = f"import subprocess, sys; sys.exit(subprocess.run([sys.executable, '-c', {child!r}]).returncode)"
    run = subprocess.run(
        [sys.executable, "-c", middle],
        env={**os.environ, "STAGE_ABOVE_PID": str(above.pid if above else os.getpid())},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (run.returncode, run.stdout) == ((1, "") if has_died else (0, "lives\n"))
