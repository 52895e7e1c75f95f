"""rollout=server with vLLM's own servers: on another host, two of them, one rollout ahead, killed."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from stages.contract.files import read_json, read_jsonl
from tests.support.networks import HOSTS, can_make_networks, two_hosts
from tests.support.paths import ENGINE_SCRIPTS, REPOSITORY
from tests.support.stage_dirs import StageRun, run_script, run_stage, sampled, steps, write_stage
from tests.support.tiny_stages import GRPO
from tests.support.waiting import wait_for

STAGE = "collected"
CONFIG = {**GRPO, "num_steps": 6, "max_completion_tokens": [[0, 14]]}
ENGINES = ("GLOO_", "NCCL_", "VLLM_", "MASTER_", "RANK", "LOCAL_RANK", "WORLD_SIZE")


class Servers:
    """Two servers on the second of two hosts, and stages on the first."""

    def __init__(self, hosts: tuple[str, str], policy: Path, directory: Path):
        self.hosts, self.directory = hosts, directory
        model = policy / "model" if (policy / "model").exists() else policy
        self.processes = [self._start(number, model) for number in range(2)]

    def _start(self, number: int, model: Path) -> subprocess.Popen:
        words = ["--max-prompt-tokens", "64", "--max-completion-tokens", "20", "--host", HOSTS[1]]
        with open(self.directory / f"server{number}.log", "wb") as log:
            return subprocess.Popen(
                [
                    "ip",
                    "netns",
                    "exec",
                    self.hosts[1],
                    sys.executable,
                    "-m",
                    "stages.rollout_server",
                    str(model),
                    *words,
                ]
                + ["--announce", str(self.directory / f"server{number}.json")],
                cwd=REPOSITORY,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={name: value for name, value in os.environ.items() if not name.startswith(ENGINES)}
                | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY)},
            )

    def urls(self) -> list[str]:
        """Their addresses, once they answer."""
        urls = []
        for number, process in enumerate(self.processes):
            if process.poll() == -signal.SIGKILL:
                continue  # a test killed it
            place = self.directory / f"server{number}.json"
            assert wait_for(
                lambda place=place, process=process: self._answers(place) or process.poll() is not None, 280
            )
            assert process.poll() is None, (self.directory / f"server{number}.log").read_text()[-3000:]
            urls.append(read_json(place)["url"])
        return urls

    def _answers(self, place: Path) -> bool:
        if not place.exists():
            return False
        ask = f"import urllib.request as r; r.urlopen({read_json(place)['url']!r} + '/health', timeout=5)"
        return subprocess.run(self.here(sys.executable, "-c", ask), capture_output=True).returncode == 0

    def here(self, *words: str) -> list[str]:
        return ["ip", "netns", "exec", self.hosts[0], *words]

    def stage(self, directory: Path, num_processes: int = 1) -> StageRun:
        return StageRun(directory, num_processes, prefix=self.here())


@pytest.fixture(scope="module")
def servers(policy, stage_root):
    if not can_make_networks():
        pytest.skip("making network namespaces needs root and `ip`")
    directory = stage_root / "rollout_servers"
    directory.mkdir()
    with two_hosts("rs") as hosts:
        yield Servers(hosts, policy, directory)


def prepare(directory: Path, policy: Path, urls: list[str], changes: dict | None = None, **server) -> Path:
    rollout = {"engine": "server", "server": {"urls": urls, "lost_after_s": 10.0, **server}} if urls else {}
    return write_stage(
        directory, "grpo", {**CONFIG, **(changes or {}), "rollout": rollout}, {"policy": policy}, stage=STAGE
    )


def weights(directory: Path) -> bytes:
    return (directory / "model" / "model.safetensors").read_bytes()


def drawn(directory: Path, step: int) -> list[tuple]:
    return [(row["completion_ids"], row["rollout_logprobs"]) for row in sampled(directory, step)]


def test_servers_on_another_host_draw_what_the_colocated_sampler_draws_also_when_one_dies(policy, stage_root, servers):
    colocated = run_stage(prepare(stage_root / "colocated", policy, []))
    urls = servers.urls()
    apart = prepare(stage_root / "apart", policy, urls)
    with servers.stage(apart, 2) as attempt:
        attempt.wait_for_step(2)
        servers.processes[0].kill()
        assert attempt.wait() == 0, attempt.log()
    assert steps(apart) == steps(colocated) != []
    assert read_jsonl(apart / "samples.jsonl") == read_jsonl(colocated / "samples.jsonl") != []
    assert [drawn(apart, step) for step in (0, 2, 4)] == [drawn(colocated, step) for step in (0, 2, 4)]
    assert weights(apart) == weights(colocated)
    assert {version for row in sampled(apart, 4) for version in row["version"]} == {4}
    log = (apart / "logs" / "latest" / "rank0.log").read_text()
    assert f"WARNING: the rollout server {urls[0]} " in log


def test_one_rollout_ahead_is_bounded_corrected_and_resumed_to_the_same_bits(policy, stage_root, servers):
    urls = servers.urls()[-1:]  # the first one is dead
    changes = {"updates_per_rollout": 1}
    whole = prepare(stage_root / "ahead_whole", policy, urls, changes, max_staleness=1)
    with servers.stage(whole) as attempt:
        assert attempt.wait() == 0, attempt.log()
    rows = steps(whole)
    assert [row["policy/staleness"] for row in rows] == [0, 1, 1, 1, 1, 1]
    assert any("policy/correction" in row for row in rows[1:])
    of_step = [{version for row in sampled(whole, step) for version in row["version"]} for step in range(1, 6)]
    assert of_step == [{0}, {1}, {2}, {3}, {4}]  # the weights of the step before drew them

    killed = prepare(stage_root / "ahead_killed", policy, urls, changes, max_staleness=1)
    with servers.stage(killed) as attempt:
        attempt.wait_for_checkpoint(3)
        attempt.kill()
    with servers.stage(killed) as attempt:
        assert attempt.wait() == 0, attempt.log()
    assert steps(killed) == steps(whole)
    assert [drawn(killed, step) for step in range(1, 6)] == [drawn(whole, step) for step in range(1, 6)]
    assert weights(killed) == weights(whole)


def test_replicas_that_are_killed_are_replaced_and_nothing_is_mixed(policy, stage_root, tmp_path):
    model = policy / "model"
    found = run_script(ENGINE_SCRIPTS / "dying_servers.py", model, tmp_path / "logs", tmp_path / "found.json")
    said = json.dumps(found, indent=1)
    assert found["two replicas"] and found["killed in the middle of requests"], said
    assert found["killed in the middle of a transfer"] and not found["processes left"], said
    assert found["lost"][0] and not found["lost"][1], said
    for name in ("replica 0", "replica 1"):
        assert any(name in line and line.endswith("it is replaced") for line in found["told"]), said
