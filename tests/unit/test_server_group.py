"""Servers of a stage's own: none outlives its stage, and none starts for ever."""

import sys
import time

import pytest

from stages.config import RolloutConfig, ServerConfig
from stages.contract.served_model import Wanted
from stages.engines.sampling.servers import group
from stages.engines.sampling.servers.channel import Channel, TransferHangs
from stages.engines.sampling.servers.group import Policy, ServerGroup, ServersLost
from stages.runtime.errors import Passing

ENDS_WITH_INPUT = "import time; from stages.rollout_server import end_with_input; end_with_input(); time.sleep(60)"


def own_servers(directory, monkeypatch, words: list[str], server: ServerConfig) -> ServerGroup:
    """A group whose servers are these programs."""
    monkeypatch.setattr(ServerGroup, "_command", lambda self, address: words)
    monkeypatch.setattr(group, "_launcher", lambda config: [])
    policy = Policy(directory, 8, 8, "fp32", Wanted("0.32.0", "gloo"))
    return ServerGroup(RolloutConfig(engine="server", server=server), policy, directory / "servers", 1, print)


def test_a_server_behind_srun_ends_with_its_input(tmp_path, monkeypatch):
    monkeypatch.setattr(group, "END_S", 30.0)
    servers = own_servers(tmp_path, monkeypatch, [sys.executable, "-c", ENDS_WITH_INPUT], ServerConfig(start="slurm"))
    servers.close()
    assert [one.process.returncode for one in servers.replicas] == [0]  # by itself, not by a signal


def test_a_server_that_ignores_its_input_is_killed(tmp_path, monkeypatch):
    monkeypatch.setattr(group, "END_S", 0.1)
    servers = own_servers(tmp_path, monkeypatch, ["sleep", "60"], ServerConfig(start="slurm"))
    servers.close()
    assert [one.process.returncode for one in servers.replicas] == [-9]


def test_the_options_say_what_a_server_ends_with(tmp_path, monkeypatch):
    for start, option in (("local", "--with-parent"), ("slurm", "--with-input")):
        words = ServerGroup._command(
            type("Servers", (), {
                "config": RolloutConfig(engine="server", server=ServerConfig(start=start)),
                "policy": Policy(tmp_path, 8, 8, "fp32", Wanted("0.32.0", "gloo")),
            })(),
            tmp_path / "address",
        )  # fmt: skip
        assert [word for word in words if word.startswith("--with-")] == [option]


def test_a_replacement_that_does_not_start_in_time_is_replaced(tmp_path, monkeypatch):
    settings = ServerConfig(start_timeout_s=0.2, max_restarts=1)
    servers = own_servers(tmp_path, monkeypatch, ["sleep", "60"], settings)
    try:
        (one,) = servers.replicas
        one.has_served = True  # an earlier one had
        first = one.process
        time.sleep(0.3)
        servers.look()
        assert one.lost == "has not started within 0.2 s"
        servers.note_lost()
        assert first.returncode == -9 and one.process is not first and one.lost is None
        time.sleep(0.3)
        servers.look()
        with pytest.raises(ServersLost, match="has not started within"):
            servers.note_lost()
    finally:
        servers.close()


def test_a_channel_says_how_it_connects_and_sends():
    with pytest.raises(TypeError, match="abstract"):
        Channel(None, 1.0)


def test_what_a_lost_server_leaves_hanging_may_be_tried_again():
    assert issubclass(TransferHangs, Passing)
