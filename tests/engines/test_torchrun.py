"""The real torchrun says which rank failed and how: killed, ended by an exit code, asked to stop."""

import json
import signal
import subprocess

import pytest

from pipeline.configuration.schema import LauncherConfig
from pipeline.execution.failure import root_failure
from pipeline.execution.launch import worker_command, worker_environment
from stages.contract.failures import read_failures

# A worker that ends as its stage directory says, by rank; a rank that is not named waits to be ended.
WORKER = """
import json, os, signal, sys, time
ends = json.load(open(sys.argv[1] + "/ends.json"))
how = ends.get(os.environ["RANK"])
time.sleep(0.3 if how is not None else 60)
os.kill(os.getpid(), -how) if how < 0 else os._exit(how)
"""


@pytest.mark.parametrize(
    "ends, rank, code",
    [
        ({1: -signal.SIGKILL}, 1, -9),
        ({0: -signal.SIGABRT}, 0, -6),
        ({0: 75, 1: 75}, None, 75),
        ({1: 64}, 1, 64),
        ({0: 0, 1: 3}, 1, 3),
    ],
)
def test_the_rank_and_its_exit_code(ends, rank, code, tmp_path):
    logs = tmp_path / "stage" / "logs" / "attempt_3"
    logs.mkdir(parents=True)
    (tmp_path / "stage" / "ends.json").write_text(json.dumps(ends))
    (tmp_path / "worker.py").write_text(WORKER)
    launcher = LauncherConfig(num_processes=2)
    command = worker_command(tmp_path / "stage", launcher)
    command[command.index("stages") - 1 : command.index("stages") + 1] = [str(tmp_path / "worker.py")]
    done = subprocess.run(
        command, env=worker_environment(launcher, attempt=3), capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 1 and "ChildFailedError" in done.stderr, done.stderr
    found = root_failure(read_failures(logs))
    assert found == (rank if rank is not None else found[0], code), done.stderr
