"""The plan asks the servers of rollout=server, and says which stage could not use which."""

import dataclasses
from pathlib import Path
from types import SimpleNamespace

import pytest

from pipeline.configuration.compose import compose_config
from pipeline.planning import servers
from stages.config import ConfigError, GrpoConfig, RolloutConfig, ServerConfig
from stages.config.grpo import HackingConfig
from stages.contract.served_model import Settings, names_of
from stages.rollout_server import parse
from tests.support.fake_server import FakeServer


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(servers, "installed_vllm", lambda: "0.32.0")
    cards = [{"id": name, "max_model_len": 512} for name in names_of(Path("none"), Settings("gloo", "float32",
             "processed_logprobs", 64))]  # fmt: skip
    made = FakeServer(**{"/v1/models": {"data": cards}})
    yield made
    made.close()


def step(config, stage: str, is_made: bool = False) -> SimpleNamespace:
    return SimpleNamespace(stage=stage, config=config.stage(stage), is_made=is_made, inputs={})


def test_each_server_is_asked_once_for_the_stages_that_need_the_same(server):
    config = compose_config(["+stage=all", "rollout=server", f"rollout.server.urls=[{server.url},http://127.0.0.1:9]"])
    steps = [step(config, "r1_zero"), step(config, "reasoning_rl"), step(config, "cold_start_data")]
    ((message, fix),) = servers.check_servers(config, steps)
    assert message.startswith("r1_zero: the rollout server http://127.0.0.1:9 does not answer")
    assert "stages.rollout_server" in fix
    assert servers.check_servers(config, [step(config, "r1_zero", is_made=True)]) == []


def test_what_a_stage_needs_of_a_server(server):
    wide = ["stages.r1_zero.group_size=128", "stages.r1_zero.max_completion_tokens=[[0,600]]"]
    config = compose_config(["+stage=all", "rollout=server", f"rollout.server.urls=[{server.url}]", *wide])
    ((message, _),) = servers.check_servers(config, [step(config, "r1_zero")])
    assert "at most 64 sequences at once, and the group of a prompt has 128" in message


def test_a_server_of_our_own_draws_all_completions_of_a_prompt_at_once(server):
    few = {"rollout": RolloutConfig(engine="server", max_sequences=8)}
    GrpoConfig(group_size=8, **few)
    with pytest.raises(ConfigError, match="rollout.max_sequences=16 or more"):
        GrpoConfig(group_size=16, **few)
    with pytest.raises(ConfigError, match="rollout.max_sequences=12 or more"):
        GrpoConfig(group_size=8, hacking=HackingConfig(every=1, samples_per_prompt=12), **few)
    GrpoConfig(group_size=16, rollout=RolloutConfig(max_sequences=8))  # in the trainer's process they wait
    GrpoConfig(group_size=16, rollout=RolloutConfig("server", max_sequences=8, server=ServerConfig(urls=[server.url])))


def test_replicas_take_gpus_that_the_ranks_leave(monkeypatch):
    monkeypatch.setattr(servers, "num_gpus", lambda: 8)
    config = compose_config(["+stage=all", "rollout=server", "rollout.server.replicas=4"])
    config = dataclasses.replace(config, launcher=dataclasses.replace(config.launcher, num_processes=6))
    ((message, fix),) = servers.check_servers(config, [step(config, "r1_zero")])
    assert "6 ranks and 4 rollout servers of 1 GPUs need 10 GPUs; this machine has 8" in message
    assert "rollout.server.replicas" in fix


SHORT = ["launcher.collective_timeout_s=700"]


def test_the_other_ranks_sit_out_the_wait_for_a_server(server):
    for urls, key in (
        (f"rollout.server.urls=[{server.url}]", "wait_s"),
        ("rollout.server.replicas=1", "start_timeout_s"),
    ):
        words = ["+stage=all", "rollout=server", urls, f"rollout.server.{key}=700"]
        long = compose_config([*words, *SHORT])
        steps = [step(long, "r1_zero"), step(long, "reasoning_rl")]
        ((message, fix),) = servers.check_servers(long, steps)
        assert message == f"rollout.server.{key}=700: the other ranks wait 700 s only for rank 0"
        assert fix == f"raise launcher.collective_timeout_s over 700, or lower rollout.server.{key}"
        alone = [*SHORT, "launcher.num_processes=1"]  # nobody waits for rank 0
        for fits in (["launcher.collective_timeout_s=701"], alone):
            assert servers.check_servers(compose_config([*words, *fits]), steps) == []


def test_weights_are_sent_over_ipv4(capsys):
    with pytest.raises(ConfigError, match=r"urls: http://\[::1\]:80 is an address of IPv6"):
        ServerConfig(urls=["http://[::1]:80"])
    for host in ("::1", "no-such-host.invalid"):
        with pytest.raises(SystemExit):
            parse(["model", "--max-prompt-tokens", "8", "--max-completion-tokens", "8", "--host", host])
        assert f"{host} is neither an IPv4 address nor a name of one" in capsys.readouterr().err
