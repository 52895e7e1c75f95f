"""A run on two machines: two network namespaces with a cable between them, the driver in one and `r1 join` in the
other. What is made there is what one machine makes, and a machine that is lost is named.
"""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from stages.contract.files import read_jsonl
from tests.support.networks import HOSTS, can_make_networks, kill_all_in, two_hosts
from tests.support.paths import REPOSITORY
from tests.support.waiting import wait_for

pytestmark = pytest.mark.skipif(not can_make_networks(), reason="making network namespaces needs root and `ip`")

ENGINES = ("GLOO_", "NCCL_", "VLLM_", "MASTER_", "RANK", "LOCAL_RANK", "WORLD_SIZE")
STEPS = 24
STAGES = [
    "+stage=[base,r1_zero]",
    f"stages.base.num_steps={STEPS}",
    "stages.base.save_every=4",
    "stages.r1_zero.num_steps=2",
    "stages.r1_zero.prompts_per_step=4",
    "stages.r1_zero.group_size=4",
    "stages.r1_zero.max_completion_tokens=[[0,16]]",
    "orchestrator=none",
    "launcher.threads_per_process=1",
]
TWO = [
    "launcher=torchrun",
    "launcher.device=any",
    "launcher.num_nodes=2",
    "launcher.num_processes=1",
    f"launcher.address={HOSTS[0]}",
    "launcher.lost_after_s=15",
    "launcher.grace_s=60",
]


class Machine:
    """A network namespace; what was started in it is ended with it."""

    def __init__(self, name: str, log: Path):
        self.name, self.log = name, log
        self.started: list[subprocess.Popen] = []

    def start(self, *words: str) -> subprocess.Popen:
        # Other tests of this process set the network of this machine.
        clean = {name: value for name, value in os.environ.items() if not name.startswith(ENGINES)}
        process = subprocess.Popen(
            ["ip", "netns", "exec", self.name, sys.executable, "-m", "pipeline", *words],
            cwd=REPOSITORY,
            stdout=open(self.log, "ab"),
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**clean, "PYTHONPATH": str(REPOSITORY), "COLUMNS": "200"},
        )
        self.started.append(process)
        return process

    def kill(self) -> None:
        """Ends all of it at once, as a power cut would."""
        kill_all_in(self.name)
        for process in self.started:
            process.wait(timeout=30)


@pytest.fixture
def machines(tmp_path):
    with two_hosts("r1") as names:
        made = [Machine(name, tmp_path / f"{name[:3]}.log") for name in names]
        try:
            yield made
        finally:
            for machine in made:
                machine.kill()


def said(machine: Machine) -> str:
    return machine.log.read_text(errors="replace")


def losses(runs: Path) -> list[float]:
    return [row["train/loss"] for row in read_jsonl(runs / "tiny/base/latest/metrics.jsonl")]


def test_two_machines_make_what_one_makes_and_a_lost_one_is_named(machines, tmp_path):
    here, there = machines
    runs, alone = tmp_path / "runs", tmp_path / "alone"
    driver = here.start("run", *STAGES, *TWO, f"runs_dir={runs}")
    lent = there.start("join", "--address", HOSTS[1], "run=tiny", f"runs_dir={runs}")
    metrics = runs / "tiny/base/latest/metrics.jsonl"
    assert wait_for(lambda: len(read_jsonl(metrics)) >= 9 or driver.poll() is not None, 240), said(here) + said(there)
    assert driver.poll() is None, said(here) + said(there)

    there.kill()
    assert driver.wait(timeout=120) == 4, said(here)
    assert f"machine {HOSTS[1]} does not answer" in said(here) and "checkpoint" in said(here)

    # On one machine alone, to another step; then on both again.
    assert here.start("run", *STAGES[1:], "+stage=base", "launcher.num_processes=1", f"runs_dir={runs}").wait(300) == 0
    driver = here.start("run", *STAGES, *TWO, f"runs_dir={runs}")
    lent = there.start("join", "--address", HOSTS[1], "run=tiny", f"runs_dir={runs}")
    assert driver.wait(timeout=300) == 0, said(here) + said(there)
    assert lent.wait(timeout=60) == 0 and "the driver has ended" in said(there)
    assert (runs / "tiny/r1_zero/latest/manifest.json").exists()
    assert (runs / "tiny/r1_zero/latest/logs/latest/rank1.log").exists()

    whole = here.start("run", *STAGES[1:], "+stage=base", "launcher.num_processes=2", f"runs_dir={alone}")
    assert whole.wait(timeout=300) == 0, said(here)
    assert losses(runs) == pytest.approx(losses(alone), rel=1e-3) and len(losses(runs)) == STEPS


def test_ctrl_c_on_the_driver_leaves_a_checkpoint_on_both(machines, tmp_path):
    here, there = machines
    runs = tmp_path / "runs"
    driver = here.start("run", *STAGES[1:], "+stage=base", *TWO, f"runs_dir={runs}")
    lent = there.start("join", "--address", HOSTS[1], "run=tiny", f"runs_dir={runs}")
    metrics = runs / "tiny/base/latest/metrics.jsonl"
    assert wait_for(lambda: len(read_jsonl(metrics)) >= 3 or driver.poll() is not None, 240), said(here) + said(there)
    os.killpg(driver.pid, signal.SIGINT)
    assert driver.wait(timeout=90) == 75, said(here)
    assert lent.wait(timeout=30) == 0, said(there)
    assert list((runs / "tiny/base/latest/state").glob("step_*/manifest.json"))
