"""What the machines of a run tell each other: calls, signs of life, and who is lost. The files are real."""

import dataclasses
import threading
import time

import pytest

from pipeline.configuration.schema import LauncherConfig
from pipeline.errors import StageFailed
from pipeline.execution import failure, join, launch, nodes
from pipeline.execution.nodes import Call, Caller, Node
from stages.config import ConfigError

LAUNCHER = LauncherConfig(name="torchrun", num_nodes=2, num_processes=3, address="127.0.0.1", lost_after_s=0.3)


@pytest.fixture
def caller(tmp_path):
    directory = tmp_path / "run" / "base" / "0123abcd"
    directory.mkdir(parents=True)
    return Caller(directory, LAUNCHER, attempt=2)


def beat(caller, number, name="10.0.0.2"):
    note = Node(name=name, address=name, pid=1, call=caller.call.id, beats=number)
    note.write_path(nodes.note_of(caller.run_dir, name), durable=False)


def test_a_call_carries_all_that_another_machine_needs(caller):
    caller.post()
    call = Call.read(nodes.directory_of(caller.run_dir))
    assert (call.directory, call.attempt, call.endpoint) == ("base/0123abcd", 2, "127.0.0.1:29400")
    theirs = nodes.launcher_of(call, "10.0.0.2")
    assert theirs == dataclasses.replace(LAUNCHER, address="10.0.0.2")
    mine = launch.node_command(caller.run_dir / call.directory, LAUNCHER, call.endpoint, call.id, is_host=True)
    other = launch.node_command(caller.run_dir / call.directory, theirs, call.endpoint, call.id, is_host=False)
    assert {"--nnodes=2", "--nproc-per-node=3", f"--rdzv-id={call.id}"} <= set(mine) & set(other)
    assert "--rdzv-conf=is_host=1,join_timeout=900" in mine and "--local-addr=127.0.0.1" in mine
    assert "--rdzv-conf=is_host=0,join_timeout=900" in other and "--local-addr=10.0.0.2" in other


def test_a_machine_that_gives_no_sign_of_life_is_lost_and_one_that_does_is_not(caller):
    caller.post()
    for number in range(4):
        beat(caller, number)
        beat(caller, 7, "10.0.0.3")
        assert "10.0.0.2" not in caller.lost()
        time.sleep(0.15)
    assert caller.lost() == ["10.0.0.3"]
    assert caller.not_answering(wait_s=0.2) == ["10.0.0.2", "10.0.0.3"]


def test_a_machine_of_another_launch_does_not_count(caller):
    caller.post()
    Node(name="10.0.0.9", address="10.0.0.9", pid=1, call="another", beats=1).write_path(
        nodes.note_of(caller.run_dir, "10.0.0.9")
    )
    assert caller.joined() == [] and caller.not_answering(wait_s=0.0) == []


def test_a_call_of_a_driver_that_is_dead_is_not_followed(caller):
    caller.post()  # and never again
    said = []
    with pytest.raises(StageFailed, match="no driver has called"):
        join.follow(caller.run_dir, "10.0.0.2", patience_s=0.5, stays=False, say=said.append)
    assert said == [f"10.0.0.2 waits for the driver of {caller.run_dir}"]
    assert not nodes.note_of(caller.run_dir, "10.0.0.2").exists()


def test_a_machine_that_waits_ends_with_the_driver(caller):
    caller.post()
    said = []
    waiting = threading.Thread(
        target=join.follow, args=(caller.run_dir, "10.0.0.2", 20.0, False, said.append), daemon=True
    )
    waiting.start()
    time.sleep(0.4)
    nodes.say_over(caller.run_dir)
    waiting.join(timeout=10)
    assert not waiting.is_alive() and said[-1] == "the driver has ended"


def test_a_lost_machine_is_named_with_what_to_do(tmp_path):
    logs = tmp_path / "logs"
    logs.mkdir()
    error = failure.explain("r1_zero", tmp_path, logs, 1, False, "COMMAND", ["10.0.0.2"])
    assert isinstance(error, StageFailed) and "machine 10.0.0.2 does not answer any more" in str(error)
    assert "r1 join" in error.fix and "COMMAND" in error.fix


def test_the_network_of_an_address_is_what_libraries_use(monkeypatch):
    for name in ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME", "VLLM_HOST_IP"):
        monkeypatch.delenv(name, raising=False)
    assert nodes.network_of(None) == {} == nodes.network_of("no such host.")
    assert nodes.network_of("127.0.0.1") == {
        "VLLM_HOST_IP": "127.0.0.1",
        "GLOO_SOCKET_IFNAME": "lo",
        "NCCL_SOCKET_IFNAME": "lo",
    }
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "eth9")
    assert "GLOO_SOCKET_IFNAME" not in nodes.network_of("127.0.0.1")


def test_one_machine_has_one_node():
    with pytest.raises(ConfigError, match="launcher=torchrun"):
        LauncherConfig(num_nodes=2)
